"""Gaussian differential privacy: what mu means in epsilon and delta.

Source: Dong, Roth and Su 2022, "Gaussian Differential Privacy", corollary 2.13; Balle and Wang 2018, theorem 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miafast.tables import Array


def delta_of_mu(mu: Any, epsilon: Any) -> Array:
    """The smallest delta at which mu-GDP is (epsilon, delta)-DP: Φ(−ε/μ + μ/2) − e^ε Φ(−ε/μ − μ/2).

    >>> float(delta_of_mu(1.0, 4.377178).round(9))
    1e-05
    """
    from scipy.special import log_ndtr, ndtr

    mu, epsilon = np.asarray(mu, float), np.asarray(epsilon, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        delta = ndtr(mu / 2 - epsilon / mu) - np.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu))
    return np.where(mu > 0, np.maximum(delta, 0.0), 0.0)


def epsilon_of_mu(mu: Any, *, delta: float) -> Array:
    """The epsilon of mu-GDP at this delta, in (0, 1): the inverse of `delta_of_mu`; 0 where delta alone covers mu.

    >>> epsilon_of_mu(np.array([0.0, 1.0, 4.0]), delta=1e-5)
    array([ 0.        ,  4.37717..., 24.38161...])
    """
    mu = np.asarray(mu, float)
    low, high = np.zeros(mu.shape), mu * mu / 2 + mu * np.sqrt(2 * np.log(1 / delta)) + 1
    for _ in range(80):
        middle = (low + high) / 2
        above = delta_of_mu(mu, middle) > delta
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(delta_of_mu(mu, 0.0) > delta, low, 0.0)
