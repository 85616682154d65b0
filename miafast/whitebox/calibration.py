"""Thresholds per class that keep false alarms rare (Leino & Fredrikson 2020, algorithm 3), for any attack."""

from __future__ import annotations

import numpy as np

from miafast.tables import Array


def calibrate(scores: Array, labels: Array | None = None, *, classes: int = 1, alpha: float = 0.9) -> Array:
    """The alpha-quantile of the scores of every class: a record above it is called a member.

    Args:
        scores: [records] scores of records known not to be members (the attacker's own), higher = likelier a member.
        labels: [records] class indices in [0, classes); None takes all records for one class.
        classes: how many classes there are.
        alpha: share of non-members that must stay below, in (0, 1).

    Returns:
        thresholds float64 [classes], each one of the class's scores: at most a share 1 - alpha of them lies above.
        Infinite, so that nobody is called a member, for a class without records.

    Raises:
        ValueError: alpha out of range, shapes that differ, scores that are NaN.

    >>> calibrate(np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 0, 0, 1]), classes=3, alpha=0.5)
    array([0.2, 0.9, inf])
    """
    scores, labels = _checked(scores, labels, classes)
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha={alpha}; give the share of non-members to stay below the threshold, in (0, 1).")
    of_class = [scores[labels == label] for label in range(classes)]
    return np.array([np.quantile(each, alpha, method="higher") if len(each) else np.inf for each in of_class])


def called_members(scores: Array, labels: Array | None, thresholds: Array) -> Array:
    """Which records [records] bool lie above their own class's threshold, or above the only one without labels.

    >>> called_members(np.array([0.1, 0.3, 0.95]), np.array([0, 0, 1]), np.array([0.2, 0.9]))
    array([False,  True,  True])
    """
    scores, labels = _checked(scores, labels, len(thresholds))
    above: Array = scores > np.asarray(thresholds)[labels]
    return above


def _checked(scores: Array, labels: Array | None, classes: int) -> tuple[Array, Array]:
    scores = np.asarray(scores)
    if labels is None and classes != 1:
        raise ValueError(f"labels is None with {classes} classes; give every record's class, or one threshold.")
    labels = np.zeros(scores.shape, np.int64) if labels is None else np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"scores has shape {scores.shape}, labels {labels.shape}; give [records] each.")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels holds {labels.min()} … {labels.max()}; they must lie in [0, {classes}).")
    if np.isnan(scores).any():
        raise ValueError(f"scores holds {int(np.isnan(scores).sum())} NaN; drop those records.")
    return scores, labels
