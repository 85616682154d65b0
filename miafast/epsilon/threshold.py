"""Which threshold turns scores into counts, and what having chosen it costs in confidence."""

from __future__ import annotations

import numpy as np

from miafast.epsilon.rates import Counts, clopper_pearson
from miafast.ops.roc_counts import roc_counts
from miafast.tables import Array


def counts_at(scores: Array, is_member: Array, threshold: float) -> Counts:
    """Called a member at or above the threshold, as in a ROC."""
    called = scores >= threshold
    members = int(is_member.sum())
    return Counts(
        np.array([np.sum(called & ~is_member)]), len(scores) - members, np.array([np.sum(called & is_member)]), members
    )


def best_threshold(scores: Array, is_member: Array, *, delta: float, alpha: float) -> float:
    """The threshold with the largest Clopper–Pearson bound on these runs: valid on other runs only.

    Where none shows anything, the one with the largest TPR − FPR.
    """
    found = roc_counts(scores, is_member)
    counts = Counts(
        found.false_positives, found.false_positives[-1], found.true_positives, found.true_positives[-1]
    )  # fmt: skip
    bounds = clopper_pearson(counts, delta=delta, alpha=alpha)
    gain = counts.true_positives / counts.members - counts.false_positives / counts.non_members
    best = np.lexsort((gain, bounds))[-1]
    return float(found.thresholds[best])


def halves(runs: int, is_member: Array, seed: int) -> tuple[Array, Array]:
    """Two disjoint halves of the runs' indices, each with half of the members: to choose on, and to judge on."""
    random = np.random.Generator(np.random.Philox(seed))
    chosen = np.zeros(runs, bool)
    for side in (np.flatnonzero(is_member), np.flatnonzero(~is_member)):
        chosen[random.permutation(side)[: len(side) // 2]] = True
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def hull(scores: Array, is_member: Array) -> Counts:
    """Counts at the inner vertices of the ROC's upper hull: every test that is best at some exchange of errors.

    Ties stand or fall together. The ends (call nobody, call everybody) show nothing and are left out, unless they are
    all there is.
    """
    found = roc_counts(scores, is_member)
    x, y = np.append(0, found.false_positives), np.append(0, found.true_positives)
    kept: list[int] = []
    for place in _corners(x, y):
        while len(kept) > 1 and _turns_left(x, y, kept[-2], kept[-1], place):
            kept.pop()
        kept.append(place)
    inner = np.array(kept[1:-1] or kept[-1:])
    return Counts(x[inner], x[-1], y[inner], y[-1])


def _corners(x: Array, y: Array) -> list[int]:
    """Points where the staircase goes up before it and right after it; others cannot be vertices."""
    up, right = np.diff(y) > 0, np.diff(x) > 0
    corner = np.ones(len(x), bool)
    corner[1:-1] = up[:-1] & right[1:]
    return [int(place) for place in np.flatnonzero(corner)]


def _turns_left(x: Array, y: Array, first: int, middle: int, last: int) -> bool:
    """Whether the middle point lies on or below the line from the first to the last."""
    across = (x[middle] - x[first]) * (y[last] - y[first]) - (y[middle] - y[first]) * (x[last] - x[first])
    return bool(across >= 0)
