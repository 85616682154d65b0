"""CSV and Parquet files -> columns, through Apache Arrow (pyarrow, in the extra "data")."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from miafast.data.columns import Column, inputs, labels, names_checked
from miafast.data.intact import broken
from miafast.tables import Array

#: Arrow guesses a column's type from the first block; only if a later block disagrees is the file read as one block.
BLOCK, LARGEST_BLOCK = 1 << 22, (1 << 31) - 1


def read_table(path: Path, label: str | None) -> tuple[Array, Array]:
    """x [records, features] and y [records] (numbers or text) of a .csv, .csv.gz or .parquet file."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"{path} needs pyarrow to be read: pip install 'miafast[data]'.") from error
    kind = "Parquet" if path.suffix.lower() in (".parquet", ".pq") else "CSV"
    try:
        if kind == "CSV" and path.stat().st_size == 0:
            raise broken(path, kind, "it is empty")
        table = _csv(path) if kind == "CSV" else _parquet(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise broken(path, kind, str(error).splitlines()[0][:300]) from error
    wanted = names_checked(table.column_names, str(path), label)
    if table.num_rows == 0:
        raise ValueError(f"{path} has a header and no rows; give at least 2 records.")
    features = [_column(name, table[name], path) for name in table.column_names if name != wanted]
    return inputs(features, str(path)), labels(_column(wanted, table[wanted], path))


def _csv(path: Path) -> Any:
    from pyarrow import ArrowInvalid, csv

    missing = csv.ConvertOptions().null_values
    convert = csv.ConvertOptions(null_values=[*missing, "?"], strings_can_be_null=True)
    try:
        return csv.read_csv(path, read_options=csv.ReadOptions(block_size=BLOCK), convert_options=convert)
    except ArrowInvalid as error:
        if "CSV conversion error" not in str(error) and "straddling" not in str(error):
            raise
        return csv.read_csv(path, read_options=csv.ReadOptions(block_size=LARGEST_BLOCK), convert_options=convert)


def _parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(path).read()


def _column(name: str, chunked: Any, path: Path) -> Column:
    from pyarrow import types

    if chunked.null_count:
        first = int(np.argmax(chunked.is_null().to_numpy()))
        raise ValueError(
            f"column {name!r} of {path} has no value in row {first} (counted from 0, {chunked.null_count} such rows); "
            "fill in or drop them."
        )
    kind = chunked.type
    if types.is_dictionary(kind):
        kind = kind.value_type
        chunked = chunked.cast(kind)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return _text(name, chunked)
    if types.is_binary(kind):
        raise ValueError(f"column {name!r} of {path} is not UTF-8 text; save the file in UTF-8.")
    if types.is_decimal(kind):
        chunked = chunked.cast("float64")
    elif not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise ValueError(
            f"column {name!r} of {path} holds {kind}; features are numbers or text: drop it or turn it into numbers."
        )
    return Column(name, chunked.to_numpy())


def _text(name: str, chunked: Any) -> Column:
    encoded = chunked.combine_chunks().dictionary_encode()
    if hasattr(encoded, "chunks"):
        encoded = encoded.combine_chunks() if encoded.num_chunks != 1 else encoded.chunk(0)
    categories = [str(each) for each in encoded.dictionary.to_pylist()]
    order = np.argsort(np.array(categories))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Column(name, rank[encoded.indices.to_numpy()], tuple(categories[each] for each in order))
