"""Student's t on the log scale, accurate far in the tails: what LiRA predicts with when a variance is estimated."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array

_TAIL = -2.0  # below it a continued fraction, which converges fast there and never underflows


def log_student_constant(dof: Array) -> Array:
    """log of Γ((ν+1)/2) / (Γ(ν/2) √(νπ)), the height of Student's density with ν degrees of freedom; NaN for ν <= 0.

    >>> round(float(np.exp(log_student_constant(np.array(1.0))) * np.pi), 12)
    1.0
    """
    dof = np.asarray(dof, np.float64)
    return np.where(dof > 0, -log_beta_with_half(dof / 2) - 0.5 * np.log(np.where(dof > 0, dof, 1.0)), np.nan)


def log_student_density(z: Array, dof: Array) -> Array:
    """log density of Student's t at z; the normal's where ``dof`` is infinite."""
    z, dof = np.broadcast_arrays(np.asarray(z, np.float64), np.asarray(dof, np.float64))
    endless = np.isinf(dof)
    finite = np.where(endless, 1.0, dof)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        student = log_student_constant(finite) - (finite + 1) / 2 * np.log1p(z**2 / finite)
        return np.where(endless, -0.5 * np.log(2 * np.pi) - z**2 / 2, student)


def log_student_cdf(z: Array, dof: Array) -> Array:
    """log P[T <= z], finite wherever z is; the normal's where ``dof`` is infinite.

    >>> np.round(log_student_cdf(np.array([0.0, -1e200]), np.array([3.0, 5.0])), 3)
    array([-6.930000e-01, -2.300335e+03])
    """
    from scipy import special

    z, dof = np.broadcast_arrays(np.asarray(z, np.float64), np.asarray(dof, np.float64))
    result = np.asarray(special.log_ndtr(z))
    student = np.isfinite(dof) & (dof > 0)
    centre, tail = student & (z > _TAIL), student & (z <= _TAIL)
    below = special.stdtr(dof[centre], -np.abs(z[centre]))
    result[centre] = np.where(z[centre] > 0, np.log1p(-below), np.log(below))
    result[tail] = _log_lower_tail(z[tail], dof[tail])
    result[~student & ~np.isposinf(dof) | np.isnan(z)] = np.nan
    return np.asarray(result)


def _log_lower_tail(z: Array, dof: Array) -> Array:
    """½ I_x(ν/2, ½) with x = ν/(ν + z²), on the log scale."""
    log_ratio = 2 * np.log(-z) - np.log(dof)  # log(z²/ν): z² itself may overflow
    log_one_less_x = -np.logaddexp(0.0, -log_ratio)
    x = np.exp(-np.logaddexp(0.0, log_ratio))
    front = -dof / 2 * np.logaddexp(0.0, log_ratio) + 0.5 * log_one_less_x
    front -= np.log(dof / 2) + log_beta_with_half(dof / 2)
    return np.asarray(front + np.log(_beta_fraction(dof / 2, x)) - np.log(2.0))


def _beta_fraction(a: Array, x: Array) -> Array:
    """The continued fraction of the incomplete beta function I_x(a, ½) by Lentz's method (DLMF 8.17.22)."""
    b = 0.5
    c = np.ones_like(x)
    d = 1 / (1 - (a + b) * x / (a + 1))
    result: Array = d.copy()
    for step in range(1, 100_000):
        for term in (
            step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step)),
            -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1)),
        ):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            result *= c * d
        if np.all(np.abs(c * d - 1) < 1e-15):
            break
    return np.asarray(result)


def log_beta_with_half(a: Array) -> Array:
    """log B(a, ½) for a > 0; by its series for large a, where the difference of two log-gammas would lose digits."""
    from scipy import special

    a = np.asarray(a, np.float64)
    small = np.where(a < 200, a, 1.0)
    large = np.where(a < 200, 200.0, a)
    series = 0.5 * np.log(np.pi / large) + 1 / (8 * large) - 1 / (192 * large**3)
    return np.asarray(np.where(a < 200, special.betaln(small, 0.5), series))
