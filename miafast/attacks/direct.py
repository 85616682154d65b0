"""Scores that are the target's own signal, of one query or averaged over all."""

from __future__ import annotations

from typing import Any

import numpy as np

from miafast.attacks.shapes import find_not_finite, with_queries
from miafast.ops.dispatch import device_of


def first_query(name: str, array: Any, *, axes: int) -> Any:
    """The first query's signal, as float; ``axes`` as in `with_queries`. Raises ValueError if it is not finite."""
    signals = with_queries(name, array, axes)
    _check(name, signals)
    return signals[..., 0]


def mean_query(name: str, array: Any, *, axes: int) -> Any:
    """The mean over queries. Raises ValueError for signals that are not finite."""
    signals = with_queries(name, array, axes)
    _check(name, signals)
    return signals.mean(-1)


def _check(name: str, signals: Any) -> None:
    if 0 in signals.shape[-1:]:
        raise ValueError(f"{name} has shape {tuple(signals.shape)}; give at least one query.")
    if "float" not in str(signals.dtype):
        raise ValueError(f"{name} has dtype {signals.dtype}; give signals as floating numbers.")
    if device_of(signals) == "cpu" and not bool(np.isfinite(float(signals.sum()))):
        find_not_finite(name, signals)
