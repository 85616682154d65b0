"""Exposure: how far up its own kind of secrets a canary stands in a model's eyes, in bits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from miafast.tables import Array

METHODS = ("rank", "sample", "model")

#: Below this p-value of a Kolmogorov–Smirnov test the fitted distribution is no description of the losses.
POOR_FIT = 0.01


class PoorFitWarning(UserWarning):
    """The losses of the candidates do not look like the distribution fitted to them."""


def exposure(canary: Any, candidates: Any, *, method: str = "rank", space: float | None = None) -> Array:
    """Exposure of canaries in bits: log2 |R| - log2 rank, R being all that a canary could have been.

    0 bits say nothing was learned (on average a random secret has 1.44); log2 |R| says the canary is the model's first
    guess among all.

    * ``"rank"``: exact. ``candidates`` are the losses of **all** of R, or of all but the canaries'. Ties count against
      the model: equally likely candidates stand in front of the canary.
    * ``"sample"``: ``candidates`` are losses of a random part of R; -log2 of the share that is at most the canary's
      loss, (hits + 1) / (candidates + 1). It cannot exceed log2(candidates + 1).
    * ``"model"``: a skew-normal distribution fitted to such a sample; -log2 of its mass at or below the canary's loss,
      no more than log2 ``space``. It looks beyond the sample, as far as the fit can be trusted; where a
      Kolmogorov–Smirnov test rejects the fit (p < 0.01), a `PoorFitWarning` says so.

    Args:
        canary: loss of the canary, or of several [canaries], in nats per token or in all; lower = likelier.
        candidates: [candidates] losses of the same kind, of secrets of the same form that were drawn alike.
        method: "rank", "sample" or "model".
        space: |R|. By default, for "rank", as many as there are candidates and canary; required for "model".

    Returns:
        [canaries] float64 (or a scalar array for one).

    Raises ValueError for losses that are not finite, too few of them, or options that do not fit.

    Source: Carlini et al. 2019, "The Secret Sharer: Evaluating and Testing Unintended Memorization in Neural Networks",
    definition 4 and sections 4.3 and 4.4.

    >>> exposure(0.5, np.array([1.0, 2.0, 3.0]))            # the first of 4
    array(2.)
    >>> exposure([0.5, 2.5], np.array([1.0, 2.0, 3.0])).round(3)
    array([2.   , 0.415])
    """
    losses, others = _losses("canary", canary), _losses("candidates", candidates)
    if method not in METHODS:
        raise ValueError(f"method={method!r} is not known; choose rank, sample or model.")
    if others.ndim != 1 or len(others) < (8 if method == "model" else 1):
        need = "at least 8 losses" if method == "model" else "at least one loss"
        raise ValueError(f"candidates has shape {others.shape}; give {need}, [candidates].")
    if space is not None and space < 1:
        raise ValueError(f"space={space}; give the number of secrets there could be, at least 1.")
    if method == "model":
        if space is None:
            raise ValueError("method='model' needs space, the number of secrets there could be.")
        return np.minimum(-_log2_mass(losses, others), np.log2(space))
    rank = 1 + np.searchsorted(np.sort(others), losses, side="right")
    if method == "sample":
        return np.asarray(np.log2(len(others) + 1) - np.log2(rank))
    size = len(others) + 1 if space is None else space
    if not len(others) <= size <= len(others) + max(1, losses.size):
        raise ValueError(
            f"method='rank' needs the losses of all space={size:g} secrets; candidates has {len(others):,}: give all, "
            "or use method='sample' or 'model'."
        )
    return np.asarray(np.log2(size) - np.log2(np.minimum(rank, size)))


def _log2_mass(at: Array, losses: Array) -> Array:
    """log2 of the fitted distribution's mass at or below each point, right however far out that is."""
    from scipy import integrate, stats

    shape, where, width = stats.skewnorm.fit(losses)
    if stats.kstest(losses, stats.skewnorm(shape, where, width).cdf).pvalue < POOR_FIT:
        warnings.warn(
            "candidates do not look skew-normal (Kolmogorov–Smirnov p < 0.01): exposures beyond the sample are "
            "guesses. Use method='sample', or the losses of all with method='rank'.",
            PoorFitWarning,
            stacklevel=3,
        )
    known = stats.skewnorm(shape, where, width)

    def log_mass(point: float) -> float:
        if point >= known.mean() - known.std():
            return float(known.logcdf(point))
        # In the tail the mass is the density at the point times an integral near 1: no cancellation, no underflow.
        top = known.logpdf(point)
        relative, _ = integrate.quad(lambda below: np.exp(known.logpdf(point - below) - top), 0, np.inf)
        return float(top + np.log(relative))

    found: Array = np.array([log_mass(point) for point in at.ravel()]).reshape(at.shape) / np.log(2)
    return found


def _losses(name: str, values: Any) -> Array:
    losses = np.asarray(values, np.float64)
    if not losses.size or not np.isfinite(losses).all():
        raise ValueError(f"{name} holds {losses.size} losses, of which not all are finite; give finite ones.")
    return losses
