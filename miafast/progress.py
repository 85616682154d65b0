"""Progress of long work: whom it is told to, and the bars of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import rich.progress


class Progress(Protocol):
    """Is told about finished units of work, such as training steps or models."""

    def advance(self, amount: int, /) -> None: ...


class Silent:
    """A `Progress` that nobody looks at."""

    def advance(self, amount: int, /) -> None:
        pass


@dataclass(frozen=True)
class Bar:
    """One stage's bar on a terminal, with the share done and the time left."""

    _bars: rich.progress.Progress
    _task: rich.progress.TaskID

    def advance(self, amount: int, /) -> None:
        self._bars.advance(self._task, amount)


@contextmanager
def bars(totals: Mapping[str, int]) -> Iterator[dict[str, Bar]]:
    """One bar for each named stage with work to do, drawn on standard error while inside."""
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description:<8}"), progress.BarColumn(), progress.TaskProgressColumn(),
        progress.TimeElapsedColumn(), progress.TextColumn("left"), progress.TimeRemainingColumn(),
    )  # fmt: skip
    with progress.Progress(*columns, console=Console(stderr=True)) as drawn:
        yield {name: Bar(drawn, drawn.add_task(name, total=total)) for name, total in totals.items()}
