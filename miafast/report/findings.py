"""A page of its own for what an attack found: a headline, pictures, tables, how to read them, how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Table:
    """A table of plain cells; columns whose places are in ``numbers`` are set to the right."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: tuple[int, ...] = ()


def findings_page(
    *, kicker: str, title: str, headline: str, tables: Sequence[Table] = (), pictures: str = "",
    reading: Sequence[str], made: Mapping[str, Any],
) -> str:  # fmt: skip
    """One self-contained HTML page. Everything is escaped but ``pictures``, sections that are HTML already."""
    import jinja2
    from markupsafe import Markup

    home = resources.files("miafast.report")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string((home / "findings.html").read_text(encoding="utf-8")).render(
        css=Markup((home / "report.css").read_text(encoding="utf-8")), kicker=kicker, title=title, headline=headline,
        tables=tables, pictures=Markup(pictures), reading=reading, made=made,
    )  # fmt: skip
