"""LiRA's joint density over queries on the device, from PyTorch's kernels in float64 and Student's tail in Triton."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from miafast.ops.lira_multivariate import CORRELATION_RIDGE
from miafast.ops.triton.lira_rules import Prior, log_variance_shift, priors_of
from miafast.ops.triton.log_ratio import result_type
from miafast.ops.triton.student_t import log_cdf
from miafast.ops.variance_prior import VARIANCE_FLOOR


def lira_multivariate(
    target: Any,
    shadow: Any,
    in_mask: Any,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Any:
    """NaN everywhere, not an error, where in_mask has no model on a side that the mode needs."""
    scores = score_sides(
        target.double(), shadow.double(), in_mask, ~in_mask, mode=mode, center=center, variance=variance, tail=tail
    )
    return scores.to(result_type(target, shadow))


def score_sides(
    target: Any, shadow: Any, in_use: Any, out_use: Any, *, mode: str, center: str, variance: str, tail: str
) -> Any:
    """[records] in float64, the two sides given apart, so that a model may be on neither."""
    if target.numel() == 0:
        return target.new_zeros(len(target))
    sides = [_describe(shadow, use, center) for use in (in_use, out_use)]
    moments = torch.stack(
        [_moments(shadow, use, *side, variance) for use, side in zip((in_use, out_use), sides, strict=True)]
    )
    priors = priors_of(moments, variance, mode)
    terms = []
    for place, use in ((1, out_use),) if mode == "offline" else ((1, out_use), (0, in_use)):
        side = sides[place]
        spread, dof = _predictive(side, Prior(priors.dof[place], priors.variance[place]), variance)
        inverse, log_det = _correlation(shadow, use, side, spread)
        deviation = spread.sqrt()
        u = (target - side.center) / deviation
        if mode == "offline" and tail == "one-sided":
            v = 1 / deviation
            terms.append(log_cdf((v * (u @ inverse)).sum(1) / (v * (v @ inverse)).sum(1).sqrt(), dof))
        else:
            distance = (u * (u @ inverse)).sum(1)
            terms.append(_log_density(distance, dof, u.shape[1]) - deviation.log().sum(1) - log_det / 2)
    scores = terms[1] - terms[0] if mode == "online" else terms[0] if tail == "one-sided" else -terms[0]
    return torch.where(target.isfinite().all(1), scores, torch.nan)


class _Side(NamedTuple):
    counts: Any  # [records] int64
    mean: Any  # [records, queries]
    center: Any  # [records, queries]
    squares: Any  # [records, queries] about the mean


def _describe(shadow: Any, use: Any, center: str) -> _Side:
    cell, counts = use[:, :, None], use.sum(0)
    mean = torch.where(cell, shadow, 0.0).sum(0) / counts[:, None]
    squares = torch.where(cell, (shadow - mean) ** 2, 0.0).sum(0)
    return _Side(counts, mean, mean if center == "mean" else _median(shadow, cell, counts), squares)


def _median(shadow: Any, cell: Any, counts: Any) -> Any:
    ascending = torch.where(cell, shadow, torch.inf).sort(0).values
    low, high = (
        each.clamp(0, len(shadow) - 1)[None, :, None].expand(1, *shadow.shape[1:])
        for each in ((counts - 1) // 2, counts // 2)
    )
    return (ascending.gather(0, low) / 2 + ascending.gather(0, high) / 2)[0]


def _moments(shadow: Any, use: Any, counts: Any, mean: Any, center: Any, squares: Any, variance: str) -> Any:
    """[queries, 4] of one side, what `lira_rules.priors_of` takes a prior from."""
    nothing = torch.zeros_like(squares[0])
    if variance == "pooled":
        return torch.stack([nothing + (counts - 1).clamp(min=0).sum(), squares.sum(0), nothing, nothing], 1)
    if variance == "total":
        cell = use[:, :, None]
        grand = torch.where(cell, shadow, 0.0).sum() / (counts.sum() * shadow.shape[2])
        around = torch.where(cell, (shadow - grand) ** 2, 0.0).sum((0, 1))
        return torch.stack([nothing + counts.sum(), nothing, around, nothing], 1)
    if variance == "shrunken":
        shift, sampling = log_variance_shift(len(shadow), shadow.device)
        known = counts >= 2
        e = torch.where(known[:, None], squares.clamp(min=VARIANCE_FLOOR).log() + shift[counts][:, None], 0.0)
        return torch.stack([nothing + known.sum(), e.sum(0), (e**2).sum(0), nothing + sampling[counts].sum()], 1)
    return torch.stack([nothing] * 4, 1)


def _predictive(side: _Side, prior: Prior, variance: str) -> tuple[Any, Any]:
    """Scale² [records, queries] and degrees of freedom [records] (infinite: normal) of a new model's signal."""
    counts = side.counts[:, None]
    dof = torch.where(side.counts >= 1, prior.dof + side.counts - 1, torch.nan)
    above = (torch.where(prior.dof.isinf(), 0.0, prior.dof) * prior.variance + side.squares).clamp(min=VARIANCE_FLOOR)
    own = above / torch.where(dof > 0, dof, torch.nan)[:, None]
    shared = prior.variance.clamp(min=VARIANCE_FLOOR) + 0 * side.squares
    spread = torch.where(counts >= 1, torch.where(prior.dof.isinf(), shared, own), torch.nan)
    if variance == "shrunken":
        return spread * (1 + 1 / counts.double()), dof  # PyTorch divides integers in float32
    return spread, torch.where(dof.isnan(), torch.nan, torch.inf)


def _correlation(shadow: Any, use: Any, side: _Side, spread: Any) -> tuple[Any, Any]:
    """The inverse of R and its log determinant, from all residuals around their record's mean."""
    known = (use & (side.counts >= 2))[:, :, None]
    residual = torch.where(known, (shadow - side.mean) / spread.sqrt(), 0.0).flatten(0, 1)
    products = residual.mT @ residual
    scale = products.diagonal().sqrt()
    scale = torch.where(scale == 0, 1.0, scale)
    one = torch.eye(len(scale), dtype=scale.dtype, device=scale.device)
    correlation = products / scale / scale[:, None]
    correlation = torch.where(one == 1, correlation * 0 + 1, correlation)  # NaN stays NaN
    correlation = torch.where(correlation.isfinite().all(), correlation, torch.nan)
    return _inverse((1 - CORRELATION_RIDGE) * correlation + CORRELATION_RIDGE * one)


def _inverse(matrix: Any) -> tuple[Any, Any]:
    """Inverse and log determinant of a small positive definite matrix by elimination; nothing is waited for."""
    size = len(matrix)
    work = torch.cat([matrix, torch.eye(size, dtype=matrix.dtype, device=matrix.device)], 1)
    log_det = matrix.new_zeros(())
    for step in range(size):
        log_det = log_det + work[step, step].log()
        row = work[step] / work[step, step]
        work = work - work[:, step, None] * row
        work[step] = row
    return work[:, size:], log_det


def _log_density(distance: Any, dof: Any, queries: int) -> Any:
    """Standard normal (infinite ``dof``) or Student t in ``queries`` dimensions at a squared distance."""
    normal = -queries / 2 * math.log(2 * math.pi) - distance / 2
    finite = torch.where(dof.isinf(), 1.0, dof)
    height = torch.lgamma((finite + queries) / 2) - torch.lgamma(finite / 2)
    student = height - queries / 2 * (finite * math.pi).log() - (finite + queries) / 2 * (distance / finite).log1p()
    return torch.where(dof.isinf(), normal, torch.where(dof > 0, student, torch.nan))
