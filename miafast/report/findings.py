"""A page of its own for what an attack found: a headline, pictures, tables, how to read them, how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miafast.report.filled import filled


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
    from markupsafe import Markup

    values = {
        "kicker": kicker, "title": title, "headline": headline, "tables": tables, "pictures": Markup(pictures),
        "reading": reading, "made": made,
    }  # fmt: skip
    return filled("findings.html", values)
