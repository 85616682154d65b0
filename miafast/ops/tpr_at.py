"""tpr_at: the share of members found at given false-alarm budgets, by selection instead of a sort."""

from __future__ import annotations

from typing import Any

import numpy as np

from miafast.ops.dispatch import Array, Outline, as_float, op
from miafast.ops.roc_counts import check_scores, refuse_nan


def allowed_false_positives(fprs: Any, non_members: int) -> Array:
    """The largest whole k with k / non_members <= fpr, exactly as that comparison rounds: int64, the shape of fprs.

    >>> allowed_false_positives([0.1, 0.29, 0.0001], 100)
    array([10, 29,  0])
    """
    budget = np.asarray(fprs, dtype=np.float64)
    allowed = np.floor(budget * non_members)  # at most one off either way
    allowed += (allowed + 1) / non_members <= budget
    allowed -= allowed / non_members > budget
    return allowed.astype(np.int64)


def _check(scores: Array, is_member: Array, fprs: Any) -> None:
    check_scores(scores, is_member)
    rates = np.asarray(fprs, dtype=np.float64)
    if rates.ndim != 1 or not np.all((rates >= 0) & (rates <= 1)):
        raise ValueError(f"fprs={fprs!r}; give a list of false-positive rates from 0 to 1.")
    if isinstance(is_member, Outline):
        return
    if is_member.all() or not is_member.any():
        which = "non-members" if is_member.size and is_member[(0,) * is_member.ndim] else "members"
        raise ValueError(f"is_member holds no {which}; give scores of both members and non-members.")


@op(contract=_check, on_host=("fprs",))
def tpr_at(scores: Array, is_member: Array, fprs: Any) -> Array:
    """The largest TPR whose FPR is at most the given, for each of a few FPRs: float64 [fprs].

    A threshold is a distinct score and finds every score at or above it, so ties are never split.

    scores: any shape, float16, bfloat16, float32 or float64; higher = member; infinities are ordered.
    is_member: bool, the shape of scores.
    fprs: false-positive rates from 0 (before the first false positive) to 1.

    Raises ValueError for NaN scores, no members, no non-members and rates outside [0, 1]. Where scores are on a device,
    which is not waited for, the first three give NaN for every rate.

    Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles", section III.

    >>> import numpy as np
    >>> scores = np.array([4.0, 3.0, 2.0, 2.0, 1.0])
    >>> tpr_at(scores, np.array([True, False, True, False, True]), [0.0, 0.5, 1.0])
    array([0.33333333, 0.33333333, 1.        ])
    """
    values = as_float(scores)
    refuse_nan(values)
    members, non_members = np.sort(values[is_member]), np.sort(values[~is_member])
    allowed = allowed_false_positives(fprs, non_members.size)
    refused = non_members[::-1][np.minimum(allowed, non_members.size - 1)]  # no threshold may reach this low
    found = np.where(
        allowed < non_members.size, members.size - np.searchsorted(members, refused, side="right"), members.size
    )
    return found / members.size
