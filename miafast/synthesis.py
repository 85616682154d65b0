"""Data made up for shadow models: by asking the target, from marginals, or from noisy real records.

Source: Shokri et al. 2017, "Membership inference attacks against machine learning models", section V-C, Algorithm 1.
Everything about a record follows from (seed, its index), however many are made beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from miafast.ops.redraw import below, hash_of, redraw
from miafast.tables import Array


@dataclass(frozen=True, eq=False)
class Synthesis:
    """Records that a target was climbed to, and which of them it accepted."""

    x: Array  # [records, features] float32: accepted, or the best seen
    confidence: Array  # [records] the target's probability of the class of x
    accepted: Array  # [records] bool; False: iter_max queries were not enough
    queries: Array  # [records] how often the target was asked


def climb(
    predict: Callable[[Array], Array], classes: Array, *, features: int, low: Any = None, high: Any = None,
    conf_min: float = 0.2, k_max: int = 128, k_min: int = 4, rej_max: int = 10, iter_max: int = 1000, seed: int = 0,
    batch: int = 2048,
) -> Synthesis:  # fmt: skip
    """Hill climbing on the target for a record of each of ``classes`` [records]; up to ``batch`` climb at once.

    ``predict`` takes float32 [batch, features] and gives probabilities [batch, classes]. Features are binary, 0 or 1,
    and redrawing flips them; with ``low`` and ``high`` (numbers or [features]) real, redrawn uniformly between.
    Each record climbs by Algorithm 1: a proposal at least as likely as the best is kept, and returned with its
    probability if its class is the argmax and above ``conf_min``; after more than ``rej_max`` rejections in a row k is
    halved, not below ``k_min``; then k random features of the best are redrawn. Batches of different sizes give
    the same records where ``predict`` rounds each row alike whatever stands beside it.

    Raises ValueError for options out of range or predictions of another shape.

    >>> def predict(x):
    ...     return np.c_[1 - x.mean(axis=1), x.mean(axis=1)]
    >>> found = climb(predict, np.array([0, 1]), features=8, conf_min=0.7, k_max=2, k_min=1)
    >>> found.accepted.tolist(), bool((found.confidence > 0.7).all())
    ([True, True], True)
    """
    classes = np.asarray(classes)
    _check(classes, features, low, high, conf_min, k_max, k_min, rej_max, iter_max, batch)
    k_max, k_min = min(k_max, features), min(k_min, features)
    low, high = (None if each is None else np.broadcast_to(np.float64(each), features).copy() for each in (low, high))
    wanted, least = len(classes), int(classes.max()) + 1
    keys = hash_of(hash_of(np.uint32(seed), 0), np.arange(wanted))
    made = Synthesis(
        np.empty((wanted, features), np.float32), np.zeros(wanted), np.zeros(wanted, bool), np.zeros(wanted, np.int64)
    )
    for begin in range(0, wanted, batch):  # where each record starts
        made.x[begin : begin + batch] = _start(keys[begin : begin + batch], features, low, high)
    rows = np.arange(min(batch, wanted))  # which record climbs in each place
    waiting = len(rows)
    best, confidence = made.x[rows].astype(np.uint8 if low is None else np.float32), np.zeros(len(rows))
    asked, rejected, k = (np.full(len(rows), first, np.int64) for first in (0, 0, k_max))
    proposal = best
    while len(rows):
        y = np.asarray(predict(proposal.astype(np.float32, copy=False)))
        if y.ndim != 2 or len(y) != len(rows) or y.shape[1] < least:
            raise ValueError(f"predict gives {y.shape}; give probabilities [{len(rows)} records, {least} or more].")
        asked += 1
        step = hash_of(keys[rows], asked)
        of_class = y[np.arange(len(rows)), classes[rows]]
        better = of_class >= confidence
        done = better & (of_class > conf_min)
        near = np.flatnonzero(done)
        done[near] = (y[near].argmax(axis=1) == classes[rows[near]]) & (_uniform(step[near], 0) < of_class[near])
        kept = np.flatnonzero(better)
        best[kept], confidence[kept] = proposal[kept], of_class[kept]
        rejected = np.where(better, 0, rejected + 1)
        halve = rejected > rej_max
        k, rejected = np.where(halve, np.maximum(k_min, -(-k // 2)), k), np.where(halve, 0, rejected)
        if np.any(over := done | (asked >= iter_max)):
            ended = rows[over]
            made.x[ended], made.confidence[ended] = best[over], confidence[over]
            made.accepted[ended], made.queries[ended] = done[over], asked[over]
            free = np.flatnonzero(over)[: wanted - waiting]
            rows[free] = np.arange(waiting, waiting + len(free))
            waiting += len(free)
            best[free] = made.x[rows[free]]
            confidence[free], asked[free], rejected[free], k[free] = 0.0, 0, 0, k_max
            over[free] = False
            if over.any():
                rows, best, confidence, asked, rejected, k, step = (
                    each[~over] for each in (rows, best, confidence, asked, rejected, k, step)
                )
        proposal = redraw(best, np.where(asked > 0, k, 0), step, low, high)
    return made


def from_marginals(x: Array, records: int, *, seed: int = 0) -> Array:
    """[records, features]: every feature drawn from its own values in x [real records, features], independently."""
    _check_table(x)
    keys = hash_of(hash_of(hash_of(np.uint32(seed), 1), np.arange(records))[:, None], np.arange(x.shape[1]))
    return x[below(keys, len(x)), np.arange(x.shape[1])]


def from_noisy(x: Array, *, share: float = 0.1, seed: int = 0) -> Array:
    """x [records, features] of 0 and 1 with this share of each record's features flipped, chosen at random."""
    _check_table(x)
    if not 0 <= share <= 1 or not np.isin(x, (0, 1)).all():
        raise ValueError(f"share={share}: give a share in [0, 1], and x of 0 and 1 alone (binary features).")
    keys = hash_of(hash_of(hash_of(np.uint32(seed), 2), np.arange(len(x)))[:, None], np.arange(x.shape[1]))
    flipped = np.argsort(keys, axis=1, kind="stable")[:, : round(share * x.shape[1])]
    noisy = x.copy()
    np.put_along_axis(noisy, flipped, 1 - np.take_along_axis(x, flipped, 1).astype(np.int8), 1)
    return noisy


def _start(keys: Array, features: int, low: Array | None, high: Array | None) -> Array:
    """[records, features], each feature at random: uint8 of 0 and 1, or float32 between the bounds."""
    keys = hash_of(keys, 0)[:, None]  # slots 1, 2, … are the steps
    if low is None or high is None:
        bits = hash_of(keys, np.arange(-(-features // 32))).astype("<u4").view(np.uint8)
        return np.unpackbits(bits, axis=1, count=features)
    return np.asarray(low + (high - low) * _uniform(keys, np.arange(features)), np.float32)


def _uniform(key: Array, slot: Any) -> Array:
    return np.asarray(hash_of(key, slot) * 2.0**-32)


def _check_table(x: Array) -> None:
    if not isinstance(x, np.ndarray) or x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x has shape {np.shape(x)}; give an array [records, features] with at least one of each.")


def _check(
    classes: Array, features: int, low: Any, high: Any, conf_min: float, k_max: int, k_min: int, rej_max: int,
    iter_max: int, batch: int,
) -> None:  # fmt: skip
    if classes.ndim != 1 or classes.dtype.kind not in "iu" or len(classes) == 0 or classes.min() < 0:
        raise ValueError(f"classes is {classes.dtype} {classes.shape}; give the class of each wanted record.")
    if (low is None) != (high is None) or (low is not None and np.any(np.asarray(low) >= np.asarray(high))):
        raise ValueError(f"low={low}, high={high}; give both, low < high, for real features, or neither for binary.")
    if not 0 <= conf_min < 1 or not 1 <= k_min <= k_max or min(features, iter_max, batch) < 1 or rej_max < 0:
        raise ValueError(
            f"conf_min={conf_min}, k_min={k_min}, k_max={k_max}, rej_max={rej_max}, iter_max={iter_max}, "
            f"features={features}, batch={batch}; need 0 <= conf_min < 1, 1 <= k_min <= k_max, and counts >= 1."
        )
