"""The mean of the middle, or the top, of several scores of the same records."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.lira import check_floating


def check_quantiles(low: Any, high: Any) -> None:
    """Raises ValueError unless 0 <= low <= high <= 1."""
    numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in (low, high))
    if not numbers or not 0 <= low <= high <= 1:
        raise ValueError(f"low={low!r}, high={high!r}; give quantiles 0 <= low <= high <= 1.")


def _contract(*scores: Array, low: float = 0.0, high: float = 1.0) -> None:
    check_quantiles(low, high)
    if not scores:
        raise ValueError("scores is empty; give at least one array.")
    for each in scores:
        check_floating("scores", each)
        if each.shape != scores[0].shape:
            raise ValueError(f"scores have shapes {scores[0].shape} and {each.shape}; give them all one shape.")


@op(contract=_contract)
def trimmed_mean(*scores: Array, low: float = 0.0, high: float = 1.0) -> Array:
    """For every entry the mean over the arrays of the sorted scores from quantile ``low`` to quantile ``high``.

    Of n scores these are numbers floor(low · n) to ceil(high · n), the first not included; where that is none, the one
    at ``low``. NaN where any score is NaN.

    >>> trimmed_mean(np.array([9.0, 9.0]), np.array([5.0, 0.0]), np.array([-9.0, 3.0]), low=0.5)  # the upper two
    array([7., 6.])
    """
    first, last = kept(len(scores), low, high)
    ranked = np.sort(np.stack([as_float(each) for each in scores], axis=-1), axis=-1)
    with np.errstate(invalid="ignore"):
        middle = ranked[..., first:last].mean(axis=-1)
    return np.asarray(np.where(np.isnan(ranked[..., -1]), np.nan, middle)).astype(result_dtype(*scores))


def kept(count: int, low: float, high: float) -> tuple[int, int]:
    """The slice of so many sorted scores; 0.29 of 100 are 29, whatever their product rounds to.

    >>> kept(3, 0.5, 1.0), kept(100, 0.29, 0.29), kept(4, 1.0, 1.0)
    ((1, 3), (29, 30), (3, 4))
    """
    first = min(math.floor(round(low * count, 9)), count - 1)
    return first, max(math.ceil(round(high * count, 9)), first + 1)
