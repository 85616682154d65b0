"""Results on disk: a JSON file for each sitting of a machine at a commit, and the same as Markdown for reading."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from miafast.bench.machine import lines as description

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Column:
    """One column of a section's table: the key of a row's value and how it is written."""

    title: str
    key: str
    form: str = "{}"

    def cell(self, row: dict[str, Any]) -> str:
        value = row.get(self.key)
        return "" if value is None else self.form.format(value)


@dataclass(frozen=True)
class Section:
    """What one benchmark hands over: rows of one case, or of several, each named by its `case`."""

    name: str
    says: str
    columns: tuple[Column, ...]
    rows: tuple[dict[str, Any], ...]

    def markdown(self) -> str:
        return "\n".join([f"## {self.name}", "", self.says, "", *_table(self.columns, self.rows)])


def promise(text: str, *, kept: bool) -> dict[str, str]:
    """A row's promise, and whether it was kept."""
    return {"promised": text, "kept": "yes" if kept else "no"}


def save(section: Section, where: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Add a section to the newest result of this machine and commit, and return its Markdown's path.

    A case that is measured again begins a further result, so that every sitting keeps its numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{machine.slug(where)}-{where['commit']}"
    sittings = itertools.count(2)
    path, further = folder / f"{stem}.json", folder / f"{stem}-{next(sittings)}.json"
    while further.exists():
        path, further = further, folder / f"{stem}-{next(sittings)}.json"
    sections = json.loads(path.read_text())["sections"] if path.exists() else {}
    earlier = sections.get(section.name, {}).get("rows", [])
    if {row["case"] for row in earlier} & {row["case"] for row in section.rows}:
        path, sections, earlier = further, {}, []
    sections[section.name] = {
        "says": section.says,
        "columns": [[column.title, column.key, column.form] for column in section.columns],
        "rows": [*earlier, *section.rows],
    }
    _write(path, json.dumps({"machine": where, "sections": sections}, indent=1) + "\n")
    page = path.with_suffix(".md")
    _write(page, _page(where, sections))
    return page


def _page(where: dict[str, Any], sections: dict[str, Any]) -> str:
    what = where.get("device", f"{where['processor']}, {where['cores']} cores")
    lines = [f"# {what}, commit {where['commit']}", "", *(f"{each}." for each in description(where))]
    for name, each in sections.items():
        columns = tuple(Column(*column) for column in each["columns"])
        lines += ["", Section(name, each["says"], columns, tuple(each["rows"])).markdown()]
    return "\n".join(lines) + "\n"


def _table(columns: tuple[Column, ...], rows: tuple[dict[str, Any], ...]) -> list[str]:
    titles = "| " + " | ".join(column.title for column in columns) + " |"
    rule = "|" + "---|" * len(columns)
    return [titles, rule, *("| " + " | ".join(column.cell(row) for column in columns) + " |" for row in rows)]


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    os.replace(temporary, path)
