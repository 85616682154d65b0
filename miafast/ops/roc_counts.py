"""roc_counts: how many members and non-members score at least t, for every distinct score t."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from miafast.ops.dispatch import BFLOAT16, Array, as_float, op, result_dtype


class RocCounts(NamedTuple):
    """One entry per distinct score, best score first."""

    thresholds: Array  # [distinct] float32, float64 for float64 scores; strictly descending
    false_positives: Array  # [distinct] int64, non-members with score >= threshold
    true_positives: Array  # [distinct] int64, members with score >= threshold

    @property
    def auc(self) -> float:
        """The chance that a member outscores a non-member, ties counting half."""
        false, true = self.false_positives, self.true_positives
        in_order = false[0] * true[0] + ((false[1:] - false[:-1]) * (true[1:] + true[:-1])).sum()
        return int(in_order) / (2 * int(false[-1]) * int(true[-1]))


def check_scores(scores: Array, is_member: Array) -> None:
    """Raise ValueError unless scores are floating and is_member is bool of the same shape."""
    floating = isinstance(scores, np.ndarray) and scores.dtype.kind == "f" and scores.itemsize <= 8
    if not floating and getattr(scores, "dtype", None) != BFLOAT16:
        raise ValueError(
            f"scores is {_what(scores)}; give an array of floating-point scores, float64 at most, higher = member."
        )
    if not isinstance(is_member, np.ndarray) or is_member.dtype != np.bool_:
        raise ValueError(f"is_member is {_what(is_member)}; give an array of bool (is_member == 1 for a 0/1 mask).")
    if scores.shape != is_member.shape:
        raise ValueError(f"scores has shape {scores.shape} and is_member {is_member.shape}; give one bool per score.")


def refuse_nan(scores: Array) -> None:
    """Raise ValueError if a score is NaN: it has no rank. Compiled twins raise the same in their own first pass."""
    if nan := int(np.isnan(scores).sum()):
        raise ValueError(f"scores holds {nan} NaN; drop these records from scores and from is_member.")


@op(contract=check_scores)
def roc_counts(scores: Array, is_member: Array) -> RocCounts:
    """Exact counts for the whole ROC; equal scores stand or fall together.

    scores: any shape, float16, bfloat16, float32 or float64; higher = member; infinities are ordered, -0 equals 0.
    is_member: bool, the shape of scores.

    Raises ValueError for NaN scores (they have no rank), other dtypes and differing shapes. The one op that waits for a
    device: the values decide the size of the result.

    Source: Fawcett 2006, "An introduction to ROC analysis", Algorithm 1.

    >>> import numpy as np
    >>> counts = roc_counts(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    >>> counts.thresholds, counts.false_positives, counts.true_positives
    (array([3., 2., 1.]), array([0, 1, 2]), array([1, 2, 2]))
    """
    values = as_float(scores).ravel()
    refuse_nan(values)
    thresholds = np.unique(values)[::-1]
    members = np.sort(values[is_member.ravel()])
    non_members = np.sort(values[~is_member.ravel()])
    return RocCounts(
        thresholds.astype(result_dtype(scores)),
        (non_members.size - np.searchsorted(non_members, thresholds)).astype(np.int64),
        (members.size - np.searchsorted(members, thresholds)).astype(np.int64),
    )


def _what(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"of type {type(value).__name__}"
