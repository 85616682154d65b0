"""How much LiRA trusts a record's own variance: one formula, s̃² = (d0·s0² + d·s²) / (d0 + d), for every rule.

d = n - 1 are the degrees of freedom of a record's own variance s² on one side (IN or OUT), d0 and s0² the prior:

=============  ==========================================================================================
per-record     d0 = 0
pooled         d0 = ∞, s0² = Σ squares around each record's own mean / Σ d  (Carlini et al. 2022, §VI-C)
total          d0 = ∞, s0² = one variance of all the data around its grand mean (the released code's fixed variance)
shrunken       d0, s0² by matching the moments of log s² over the records (Smyth 2004, limma's fitFDist)
=============  ==========================================================================================
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from miafast.ops.dispatch import Array

VARIANCES = ("per-record", "pooled", "shrunken", "total")

#: d0·s0² + d·s² (pooled and total: s0²) is never taken below this, so that signals which all agree divide by something.
VARIANCE_FLOOR = 1e-12

#: An estimated prior with more degrees of freedom than this counts as infinite: all records share one variance.
LARGEST_DOF = 1e6


class Prior(NamedTuple):
    """One side's prior; leading axes (one entry per left-out model) are the same on both."""

    dof: Array  # [...]
    variance: Array  # [..., queries]


def no_prior(lead: tuple[int, ...], queries: int) -> Prior:
    """The per-record rule's."""
    return Prior(np.zeros(lead), np.zeros((*lead, queries)))


def pooled_prior(squares: Array, dof: Array) -> Prior:
    """``squares`` [..., queries]: Σ over records of the squares around each record's mean; ``dof`` [...]: Σ (n - 1)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.where(dof[..., None] > 0, squares / dof[..., None], np.nan)
    return Prior(np.full(dof.shape, np.inf), variance)


class LogMoments(NamedTuple):
    """Sums over the records with d >= 1 of e = log s² - ψ(d/2) + log(d/2), whose mean tells s0², whose spread d0."""

    known: Array  # [...] how many records
    first: Array  # [..., queries] Σ e
    second: Array  # [..., queries] Σ e²
    sampling: Array  # [...] Σ ψ'(d/2), the part of e's variance that is chance


def log_variance_shift(most: int) -> tuple[Array, Array]:
    """By n = 0 … most: log(d/2) - ψ(d/2) - log d (to add to the log squares), and ψ'(d/2); 0 where d = n - 1 < 1."""
    from scipy import special

    dof = np.maximum(np.arange(most + 1) - 1.0, 1.0)
    known = np.arange(most + 1) >= 2
    shift = -np.log(2.0) - special.digamma(dof / 2)
    return np.where(known, shift, 0.0), np.where(known, special.polygamma(1, dof / 2), 0.0)


def log_moments(squares: Array, counts: Array) -> LogMoments:
    """``squares`` [records, queries], ``counts`` [records]: how many models stand behind each."""
    shift, sampling = log_variance_shift(int(counts.max(initial=0)))
    known = counts >= 2
    e = np.log(np.maximum(squares[known], VARIANCE_FLOOR)) + shift[counts[known], None]
    return LogMoments(
        np.asarray(known.sum(), np.float64), e.sum(0), (e**2).sum(0), np.asarray(sampling[counts[known]].sum())
    )


def shrunken_prior(moments: LogMoments) -> Prior:
    """Empirical Bayes (Smyth 2004, section 6.2); one d0, an s0² per query. No prior below 2 records."""
    from scipy import special

    enough = moments.known >= 2
    count = np.where(enough, moments.known, 2.0)
    mean = moments.first / count[..., None]
    spread = (moments.second - moments.first * mean).mean(-1) / (count - 1) - moments.sampling / count
    dof = 2 * _trigamma_inverse(spread)
    dof = np.where(dof > LARGEST_DOF, np.inf, dof)
    half = np.where(np.isfinite(dof), dof, 2.0)[..., None] / 2
    bias = np.where(np.isfinite(dof)[..., None], special.digamma(half) - np.log(half), 0.0)
    variance = np.where(np.isnan(spread)[..., None], np.nan, np.exp(mean + bias))
    return Prior(np.where(enough, dof, 0.0), np.where(enough[..., None], variance, 0.0))


def shrink(squares: Array, counts: Array, prior: Prior) -> tuple[Array, Array]:
    """Variance [records, queries] and its degrees of freedom [records] under a prior; NaN where too few models."""
    own = counts - 1.0
    dof = np.where(counts >= 1, prior.dof + own, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        if np.isinf(prior.dof):
            variance = np.maximum(prior.variance, VARIANCE_FLOOR) + 0 * squares
        else:
            # 0/0 (no models to speak of, no prior) is NaN
            above = np.maximum(prior.dof * prior.variance + squares, VARIANCE_FLOOR)
            variance = above / np.where(dof > 0, dof, np.nan)[:, None]
    return np.where(counts[:, None] >= 1, variance, np.nan), dof


def _trigamma_inverse(y: Array) -> Array:
    """x with ψ'(x) = y by Newton's method on 1/ψ' (Smyth 2004, appendix); infinite for y <= 0, NaN for NaN."""
    from scipy import special

    y = np.asarray(y, np.float64)
    target = np.where(y > 1e-7, y, 1.0)
    x = 0.5 + 1 / target
    for _ in range(50):
        value = special.polygamma(1, x)
        step = value * (1 - value / target) / special.polygamma(2, x)
        x = x + step
        if np.all(-step / x < 1e-14):
            break
    x = np.where(y > 1e-7, x, 1 / np.where(y > 0, y, 1.0))
    return np.where(np.isnan(y), np.nan, np.where(y > 0, x, np.inf))
