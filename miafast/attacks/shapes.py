"""What attacks do to what they are given: the axis of queries, what is not finite, columns of the pool."""

from __future__ import annotations

from typing import Any

import numpy as np

from miafast.ops.dispatch import device_of

_AXES = {1: "[records] or [records, queries]", 2: "[models, records] or [models, records, queries]"}


def with_queries(name: str, array: Any, axes: int) -> Any:
    """The array with a last axis of queries, ``axes`` being how many it has without. ValueError for other shapes."""
    if not hasattr(array, "ndim") or not hasattr(array, "dtype"):
        raise ValueError(f"{name} is a {type(array).__name__}; give a NumPy array or a torch tensor of signals.")
    if array.ndim == axes:
        return array[..., None]
    if array.ndim != axes + 1:
        raise ValueError(f"{name} has shape {tuple(array.shape)}; give {_AXES[axes]}.")
    return array


def find_not_finite(name: str, array: Any) -> None:
    """Raises ValueError if the array holds NaN or infinity, saying how many and where the first is."""
    with np.errstate(invalid="ignore"):
        bad = np.asarray((array - array) != 0)
    if bad.any():
        first = tuple(int(each) for each in np.unravel_index(int(bad.argmax()), bad.shape))
        raise ValueError(
            f"{name} holds {int(bad.sum())} NaN or infinite values (first at {list(first)}); "
            "collect these signals again or drop their records."
        )


def population_columns(population: Any, records: int) -> Any:
    """Column indices of the pool as an integer array [population]. Raises ValueError for anything else."""
    if device_of(population) not in (None, "cpu"):
        raise ValueError(f"population is on {device_of(population)}; give column indices in main memory.")
    columns = np.asarray(population)
    if columns.ndim != 1 or columns.size == 0 or columns.dtype.kind not in "iu":
        raise ValueError(
            f"population has dtype {columns.dtype} and shape {columns.shape}; give column indices (np.flatnonzero of a "
            f"mask), integers from 0 to {records - 1}, or phi of other records."
        )
    if columns.min() < 0 or columns.max() >= records:
        raise ValueError(f"population holds {columns.min()} … {columns.max()}; columns go from 0 to {records - 1}.")
    return columns
