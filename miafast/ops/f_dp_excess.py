"""How far the right guesses of one run exceed what a trade-off function allows: the recursion of f-DP auditing."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array, op


def _contract(
    right: Array, level: Array, delta: Array | None = None, *, guesses: int, canaries: int, alpha: float
) -> None:
    for name, given in (("level", level), ("delta", delta)):
        if given is not None and (given.shape != right.shape or given.dtype != np.float64 or given.ndim != 1):
            raise ValueError(f"{name} is {given.dtype} {given.shape}; give float64 [audits] = {right.shape}.")
    if right.dtype != np.int64 or right.ndim != 1:
        raise ValueError(f"right is {right.dtype} {right.shape}; give int64 [audits].")
    if not 1 <= guesses <= canaries:
        raise ValueError(f"guesses={guesses} of {canaries} canaries; guess at least one and at most all.")
    if right.size and (right.min() < 0 or right.max() > guesses):
        raise ValueError(f"right holds {right.min()} … {right.max()}; of {guesses} guesses 0 … {guesses} can be right.")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha}; give a probability between 0 and 1, both excluded.")


@op(_contract)
def f_dp_excess(
    right: Array, level: Array, delta: Array | None = None, *, guesses: int, canaries: int, alpha: float
) -> Array:
    """float64 [audits]: above 0 where the trade-off function is rejected with confidence 1 − alpha.

    Args:
        right: int64 [audits] right guesses, 0 … guesses.
        level: float64 [audits]: mu of Gaussian DP, or, with ``delta``, the epsilon of (epsilon, delta)-DP. At least 0.
        delta: float64 [audits] or None.
        guesses: r, fixed before looking; canaries: m, each in by a fair coin.

    With f̄ = 1 − f: r̂ = α v / m, h = α (r − v) / m; for i = v − 1 … 0: h′ = max(h, f̄⁻¹(r̂)), r̂ += i / (r − i) (h′ − h),
    h = h′. The excess is r̂ + h − r / m.

    Raises ValueError for other shapes and dtypes, counts that cannot be, and alpha outside (0, 1).

    Source: Mahloujifar, Melis and Chaudhuri 2024, "Auditing f-Differential Privacy in One Run", algorithm 3.

    >>> import numpy as np
    >>> right = np.array([100, 70, 50])
    >>> f_dp_excess(right, np.array([1.0, 1.0, 1.0]), guesses=100, canaries=100, alpha=0.05) > 0
    array([ True, False, False])
    """
    from scipy.special import ndtr, ndtri

    grown = np.exp(level)

    def inverse(share: Array) -> Array:
        """Of f̄: the least FPR at which so large a share is found."""
        share = np.minimum(share, 1.0)
        if delta is None:
            return np.asarray(ndtr(ndtri(share) - level))
        return np.asarray(np.maximum(0.0, np.maximum((share - delta) / grown, 1 - delta - grown * (1 - share))))

    found, missed = alpha * right / canaries, alpha * (guesses - right) / canaries
    for place in range(int(right.max(initial=0)) - 1, -1, -1):
        more = np.where(place < right, np.maximum(missed, inverse(found)), missed)
        found = found + place / (guesses - place) * (more - missed)
        missed = more
    excess: Array = found + missed - guesses / canaries
    return excess
