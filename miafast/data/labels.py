"""Labels of any kind -> class indices 0 … classes - 1, with the names they had."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from miafast.tables import Array


def class_indices(
    y: Any, *, classes: int | None = None, class_names: Sequence[str] | None = None
) -> tuple[Array, int, tuple[str, ...] | None]:
    """Labels as int64 class indices, the number of classes, and the classes' names if there are any.

    Takes whole numbers, text, bool, or one-hot rows [records, classes]. Text is numbered in the order of
    `class_names`, or else of the alphabet. Whole numbers are class indices already if they are 0 … k - 1 without a
    gap, or if `classes` or `class_names` says how many there are; otherwise (1 … 30, or 0, 2, 5) they are renumbered in
    ascending order, `class_names` keeps the originals, and a warning says so.

    Raises ValueError for labels that are fractional, negative, missing, out of range, nested or objects; for one class
    only; for a label of its own in every record (an identifier or a measurement, not a class).

    >>> class_indices(["cat", "dog", "cat"])
    (array([0, 1, 0]), 2, ('cat', 'dog'))
    """
    names = None if class_names is None else tuple(str(each) for each in class_names)
    if names is not None and len(set(names)) != len(names):
        raise ValueError(f"class_names repeats a name: {', '.join(names)}; give every class its own.")
    if classes is not None and names is not None and len(names) != classes:
        raise ValueError(f"class_names has {len(names)} names for classes={classes}; give one each.")
    labels = _one_axis(y)
    if labels.dtype.kind in "US":
        indices, names = _number_text(labels.astype(str), names)
    else:
        indices, names = _number_numbers(_whole(labels), len(names) if names else classes, names)
    found = len(np.unique(indices))
    if found < 2:
        kept = repr(str(labels[0]))
        raise ValueError(f"y holds one class only ({kept}) in {len(labels)} records; a classifier needs at least 2.")
    if found == len(labels) > 20:
        raise ValueError(
            f"y holds a label of its own in each of the {found} records; it looks like an identifier or a measurement: "
            "give the column that holds classes."
        )
    return indices, len(names) if names else classes or found, names


def _one_axis(y: Any) -> Array:
    if isinstance(y, np.ma.MaskedArray):
        raise ValueError("y is a masked array; fill in or drop the masked records first.")
    labels = np.asarray(y)
    if labels.dtype == object:
        if not all(isinstance(each, str) for each in labels.ravel()):
            kinds = sorted({type(each).__name__ for each in labels.ravel()})
            raise ValueError(f"y holds objects ({', '.join(kinds[:4])}); give whole numbers or text, none missing.")
        labels = labels.astype(str)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        return _from_one_hot(labels)
    if labels.ndim != 1:
        raise ValueError(f"y has shape {labels.shape}; give [records], or one-hot [records, classes].")
    if labels.size == 0:
        raise ValueError("y is empty; give one label per record.")
    if labels.dtype.kind not in "biufUS":
        raise ValueError(f"y has dtype {labels.dtype}; give whole numbers or text.")
    return labels


def _from_one_hot(labels: Array) -> Array:
    good = (labels.sum(axis=1) == 1) & (labels.max(axis=1) == 1) & (labels.min(axis=1) == 0)
    if not good.all():
        which = int(np.argmin(good))
        raise ValueError(
            f"y has shape {labels.shape} and record {which} is not one-hot: {labels[which][:8]}; give [records] of "
            "class indices, or rows with a single 1."
        )
    return np.asarray(labels.argmax(axis=1))


def _number_text(labels: Array, names: tuple[str, ...] | None) -> tuple[Array, tuple[str, ...]]:
    if (blank := np.flatnonzero(np.char.str_len(labels) == 0)).size:
        raise ValueError(f"y is empty in {blank.size} records (first: {blank[0]}); fill in or drop them.")
    values, indices = np.unique(labels, return_inverse=True)
    found = tuple(str(each) for each in values)
    if names is None:
        return indices.astype(np.int64), found
    if unknown := [each for each in found if each not in names]:
        raise ValueError(f"y holds {', '.join(unknown[:5])}, not among class_names {', '.join(names)}.")
    return np.array([names.index(each) for each in found], np.int64)[indices], names


def _whole(labels: Array) -> Array:
    if labels.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(labels) | (labels != np.floor(labels)))
        if bad.size:
            raise ValueError(
                f"y holds {labels[bad[0]]} in record {bad[0]} (counted from 0); labels are whole numbers or text: "
                "a measurement must be cut into classes first."
            )
    if labels.min() < 0:
        which = int(np.argmax(labels < 0))
        raise ValueError(
            f"y holds {labels[which]:g} in record {which} (counted from 0); labels count from 0: drop unlabelled "
            "records, write 0/1 for -1/+1."
        )
    if labels.max() > np.iinfo(np.int64).max:
        raise ValueError(f"y holds {labels.max()}; labels must fit into 64 bits.")
    return labels.astype(np.int64)


def _number_numbers(
    labels: Array, classes: int | None, names: tuple[str, ...] | None
) -> tuple[Array, tuple[str, ...] | None]:
    if classes is not None:
        if labels.max() >= classes:
            which = int(np.argmax(labels >= classes))
            raise ValueError(
                f"y holds {labels[which]} in record {which} (counted from 0); with classes={classes} labels lie in "
                f"0 … {classes - 1}."
            )
        return labels, names
    values, indices = np.unique(labels, return_inverse=True)
    if len(values) == 1 or values[-1] == len(values) - 1:
        return labels, names
    warnings.warn(
        f"y holds {len(values)} distinct labels from {values[0]} to {values[-1]}; they were renumbered 0 … "
        f"{len(values) - 1} and class_names keeps the originals. If a model already knows these labels, pass classes=.",
        stacklevel=4,
    )
    return indices.astype(np.int64), tuple(str(each) for each in values)
