"""Lower tails of the normal and, in float64, of Student's t on the log scale, inside kernels and of tensors."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from miafast.ops.triton.lira_rules import log_beta_with_half
from miafast.ops.triton.softplus import log1p_of_share, softplus

LANES = 128


def log_cdf(z: Any, dof: Any) -> Any:
    """log P[T <= z] of float64 tensors [n]; the normal's where ``dof`` is infinite, NaN where it is not positive."""
    below = torch.empty_like(z)
    half = torch.where(dof.isfinite() & (dof > 0), dof, torch.nan) / 2
    cdf_kernel[(triton.cdiv(len(z), LANES),)](
        z.contiguous(), half, log_beta_with_half(half), below, len(z), LANES, num_warps=4
    )
    return torch.where(dof == torch.inf, torch.special.log_ndtr(z), below)


@triton.jit
def cdf_kernel(z, half, log_beta, below, size, LANES: tl.constexpr):
    """`log_student_cdf` of a block of numbers."""
    at = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    live = at < size
    x, a = tl.load(z + at, mask=live, other=0.0), tl.load(half + at, mask=live, other=1.0)
    tl.store(below + at, log_student_cdf(x, a, tl.load(log_beta + at, mask=live, other=0.0)), mask=live)


@triton.jit
def log1p(x):
    """log(1 + x) for x >= 0."""
    small = x < 1
    return tl.where(small, log1p_of_share(tl.where(small, x, 0.0)), tl.log(1 + x))


@triton.jit
def _log_one_less_exp(x):
    """log(1 - exp(x)) for x <= -log 2."""
    return log1p_of_share(-tl.exp(x))


@triton.jit
def log_normal_cdf(z):
    """log P[Z <= z]; log erfc(x) is log t - x² + P(2t - 1) with t = 2 / (2 + x), P by Chebyshev's points."""
    x = tl.abs(z) * 0.70710678118654752440
    t = 2 / (x + 2)
    u = t + t - 1
    p = 2.359350522359212e-08 * u + 3.4148494402567544e-09
    p = (p * u + -2.5539581353465734e-07) * u + 1.4599451484779535e-07
    p = (p * u + 1.202002749778331e-06) * u + -1.6817515036867314e-06
    p = (p * u + -2.853457165959603e-06) * u + 8.913099009077998e-06
    p = (p * u + 4.6981464644585116e-08) * u + -3.0390002317896382e-05
    p = (p * u + 3.179778555780406e-05) * u + 7.147972307090338e-05
    p = (p * u + -0.00017432224489274028) * u + -9.375537640702684e-05
    p = (p * u + 0.0006736832451975279) * u + -0.0001462435080590297
    p = (p * u + -0.002345813116979419) * u + 0.0017589332292643847
    p = (p * u + 0.008824938603811727) * u + -0.009872689349604537
    p = (p * u + -0.04689561023279291) * u + 0.0473433068415589
    p = (p * u + 0.6726432239776736) * u + -0.6717940840566909
    below = p + tl.log(t) - x * x - 0.69314718055994530942
    return tl.where(z > 0, _log_one_less_exp(below), below)


@triton.jit
def log_student_cdf(z, a, log_beta):
    """log P[T <= z] with 2a degrees of freedom, log_beta = log B(a, 1/2); NaN where z is not finite or a not positive.

    Half the incomplete beta function I_x(a, 1/2), x = 2a / (2a + z²); near the middle 1 - I_y(1/2, a), y = 1 - x, whose
    continued fraction converges fast there.
    """
    usable = (tl.abs(z) < float("inf")) & (a > 0)
    z, a = tl.where(usable, z, 0.0), tl.where(usable, a, 1.0)
    log_ratio = 2 * tl.log(tl.abs(z)) - tl.log(2 * a)
    log_x = -softplus(log_ratio)
    log_y = log_ratio + log_x
    front = a * log_x + 0.5 * log_y - log_beta
    y = tl.exp(log_y)
    middle = y < 1.5 / (a + 2.5)
    fraction = _beta_fraction(tl.where(middle, 0.5, a), tl.where(middle, a, 0.5), tl.where(middle, y, tl.exp(log_x)))
    inside = tl.where(middle, 2 * tl.exp(front) * fraction, 0.0)
    log_outside = tl.where(inside < 0.5, log1p_of_share(-tl.where(inside < 0.5, inside, 0.0)), tl.log(1 - inside))
    below = tl.where(middle, log_outside, front - tl.log(a) + tl.log(fraction)) - 0.69314718055994530942
    return tl.where(usable, tl.where(z > 0, _log_one_less_exp(below), below), float("nan"))


@triton.jit
def _beta_fraction(a, b, x):
    """The continued fraction of the incomplete beta function I_x(a, b) by Lentz's method (DLMF 8.17.22)."""
    c = tl.zeros_like(x) + 1.0
    d = 1 / (1 - (a + b) * x / (a + 1))
    result = d
    step = 1
    worst = tl.max(x) * 0 + 1.0
    while (worst > 1e-15) & (step < 100000):
        k = tl.zeros_like(x) + step
        even = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k))
        odd = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
        d = 1 / (1 + even * d)
        c = 1 + even / c
        result *= c * d
        d = 1 / (1 + odd * d)
        c = 1 + odd / c
        result *= c * d
        worst = tl.max(tl.abs(c * d - 1))
        step += 1
    return result
