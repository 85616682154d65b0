"""What every attack does to its signals first and last: the axis of queries, and the search for what is not finite."""

from __future__ import annotations

from typing import Any

import numpy as np

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
