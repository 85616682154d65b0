"""LiRA: how much likelier a record's signal is under models that trained on it than under models that did not.

Carlini et al., "Membership inference attacks from first principles" (2022): equation 4 (online), equation 5 (offline).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from miafast.ops.dispatch import BFLOAT16, Array, Outline, as_float, op, result_dtype
from miafast.ops.student_t import log_student_cdf, log_student_density
from miafast.ops.variance_prior import (
    VARIANCES,
    Prior,
    log_moments,
    no_prior,
    pooled_prior,
    shrink,
    shrunken_prior,
)

MODES = ("online", "offline")
CENTERS = ("mean", "median")
TAILS = ("one-sided", "two-sided")


def check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raises ValueError unless ``value`` is one of ``known``."""
    if value not in known:
        raise ValueError(f"{name}={value!r} is not known; choose one of {', '.join(map(repr, known))}.")


def check_shadow(shadow: Array, in_mask: Array, mode: str) -> None:
    """Raises unless shadow [models, records, queries] and in_mask [models, records] can be scored in this mode."""
    check_floating("shadow", shadow)
    if shadow.ndim != 3:
        raise ValueError(f"shadow has shape {shadow.shape}; give [models, records] or [models, records, queries].")
    models, records, queries = shadow.shape
    if models == 0 or queries == 0:
        raise ValueError(f"shadow has shape {shadow.shape}; give at least one model and one query.")
    check_array("in_mask", in_mask)
    if in_mask.dtype != np.bool_:
        raise ValueError(f"in_mask has dtype {in_mask.dtype}; give booleans: in_mask.astype(bool).")
    if in_mask.shape != (models, records):
        turned = "; it looks transposed: in_mask.T" if in_mask.shape == (records, models) else ""
        raise ValueError(
            f"in_mask has shape {in_mask.shape}, shadow has {models} models and {records} records; "
            f"give [models, records]{turned}."
        )
    if isinstance(in_mask, Outline):
        return  # records without a side that is needed are NaN
    if records and in_mask.all():
        raise ValueError("in_mask is True everywhere: no model left a record out; add OUT models.")
    if records and mode == "online" and not in_mask.any():
        raise ValueError(
            "in_mask is False everywhere: no model trained on any record; add IN models or use mode='offline'."
        )


def check_array(name: str, value: Any) -> None:
    """Raises ValueError unless the value is an array."""
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name} is a {type(value).__name__}; give a NumPy array or a torch tensor.")


def check_floating(name: str, array: Array) -> None:
    """Raises ValueError unless an array holds floating numbers (bfloat16 included) that float64 can hold."""
    check_array(name, array)
    if (array.dtype.kind != "f" or array.itemsize > 8) and array.dtype != BFLOAT16:
        raise ValueError(f"{name} has dtype {array.dtype}; give signals as floating numbers, float64 at most.")


def check_target(target: Array, shadow: Array) -> None:
    """Raises ValueError unless target [records, queries] fits shadow [models, records, queries]."""
    check_floating("target", target)
    if target.shape != shadow.shape[1:]:
        raise ValueError(
            f"target has shape {target.shape}, shadow is about [records, queries] = {shadow.shape[1:]}; "
            "give the target's signals on the same records and queries."
        )


def check_options(mode: str, center: str, variance: str, tail: str) -> None:
    """Raises ValueError for options that LiRA does not have."""
    check_choice("mode", mode, MODES)
    check_choice("center", center, CENTERS)
    check_choice("variance", variance, VARIANCES)
    check_choice("tail", tail, TAILS)


def contract(
    target: Array,
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> None:
    """Raises ValueError for arguments that `lira` cannot take."""
    check_options(mode, center, variance, tail)
    check_shadow(shadow, in_mask, mode)
    check_target(target, shadow)


@op(contract)
def lira(
    target: Array,
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Array:
    """Score one target model: target [records, queries], shadow [models, records, queries], in_mask [models, records].

    Returns scores [records], higher = member, float64 if a signal is float64, else float32. A record is NaN where a
    side that the mode needs has too few models for the variance rule, and where a signal of its own is not finite.

    >>> shadow = np.array([[[3.0]], [[5.0]], [[-1.0]], [[1.0]]])
    >>> in_mask = np.array([[True], [True], [False], [False]])
    >>> lira(np.array([[4.0]]), shadow, in_mask, variance="per-record")  # (4 - 0)² / (2 · 2)
    array([4.])
    """
    scores = score_sides(
        as_float(target), as_float(shadow), in_mask, ~in_mask, mode=mode, center=center, variance=variance, tail=tail
    )
    return scores.astype(result_dtype(target, shadow))


class Side(NamedTuple):
    """What the models of one side, IN or OUT, say about every record."""

    counts: Array  # [records] models
    center: Array  # [records, queries]
    squares: Array  # [records, queries] Σ (phi - mean)²


def score_sides(
    target: Array, shadow: Array, in_use: Array, out_use: Array, *, mode: str, center: str, variance: str, tail: str
) -> Array:
    """`lira` in float64 with the two sides given apart, so that a model may be on neither. Returns [records]."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        sides = [describe(shadow, use, center) for use in ((out_use,) if mode == "offline" else (out_use, in_use))]
        total = total_prior(shadow, out_use if mode == "offline" else in_use) if variance == "total" else None
        terms = []
        for side in sides:
            prior = fit_prior(side, variance, total)
            spread, dof = predictive_variance(side, prior, variance)
            z = (target - side.center) / np.sqrt(spread)
            if mode == "offline" and tail == "one-sided":
                terms.append(log_student_cdf(z, dof[:, None]))
            else:
                terms.append(log_student_density(z, dof[:, None]) - 0.5 * np.log(spread))
        each = terms[1] - terms[0] if mode == "online" else terms[0] if tail == "one-sided" else -terms[0]
        return np.asarray(np.where(np.isfinite(target), each, np.nan).mean(axis=1))


def describe(shadow: Array, use: Array, center: str) -> Side:
    """Counts, centres and squares about the mean over the models in use."""
    counts = use.sum(axis=0)
    cell = use[:, :, None]
    mean = np.where(cell, shadow, 0.0).sum(axis=0) / counts[:, None]
    squares = np.where(cell, (shadow - mean) ** 2, 0.0).sum(axis=0)
    return Side(counts, mean if center == "mean" else _median(shadow, cell, counts), squares)


def fit_prior(side: Side, variance: str, total: Prior | None) -> Prior:
    """The prior that a variance rule takes from one side."""
    if variance == "total" and total is not None:
        return total
    if variance == "pooled":
        return pooled_prior(side.squares.sum(axis=0), np.asarray(np.maximum(side.counts - 1, 0).sum()))
    if variance == "shrunken":
        return shrunken_prior(log_moments(side.squares, side.counts))
    return no_prior((), side.squares.shape[1])


def total_prior(shadow: Array, use: Array) -> Prior:
    """One variance of all signals in use, all queries together, around their grand mean."""
    values = shadow[use]
    count = np.asarray(float(values.size))
    squares = ((values - values.mean()) ** 2).sum() if values.size else np.asarray(0.0)
    return pooled_prior(np.full(shadow.shape[2], squares), count - 1)


def predictive_variance(side: Side, prior: Prior, variance: str) -> tuple[Array, Array]:
    """Scale² [records, queries] and degrees of freedom [records] (infinite: normal) of a new model's signal."""
    spread, dof = shrink(side.squares, side.counts, prior)
    if variance == "shrunken":
        return spread * (1 + 1 / side.counts)[:, None], dof
    return spread, np.where(np.isnan(dof), np.nan, np.inf)


def _median(shadow: Array, cell: Array, counts: Array) -> Array:
    ascending = np.sort(np.where(cell, shadow, np.inf), axis=0)
    low, high = (np.clip(which, 0, None)[None, :, None] for which in ((counts - 1) // 2, counts // 2))
    high = np.minimum(high, len(shadow) - 1)
    middle = np.take_along_axis(ascending, low, axis=0) / 2 + np.take_along_axis(ascending, high, axis=0) / 2
    return np.asarray(middle[0])
