"""What an attack says of the attacker's own records by proxies that have not seen them: where its thresholds lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from miafast.shadow.random import permutation, stream
from miafast.tables import Array, Records

FOLDS = 4


def folds(records: int, *, seed: int) -> Array:
    """bool [FOLDS, records], whom a proxy is trained on: every record is left out exactly once.

    >>> (~folds(10, seed=0)).sum(axis=0)
    array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    """
    fold = permutation(stream(seed, 0, "folds"), records) % FOLDS
    out: Array = fold != np.arange(FOLDS)[:, None]
    return out


def held_out(logits: Iterable[Callable[[Records], Array]], in_mask: Array, records: Records) -> Array:
    """Log odds float64 [records] of every record, by the attack whose proxy was not trained on it.

    A proxy is surer of its own training records than of others, so an attack finds these less like members than
    anybody else's: thresholds from them would let through many times the false alarms they promise.
    """
    out = np.empty(len(records))
    for logit, out_of_it in zip(logits, ~in_mask, strict=True):
        out[out_of_it] = logit(records.only(out_of_it))
    return out
