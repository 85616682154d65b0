"""Adult, German Credit, Hepatitis and Pima as the UCI repository publishes them: text without a header."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from miafast.data.arrays import standardised
from miafast.data.intact import broken, text
from miafast.tables import Array

Table = tuple[Array, Array]  # x float32 [records, features], y int64 [records]

ADULT_NUMBERS = (0, 2, 4, 10, 11, 12)
GERMAN_NUMBERS = (1, 4, 7, 10, 12, 15, 17)


def adult(paths: Sequence[Path]) -> list[Table]:
    """One table per file, encoded alike: 6 numbers standardised, 8 columns one-hot, "?" a category. Class 1: > 50K."""
    files = [_rows(path, 15) for path in paths]
    rows = [row for each in files for row in each]
    places = {"<=50K": 0, ">50K": 1}
    wages = [row[-1].removesuffix(".") for row in rows]
    x, y = encoded(rows, ADULT_NUMBERS, 14, paths[0]), _labels(wages, places, paths[0])
    ends = np.cumsum([len(each) for each in files])[:-1]
    return list(zip(np.split(x, ends), np.split(y, ends), strict=True))


def german(path: Path) -> Table:
    """german.data: 7 numbers standardised, 13 one-hot; german.data-numeric: 24 numbers. Class 1 is a bad credit."""
    fields = 25 if path.name.endswith("-numeric") else 21
    rows = _rows(path, fields)
    numbers = tuple(range(24)) if fields == 25 else GERMAN_NUMBERS
    return encoded(rows, numbers, fields - 1, path), _labels([row[-1] for row in rows], {"1": 0, "2": 1}, path)


def hepatitis(path: Path) -> Table:
    """19 numbers, standardised; a missing one ("?") becomes its column's lower median. Class 1 lives."""
    rows = _rows(path, 20)
    values = np.column_stack([_numbers([row[column] for row in rows], path, missing="?") for column in range(1, 20)])
    filling = np.nanquantile(values, 0.5, axis=0, method="lower")
    return standardised(np.where(np.isnan(values), filling, values)), _labels(
        [row[0] for row in rows], {"1": 0, "2": 1}, path
    )


def pima(path: Path) -> Table:
    """8 numbers, standardised; the zeros that stand for unknown in this data set stay zeros. Class 1 has diabetes."""
    rows = _rows(path, 9)
    if not rows[0][0].replace(".", "").isdigit():
        rows = rows[1:]  # Kaggle's copy has a header
    return encoded(rows, tuple(range(8)), 8, path), _labels([row[-1] for row in rows], {"0": 0, "1": 1}, path)


def encoded(rows: Sequence[Sequence[str]], numbers: Sequence[int], columns: int, path: Path) -> Array:
    """float32 [records, features]: number columns standardised, the others one-hot in alphabetical order."""
    parts: list[Array] = []
    for column in range(columns):
        cells = [row[column] for row in rows]
        if column in numbers:
            parts.append(standardised(_numbers(cells, path)[:, None]))
        else:
            places = {value: at for at, value in enumerate(sorted(set(cells)))}
            parts.append(np.eye(len(places), dtype=np.float32)[[places[cell] for cell in cells]])
    return np.concatenate(parts, axis=1)


def _rows(path: Path, fields: int) -> list[list[str]]:
    lines = [line for line in text(path).splitlines() if line.strip() and not line.startswith("|")]
    blanks = "," not in (lines[0] if lines else "")
    rows = [line.split() for line in lines] if blanks else list(csv.reader(lines, skipinitialspace=True))
    if not rows:
        raise broken(path, "a table", "it is empty")
    for at, row in enumerate(rows):
        if len(row) != fields:
            raise broken(path, "a table", f"row {at + 1} has {len(row)} fields, not {fields}")
    return rows


def _numbers(cells: Sequence[str], path: Path, missing: str | None = None) -> Array:
    """float64 [records], NaN where a cell is `missing`."""
    return np.array([np.nan if cell == missing else _number(cell, at, path) for at, cell in enumerate(cells)])


def _number(cell: str, at: int, path: Path) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise broken(path, "a table", f"row {at + 1} holds {cell!r} where a number belongs")
    return value


def _labels(cells: Sequence[str], places: dict[str, int], path: Path) -> Array:
    for at, cell in enumerate(cells):
        if cell not in places:
            raise broken(path, "a table", f"row {at + 1} has the label {cell!r}, not one of {', '.join(places)}")
    return np.array([places[cell] for cell in cells], np.int64)
