"""The largest epsilon that a test rejects: what every lower bound here comes down to, and group privacy with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from miafast.tables import Array

Rejects = Callable[[Array, Array], Array]  # (epsilon [audits], delta [audits]) -> bool [audits]

_LARGEST = 500.0  # exp of it, squared, still is a double
_HALVINGS = 60


def largest_rejected(rejects: Rejects, *, delta: float, audits: int, copies: int = 1) -> Array:
    """[audits] float64: the largest epsilon at which (epsilon, delta)-DP is rejected; 0 where not even 0 is.

    With ``copies`` of a canary added or left out together, what a test rejects is the privacy of a group of so many
    records: an (epsilon, delta)-DP algorithm is (k epsilon, delta (e^(k epsilon) − 1) / (e^epsilon − 1))-DP for groups
    of k, so that is what is tested.

    Source: Dwork and Roth 2014, "The Algorithmic Foundations of Differential Privacy", theorem 2.2; Jagielski et al.
    2020, "Auditing Differentially Private Machine Learning", section 3.

    >>> largest_rejected(lambda epsilon, delta: epsilon <= np.array([3.0, 0.0]), delta=0.0, audits=2, copies=2)
    array([1.5, 0. ])
    """

    def rejected(epsilon: Array) -> Array:
        return rejects(copies * epsilon, group_delta(epsilon, delta, copies))

    low, high = np.zeros(audits), np.full(audits, _LARGEST / copies)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        yes = rejected(middle)
        low, high = np.where(yes, middle, low), np.where(yes, high, middle)
    return np.where(rejected(np.zeros(audits)), low, 0.0)


def group_delta(epsilon: Array, delta: float, copies: int) -> Array:
    """The delta of groups of ``copies`` records, at most 1."""
    weights = np.exp(np.multiply.outer(np.arange(copies), epsilon))
    smaller: Array = np.minimum(1.0, delta * weights.sum(axis=0))
    return smaller
