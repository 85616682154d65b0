"""What compiled LiRA kernels need of a variance rule: moments to ask for, and tables by number of models.

A kernel sums up moments over all records, `priors_of` makes them a prior, and `Tables` the prior a scale and constants
that the kernel looks up by n, the number of models behind a record's side.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from miafast.ops.dispatch import Array
from miafast.ops.student_t import log_beta_with_half
from miafast.ops.variance_prior import LogMoments, Prior, no_prior, pooled_prior, shrunken_prior

#: Variance rule -> what a kernel adds up (csrc/lira.h, Moments).
POOLING = {"per-record": "none", "pooled": "squares", "shrunken": "log_squares", "total": "total"}


class Tables(NamedTuple):
    """Per target, side (in, out): scale² = max(above + keep · squares, floor) / ratio[n], and the rest of a density."""

    student: Array  # [targets, 2] uint8
    keep: Array  # [targets, 2] uint8
    above: Array  # [targets, 2, queries]
    constant: Array  # [targets, 2, models + 1]; NaN where n models are too few, and for a prior that is NaN
    ratio: Array  # [targets, 2, models + 1]
    half: Array  # [targets, 2, models + 1] (degrees of freedom + 1) / 2, for Student's t


def priors_of(moments: Array, variance: str, mode: str) -> Prior:
    """Moments [targets, 2, queries, 4] -> prior [targets, 2]."""
    lead, queries = moments.shape[:2], moments.shape[2]
    count, first, second, sampling = np.moveaxis(moments, -1, 0)
    if variance == "pooled":
        return pooled_prior(first, count[..., 0])
    if variance == "shrunken":
        return shrunken_prior(LogMoments(count[..., 0], first, second, sampling[..., 0]))
    if variance == "total":
        side = slice(1, 2) if mode == "offline" else slice(0, 1)
        values, sums, squares = (each[:, side].sum(-1) for each in (count, first, second))
        with np.errstate(invalid="ignore", divide="ignore"):
            around = np.maximum(squares - sums**2 / values, 0)
        each = pooled_prior(np.repeat(around[..., None], queries, axis=-1), values - 1)
        return Prior(np.repeat(each.dof, 2, axis=1), np.repeat(each.variance, 2, axis=1))
    return no_prior(lead, queries)


def tables(prior: Prior, variance: str, models: int, dtype: np.dtype[Any]) -> Tables:
    """Prior [targets, 2] -> tables in the kernel's own precision."""
    n = np.arange(models + 1.0)
    endless = np.isinf(prior.dof)
    own = ~endless & ~np.isnan(prior.dof)
    student = own & (variance == "shrunken")
    dof = np.where(own, prior.dof, 0.0)[..., None] + n - 1
    known = (n >= 1) & (endless[..., None] | (dof > 0)) & ~np.isnan(prior.variance).any(-1, keepdims=True)
    if variance == "shrunken":
        ratio = np.broadcast_to(n / (n + 1), dof.shape)
    else:
        ratio = np.where(endless[..., None], 1.0, dof)
    log_ratio = np.log(np.where(known, ratio, 1.0))
    normal = -0.5 * np.log(2 * np.pi)
    of_student = -log_beta_with_half(np.where(known & student[..., None], dof, 1.0) / 2)
    constant = np.where(student[..., None], of_student, normal) + 0.5 * log_ratio
    above = np.where(endless[..., None], prior.variance, np.where(own, prior.dof, np.nan)[..., None] * prior.variance)
    return Tables(
        student.astype(np.uint8),
        own.astype(np.uint8),
        *(
            np.ascontiguousarray(each, dtype=dtype)
            for each in (above, np.where(known, constant, np.nan), ratio, (dof + 1) / 2)
        ),
    )
