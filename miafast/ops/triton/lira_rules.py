"""`lira_tables` and `variance_prior` on the device, so that nothing waits: a prior from moments, and tables by n."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from miafast.ops.variance_prior import LARGEST_DOF

#: Newton's steps for the inverse of ψ'; it converges from one side, quadratically, in fewer for any argument.
STEPS = 12


class Prior(NamedTuple):
    """One side's prior; leading axes are the same on both."""

    dof: Any  # [...] float64
    variance: Any  # [..., queries] float64


def log_variance_shift(most: int, device: Any) -> tuple[Any, Any]:
    """By n = 0 … most: log(d/2) - ψ(d/2) - log d, and ψ'(d/2); 0 where d = n - 1 < 1."""
    n = torch.arange(most + 1, dtype=torch.float64, device=device)
    half = (n - 1).clamp(min=1) / 2
    known = n >= 2
    return (
        torch.where(known, -torch.digamma(half) - math.log(2), 0.0),
        torch.where(known, _trigamma(half), 0.0),
    )


def priors_of(moments: Any, variance: str, mode: str) -> Prior:
    """Moments [..., 2 (in, out), queries, 4] -> prior [..., 2]."""
    count, first, second, sampling = moments.unbind(-1)
    if variance == "pooled":
        return _pooled(first, count[..., 0])
    if variance == "shrunken":
        return _shrunken(count[..., 0], first, second, sampling[..., 0])
    if variance == "total":
        side = slice(1, 2) if mode == "offline" else slice(0, 1)
        values, sums, squares = (each[..., side, :].sum(-1) for each in (count, first, second))
        around = (squares - sums**2 / values).clamp(min=0)
        each = _pooled(around[..., None].expand_as(first[..., side, :]), values - 1)
        return Prior(each.dof.expand_as(count[..., 0]), each.variance.expand_as(first))
    return Prior(torch.zeros_like(count[..., 0]), torch.zeros_like(first))


def _pooled(squares: Any, dof: Any) -> Prior:
    variance = torch.where(dof[..., None] > 0, squares / dof[..., None], torch.nan)
    return Prior(torch.full_like(dof, torch.inf), variance)


def _shrunken(known: Any, first: Any, second: Any, sampling: Any) -> Prior:
    enough = known >= 2
    count = torch.where(enough, known, 2.0)
    mean = first / count[..., None]
    spread = (second - first * mean).mean(-1) / (count - 1) - sampling / count
    dof = 2 * _trigamma_inverse(spread)
    dof = torch.where(dof > LARGEST_DOF, torch.inf, dof)
    half = torch.where(dof.isfinite(), dof, 2.0) / 2
    bias = torch.where(dof.isfinite(), torch.digamma(half) - half.log(), 0.0)
    variance = torch.where(spread[..., None].isnan(), torch.nan, (mean + bias[..., None]).exp())
    return Prior(torch.where(enough, dof, 0.0), torch.where(enough[..., None], variance, 0.0))


def _trigamma_inverse(y: Any) -> Any:
    """x with ψ'(x) = y by Newton's method on 1/ψ'; infinite for y <= 0, NaN for NaN."""
    target = torch.where(y > 1e-7, y, 1.0)
    x = 0.5 + 1 / target
    for _ in range(STEPS):
        value = _trigamma(x)
        x = x + value * (1 - value / target) / torch.polygamma(2, x)
    x = torch.where(y > 1e-7, x, 1 / torch.where(y > 0, y, 1.0))
    return torch.where(y.isnan(), torch.nan, torch.where(y > 0, x, torch.inf))


def _trigamma(x: Any) -> Any:
    """ψ' to the last digits, as Hurwitz's zeta; PyTorch's own has a relative error of 5e-10."""
    return torch.special.zeta(2.0, x)


class Tables(NamedTuple):
    """Per side: scale² = max(above + keep · squares, floor) / ratio[n], and the rest of a density. All float64."""

    student: Any  # [..., 2] 1 or 0
    keep: Any  # [..., 2]
    above: Any  # [..., 2, queries]
    constant: Any  # [..., 2, models + 1]; NaN where n models are too few, and for a prior that is NaN
    ratio: Any  # [..., 2, models + 1]
    half: Any  # [..., 2, models + 1] (degrees of freedom + 1) / 2, for Student's t


def tables(prior: Prior, variance: str, models: int) -> Tables:
    n = torch.arange(models + 1, dtype=torch.float64, device=prior.dof.device)
    endless = prior.dof.isinf()
    own = ~endless & ~prior.dof.isnan()
    student = own & (variance == "shrunken")
    dof = torch.where(own, prior.dof, 0.0)[..., None] + n - 1
    known = (n >= 1) & (endless[..., None] | (dof > 0)) & ~prior.variance.isnan().any(-1, keepdim=True)
    if variance == "shrunken":
        ratio = (n / (n + 1)).expand_as(dof)
    else:
        ratio = torch.where(endless[..., None], 1.0, dof)
    log_ratio = torch.where(known, ratio, 1.0).log()
    of_student = -log_beta_with_half(torch.where(known & student[..., None], dof, 1.0) / 2)
    constant = torch.where(student[..., None], of_student, -0.5 * math.log(2 * math.pi)) + 0.5 * log_ratio
    of_dof = torch.where(own, prior.dof, torch.nan)[..., None] * prior.variance
    return Tables(
        student.double().contiguous(),
        own.double().contiguous(),
        torch.where(endless[..., None], prior.variance, of_dof).contiguous(),
        torch.where(known, constant, torch.nan).contiguous(),
        ratio.contiguous(),
        ((dof + 1) / 2).contiguous(),
    )


def log_beta_with_half(a: Any) -> Any:
    """log B(a, ½) for a > 0; by its series for large a, where the difference of two log-gammas would lose digits."""
    small, large = a.clamp(max=200), a.clamp(min=200)
    series = 0.5 * (math.pi / large).log() + 1 / (8 * large) - 1 / (192 * large**3)
    difference = torch.lgamma(small) + 0.5 * math.log(math.pi) - torch.lgamma(small + 0.5)
    return torch.where(a < 200, difference, series)
