"""Scores that are NaN: an error if a signal is to blame, a warning if some records have too few models."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from miafast.attacks.shapes import find_not_finite
from miafast.ops.dispatch import device_of

MANY = 1 << 20  # scores, which take longer to read than threads to start


class UnscoredRecordsWarning(UserWarning):
    """Some records have too few IN or OUT models for the attack; their scores are NaN, all others are right."""


def explain_nan(scores: Any, *, remedy: str = "", **signals: Any) -> None:
    """Raise for signals that are not finite, and where no record can be scored; warn where some cannot.

    scores [..., records]; ``remedy`` names an attack that needs fewer models, if there is one. Scores on a device are
    not looked at: that would be to wait for it.
    """
    if device_of(scores) != "cpu":
        return
    verdicts = np.asarray(scores)
    if not verdicts.size or not _holds_nan(verdicts):
        return
    for name, array in signals.items():
        find_not_finite(name, array)
    unscored = np.flatnonzero(np.isnan(verdicts).reshape(-1, verdicts.shape[-1]).any(axis=0))
    if np.isnan(verdicts).all():
        instead = f", or use {remedy}" if remedy else ""
        raise ValueError(
            f"in_mask leaves no record with enough IN and OUT models to score; train more models{instead}."
        )
    warnings.warn(
        f"{len(unscored)} of {verdicts.shape[-1]} records (first: {unscored[0]}) have too few IN or OUT models for "
        f"some target: {int(np.isnan(verdicts).sum())} scores are NaN. Train more models, or drop these records.",
        UnscoredRecordsWarning,
        stacklevel=3,
    )


def _holds_nan(scores: np.ndarray[Any, Any]) -> bool:
    """In as many threads as there are processors: this is all about reading memory."""
    parts = np.array_split(scores.reshape(-1), os.cpu_count() or 1) if scores.size > MANY else [scores]
    with ThreadPoolExecutor() as pool:
        return any(np.isnan(lowest) for lowest in pool.map(np.min, parts))
