"""New values for some features of many records, each record's chosen at random by a key of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from miafast.ops.dispatch import Array, op
from miafast.ops.mlp_steps import mix

GOLDEN = 0x9E3779B1


def hash_of(key: Any, slot: Any) -> Array:
    """uint32 of (key, slot), both uint32 and broadcast."""
    spread = (np.asarray(slot, np.uint64) * np.uint64(GOLDEN)).astype(np.uint32)
    return mix(np.bitwise_xor(mix(np.atleast_1d(np.asarray(key, np.uint32))), spread))


def below(draws: Array, count: int) -> Array:
    """uint32 draws as whole numbers in [0, count)."""
    return np.asarray((draws.astype(np.uint64) * np.uint64(count)) >> np.uint64(32)).astype(np.int64)


def _contract(x: Array, k: Array, keys: Array, low: Array | None = None, high: Array | None = None) -> None:
    if x.ndim != 2 or x.dtype not in ((np.uint8,) if low is None else ()) + (np.float32, np.float64):
        raise ValueError(
            f"x has dtype {x.dtype}, shape {x.shape}; give float32 or float64 [records, features], or uint8 to flip."
        )
    if k.shape != x.shape[:1] or k.dtype != np.int64 or keys.shape != k.shape or keys.dtype != np.uint32:
        raise ValueError(
            f"k is {k.dtype} {k.shape} and keys {keys.dtype} {keys.shape}; give int64 and uint32 [{len(x)}]."
        )
    if k.size and not 0 <= k.min() <= k.max() <= x.shape[1]:
        raise ValueError(f"k holds {k.min()} … {k.max()}; redraw 0 … {x.shape[1]} features.")
    for name, bound in (("low", low), ("high", high)):
        if (low is None) != (high is None) or (
            bound is not None and (bound.shape != x.shape[1:] or bound.dtype != np.float64)
        ):
            raise ValueError(f"{name} does not fit; give low and high, float64 [{x.shape[1]}], or neither.")


@op(_contract)
def redraw(x: Array, k: Array, keys: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """Each record with k random features redrawn: flipped, 0 to 1 and 1 to 0, or uniform between ``low`` and ``high``.

    The features are the first k of a shuffle (Fisher and Yates), all of whose draws follow from the record's key.

    Args:
        x: [records, features] float32 or float64, or uint8 where features are flipped.
        k: [records] int64 in [0, features].
        keys: [records] uint32.
        low, high: [features] float64, for real features.

    Returns:
        [records, features] of x's dtype; x stays as it is.

    Raises:
        ValueError: shapes, dtypes or counts that do not fit.

    >>> redraw(np.zeros((2, 5), np.float32), np.array([1, 4]), np.array([7, 8], np.uint32)).sum(axis=1).tolist()
    [1.0, 4.0]
    """
    features = x.shape[1]
    redrawn = x.copy()
    order = np.tile(np.arange(features), (len(x), 1))
    for place in range(int(k.max(initial=0))):
        rows = np.flatnonzero(k > place)
        other = place + below(hash_of(keys[rows], 2 * place + 1), features - place)
        chosen = order[rows, other]
        order[rows, other] = order[rows, place]
        if low is None or high is None:
            redrawn[rows, chosen] = 1 - redrawn[rows, chosen]
        else:
            share = hash_of(keys[rows], 2 * place + 2) * 2.0**-32
            redrawn[rows, chosen] = low[chosen] + (high[chosen] - low[chosen]) * share
    return redrawn
