"""Progress on a terminal: a bar with the share done and the time left for each long stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@dataclass(frozen=True)
class Bar:
    """One stage's bar; `advance` counts units of work done."""

    _bars: Progress
    _task: TaskID

    def advance(self, amount: int) -> None:
        self._bars.advance(self._task, amount)


@contextmanager
def bars(totals: Mapping[str, int]) -> Iterator[dict[str, Bar]]:
    """One bar for each named stage with work to do, drawn on standard error while inside."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<8}"), BarColumn(), TaskProgressColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield {name: Bar(progress, progress.add_task(name, total=total)) for name, total in totals.items()}
