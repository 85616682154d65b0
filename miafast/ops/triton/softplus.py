"""log(1 + x) and softplus inside kernels, with relative accuracy for small results: hardware logarithms have none."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def twice_atanh(s):
    """2 atanh(s) = log((1 + s) / (1 - s)) for |s| <= 1/3, by its series."""
    square = s * s
    terms: tl.constexpr = 17 if s.dtype == tl.float64 else 7
    series = tl.zeros_like(s)
    for n in tl.static_range(terms):
        series = series * square + 1.0 / (2 * (terms - n) - 1)
    return 2 * s * series


@triton.jit
def log1p_of_share(x):
    """log(1 + x) for x in [-1/2, 1]."""
    return twice_atanh(x / (2 + x))


@triton.jit
def softplus(x):
    """log(1 + exp(x)); NaN for NaN."""
    return tl.where(x > 0, x, 0.0) + log1p_of_share(tl.exp(-tl.abs(x)))
