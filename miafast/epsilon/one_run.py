"""Lower bounds from one training run with many canaries, each in by a fair coin of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from miafast.epsilon.gaussian import epsilon_of_mu
from miafast.epsilon.search import largest_rejected
from miafast.ops.f_dp_excess import f_dp_excess
from miafast.tables import Array


def one_run(right: Any, *, guesses: int, canaries: int, delta: float, alpha: float, copies: int = 1) -> Array:
    """[audits] epsilon that ``right`` right guesses out of ``guesses``, fixed beforehand, reject.

    Source: Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1) Training Run", theorem 5.2 and appendix D.

    >>> one_run(600, guesses=600, canaries=1000, delta=1e-5, alpha=0.05)
    array([5.2703...])
    """
    right = np.atleast_1d(right)
    distinct, which = np.unique(right, return_inverse=True)

    def rejects(epsilon: Array, within: Array) -> Array:
        each = zip(distinct, epsilon, within, strict=True)
        return np.array([
            p_value(int(v), guesses=guesses, canaries=canaries, epsilon=float(e), delta=float(d)) <= alpha
            for v, e, d in each
        ])  # fmt: skip

    return np.asarray(largest_rejected(rejects, delta=delta, audits=len(distinct), copies=copies)[which])


def p_value(right: int, *, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """The chance of at least so many right guesses under (epsilon, delta)-DP, at most.

    P[B ≥ v] + 2 m δ max_i P[v > B ≥ v − i] / i with B ~ Binomial(r, e^ε / (1 + e^ε)).

    >>> p_value(10, guesses=10, canaries=10, epsilon=0.0, delta=0.0)
    0.0009765625
    """
    from scipy.special import bdtr, bdtrc, expit

    chance = expit(epsilon)
    tail = 1.0 if right == 0 else float(bdtrc(right - 1, guesses, chance))
    if delta == 0 or right == 0:
        return tail
    below = bdtr(np.arange(right, dtype=float) - 1, guesses, chance)  # P[B < j], j = 0 … v − 1
    below[0] = 0.0
    steps = np.arange(right, 0, -1)
    worst = np.max((bdtr(right - 1, guesses, chance) - below) / steps)
    return min(1.0, tail + 2 * canaries * delta * float(worst))


def f_dp_one_run(
    right: Any, *, guesses: int, canaries: int, delta: float, alpha: float, copies: int = 1, family: str = "gaussian"
) -> Array:
    """[audits] as `one_run`, through a whole trade-off function: tighter.

    family: "gaussian" rejects mu-GDP and says its epsilon at ``delta`` (which must be above 0), valid as `gaussian` is;
        "approximate" rejects (epsilon, delta)-DP itself.

    Source: Mahloujifar, Melis and Chaudhuri 2024, "Auditing f-Differential Privacy in One Run", algorithm 3.

    >>> f_dp_one_run(600, guesses=600, canaries=1000, delta=1e-5, alpha=0.05)
    array([10.5148...])
    """
    right = np.atleast_1d(right).astype(np.int64)

    def rejects(level: Array, within: Array | None) -> Array:
        return f_dp_excess(right, level, within, guesses=guesses, canaries=canaries, alpha=alpha) > 0

    if family == "gaussian":
        mu = largest_rejected(lambda level, _: rejects(level, None), delta=0.0, audits=len(right))
        return epsilon_of_mu(mu / copies, delta=delta)
    return largest_rejected(rejects, delta=delta, audits=len(right), copies=copies)
