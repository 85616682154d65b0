"""Who is IN where: which model trains on which record."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from miafast.shadow.random import stream, uniform
from miafast.tables import Array

_BLOCK = 1 << 22  # draws held at once


def membership(records: int, models: int, *, kind: str = "balanced", seed: int) -> Array:
    """A random membership mask: bool [models, records], True where the model trains on the record.

    ``balanced``: every record is IN exactly half of the models, all such choices equally likely, records independent
    (the design of Carlini et al. 2022, arXiv:2112.03570, section V). ``coins``: every entry is a fair coin of its own
    (each model's training set is then a Poisson subset; Ye et al. 2022, arXiv:2111.09679).
    The mask is a function of the arguments alone, on every platform.

    Raises ValueError for an unknown kind, an odd number of models with ``balanced``, fewer than 2 records or models, a
    negative seed, or when a model was left without IN or without OUT records (too few records).

    >>> mask = membership(100, 4, seed=0)
    >>> mask.shape, set(mask.sum(axis=0).tolist())
    ((4, 100), {2})
    """
    records, models, seed = operator.index(records), operator.index(models), operator.index(seed)
    if records < 2:
        raise ValueError(f"records={records}; membership needs at least 2 records, one IN and one OUT.")
    if models < 2:
        raise ValueError(
            f"{models} models or shadows; train at least 2, so that a record can be IN one and OUT of one."
        )
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; give an integer of at least 0.")
    if kind not in ("balanced", "coins"):
        raise ValueError(f"membership of the kind {kind!r} is not known; choose balanced or coins.")
    if kind == "balanced" and models % 2:
        raise ValueError(
            f"{models} models or shadows are an odd number, so no record can be IN exactly half of them; give an even "
            "number, or coins in place of balanced."
        )
    bits = stream(seed, 0, f"membership {kind}")
    mask = np.empty((models, records), dtype=bool)
    step = max(1, _BLOCK // models)
    for begin in range(0, records, step):
        block = mask[:, begin : begin + step]
        draws = uniform(bits, block.size).reshape(block.shape[1], models)
        block[:] = draws.T < 0.5 if kind == "coins" else _lower_half(draws).T
    check_membership(mask, records, models)
    return mask


def _lower_half(draws: Array) -> Array:
    """True at the smaller half of every row."""
    half = draws.shape[1] // 2
    lower = np.zeros(draws.shape, dtype=bool)
    np.put_along_axis(lower, np.argpartition(draws, half - 1, axis=1)[:, :half], True, axis=1)
    return lower


def check_membership(mask: Any, records: int, models: int) -> None:
    """Refuse a mask that is not bool [models, records] with at least one IN and one OUT record for every model.

    Raises TypeError for another dtype (integers 0 and 1 would be taken for indices) and ValueError otherwise.

    >>> check_membership(np.array([[1, 0]]), records=2, models=1)
    Traceback (most recent call last):
    TypeError: in_mask has dtype int64; give bool [models, records], for instance in_mask.astype(bool).
    """
    dtype = getattr(mask, "dtype", None)
    if not isinstance(mask, np.ndarray) or dtype != np.bool_:
        got = f"dtype {dtype}" if dtype is not None else f"type {type(mask).__name__}"
        raise TypeError(f"in_mask has {got}; give bool [models, records], for instance in_mask.astype(bool).")
    if mask.shape != (models, records):
        raise ValueError(f"in_mask has shape {mask.shape}; give [models, records] = {(models, records)}.")
    count = mask.sum(axis=1)
    for side, bad in (("IN", np.flatnonzero(count == 0)), ("OUT", np.flatnonzero(count == records))):
        if len(bad):
            raise ValueError(
                f"in_mask leaves {len(bad)} models without {side} records (first: model {bad[0]}); every model needs "
                "at least one IN and one OUT record: give more records or another mask."
            )
