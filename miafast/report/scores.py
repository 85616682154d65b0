"""Every score of every attack as one long table on disk, written block by block."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from miafast.tables import Array, Signals

if TYPE_CHECKING:
    from miafast.report.report import AttackResult

#: Columns before the attacks' own; no attack may be called like one of them.
COLUMNS = ("model", "record", "label", "is_member")
KINDS = ("csv", "parquet")
BLOCK = 65_536


def write_scores(path: Path, results: tuple[AttackResult, ...], *, signals: Signals, kind: str) -> None:
    """Columns: model, record, label, is_member, then one per attack; a record not scored is left empty."""
    {"csv": _write_csv, "parquet": _write_parquet}[kind](path, results, signals)


def _write_csv(path: Path, results: tuple[AttackResult, ...], signals: Signals) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(_columns(results))
        for block in _blocks(results, signals):
            line = ",".join(_decimals(column) for column in block) + "\n"
            rows = zip(*(column.tolist() for column in block), strict=True)
            file.write("".join(map(line.__mod__, rows)).replace("nan", ""))


def _decimals(column: Array) -> str:
    """How to write numbers so that they read back the same: 9 digits hold any float32, 17 any float64."""
    if column.dtype.kind != "f":
        return "%d"
    return "%.9g" if column.dtype.itemsize <= 4 else "%.17g"


def _write_parquet(path: Path, results: tuple[AttackResult, ...], signals: Signals) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = _columns(results)
    types = [
        pa.int32(),
        pa.int64(),
        pa.int64(),
        pa.bool_(),
        *(pa.from_numpy_dtype(each.scores.dtype) for each in results),
    ]
    schema = pa.schema(list(zip(names, types, strict=True)))
    with pq.ParquetWriter(path, schema) as writer:
        for block in _blocks(results, signals):
            arrays = [pa.array(column, type=kind, from_pandas=True) for column, kind in zip(block, types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _columns(results: tuple[AttackResult, ...]) -> list[str]:
    return [*COLUMNS, *(each.name for each in results)]


def _blocks(results: tuple[AttackResult, ...], signals: Signals) -> Iterator[list[Any]]:
    """Columns of at most BLOCK rows, models in order, records in order within a model."""
    models = range(signals.models) if not signals.has_target else [signals.models - 1]
    scores = [np.atleast_2d(each.scores) for each in results]
    is_member = np.atleast_2d(results[0].is_member)
    for row, model in enumerate(models):
        for start in range(0, signals.records, BLOCK):
            stop = min(start + BLOCK, signals.records)
            yield [
                np.full(stop - start, model),
                np.arange(start, stop),
                np.asarray(signals.labels[start:stop]),
                is_member[row, start:stop],
                *(each[row, start:stop] for each in scores),
            ]
