"""Tables with named columns (CSV, Parquet, dictionaries) -> inputs and labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from miafast.spelling import did_you_mean
from miafast.tables import Array

#: A text column with more distinct values than this is an identifier or free text, not a category.
MOST_CATEGORIES = 1000
#: A text column with more distinct values, most of them numbers, was probably meant to be one of numbers.
FEWEST_NUMBERS = 20


class Column(NamedTuple):
    """Numbers [records], or the codes [records] of texts with `categories` naming them."""

    name: str
    values: Array
    categories: tuple[str, ...] | None = None


def numbers_or_text(name: str, values: Array) -> Column:
    """A column of an array: text is turned into codes, numbers and bool stay."""
    if values.dtype.kind in "US" or (values.dtype == object and all(isinstance(each, str) for each in values)):
        found, codes = np.unique(values.astype(str), return_inverse=True)
        return Column(name, codes, tuple(str(each) for each in found))
    if values.dtype.kind not in "biuf" or values.ndim != 1:
        raise ValueError(f"column {name!r} holds {values.dtype} {values.shape}; give one number or text a record.")
    return Column(name, values)


def names_checked(names: Sequence[str], source: str, label: str | None) -> str:
    """The label column's name. Refuses what cannot be told apart or is an index in disguise."""
    if twice := sorted({each for each in names if list(names).count(each) > 1}):
        raise ValueError(f"{source} has the column {twice[0]!r} twice; rename or drop one.")
    for at, name in enumerate(names):
        if not name or name.startswith("__index_level_"):
            raise ValueError(
                f"{source} has a row index in column {at + 1} ({name!r}); it would be learnt as a feature: "
                "write the file without it (pandas: index=False) or give the column a name."
            )
    wanted = "label" if label is None else label
    if wanted not in names:
        shown = ", ".join(repr(each) for each in names[:20]) + (
            f" and {len(names) - 20} more" if len(names) > 20 else ""
        )
        got = f"label={label!r} is no column of {source}" if label else f"{source} has no column 'label'"
        raise ValueError(f"{got}; {did_you_mean(wanted, names)}its columns are {shown}: name one of them, label=….")
    if len(names) < 2:
        raise ValueError(f"{source} has the label column {wanted!r} only; it needs features too.")
    return wanted


def labels(column: Column) -> Array:
    """What `from_arrays` takes as y: numbers as they are, categories as text."""
    return column.values if column.categories is None else np.array(column.categories)[column.values]


def inputs(columns: Sequence[Column], source: str) -> Array:
    """[records, features]: numeric columns as they are, text columns one-hot in alphabetical order.

    float32, or float64 where a number needs it to stay what it is; from_arrays rounds after standardising.
    """
    for each in columns:
        _refuse_column(each, source)
    widths = [1 if each.categories is None else len(each.categories) for each in columns]
    dtype = np.result_type(np.float32, *(each.values.dtype for each in columns if each.categories is None))
    x = np.zeros((len(columns[0].values), sum(widths)), dtype)
    rows = np.arange(len(x))
    start = 0
    for each, width in zip(columns, widths, strict=True):
        if each.categories is None:
            x[:, start] = each.values
        else:
            x[rows, start + each.values] = 1
        start += width
    return x


def _refuse_column(column: Column, source: str) -> None:
    if column.categories is not None:
        _warn_of_numbers_in_text(column, source)
        if len(column.categories) > MOST_CATEGORIES:
            raise ValueError(
                f"column {column.name!r} of {source} holds {len(column.categories):,} distinct texts (such as "
                f"{column.categories[0]!r}); one-hot takes at most {MOST_CATEGORIES}: drop it, or turn it into numbers."
            )
    elif column.values.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(column.values))
        if bad.size:
            raise ValueError(
                f"column {column.name!r} of {source} holds {column.values[bad[0]]} in row {bad[0]} (counted from 0, "
                f"{bad.size} such rows); fill in or drop them."
            )


def _warn_of_numbers_in_text(column: Column, source: str) -> None:
    """One slip of the pen makes a text of a column of numbers, and every number a category of its own."""
    texts = column.categories or ()
    slips = [code for code, text in enumerate(texts) if not _is_number(text)]
    if len(texts) > FEWEST_NUMBERS and len(slips) < len(texts) / 2:
        row = int(np.argmax(np.isin(column.values, slips)))
        warnings.warn(
            f"column {column.name!r} of {source} is taken for text, one-hot in {len(texts)} columns, because of "
            f"{texts[column.values[row]]!r} in row {row} (counted from 0); if its values are numbers, mend that.",
            stacklevel=2,
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
