"""How much likelier the target makes a record's label than the shadow models do on average: log(p_target / mean p)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.lira import MODES, check_choice, check_shadow, check_target


class LogMean(NamedTuple):
    """A mean over one side's models, [..., records, queries], NaN where there is none; both, as either may be tiny."""

    p: Array  # log mean p
    q: Array  # log mean (1 - p)


def check_log_ratio(mode: str, offline_a: Any, temperature: Any) -> None:
    """Raises ValueError for options that `log_ratio` cannot take."""
    check_choice("mode", mode, MODES)
    for name, value, good in (
        ("offline_a", offline_a, "from 0 to 1"),
        ("temperature", temperature, "above 0, 1.0 for none"),
    ):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not (0 <= value <= 1 if name == "offline_a" else value > 0):
            raise ValueError(f"{name}={value!r}; give a number {good}.")


def _contract(
    target: Array,
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    offline_a: float = 1.0,
    temperature: float = 1.0,
) -> None:
    check_log_ratio(mode, offline_a, temperature)
    check_shadow(shadow, in_mask, mode)
    check_target(target, shadow)


@op(contract=_contract)
def log_ratio(
    target: Array,
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    offline_a: float = 1.0,
    temperature: float = 1.0,
) -> Array:
    """log(p_target / p), p being what models say on average that did and that did not train on the record.

    A model's p is sigmoid(phi / temperature). Online p = (mean_in + mean_out) / 2; offline, where there are no IN
    models, mean_in is taken for a·mean_out + 1 - a, so p = ((1 + a)·mean_out + 1 - a) / 2. Means of p and of 1 - p are
    both taken on the log scale, so neither phi = -1000 nor phi = 300 saturates.

    Args:
        target: [records, queries] phi, floating.
        shadow: [models, records, queries] phi.
        in_mask: [models, records] bool.
        mode: "online" or "offline".
        offline_a: a in [0, 1]; not looked at online.
        temperature: positive.

    Returns:
        [records, queries], float64 if a signal is float64, else float32. NaN where a side that the mode needs has no
        model, and where one of the record's signals in use is not finite.

    Raises:
        ValueError: shapes, dtypes and options that do not fit.

    Source: Zarifzadeh et al. 2024, "Low-cost high-power membership inference attacks", section 3 and, for offline,
    their approximation of Pr(x) from OUT models.

    >>> odds = np.array([[[3.0]], [[1.0]]])  # p = .75 under the IN model, .5 under the OUT model
    >>> log_ratio(np.log([[4.0]]), np.log(odds), np.array([[True], [False]])).round(4)  # log(.8 / .625)
    array([[0.2469]])
    """
    phi = scaled(shadow, temperature)
    with np.errstate(invalid="ignore"):
        sides = [log_mean(phi, use) for use in ((~in_mask,) if mode == "offline" else (~in_mask, in_mask))]
        ratio = ratio_to(scaled(target, temperature), *sides, offline_a=offline_a)
    return ratio.astype(result_dtype(target, shadow))


def scaled(phi: Array, temperature: float) -> Array:
    """phi / temperature in float64, NaN for what is not finite."""
    values = as_float(phi)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values), values, np.nan) / temperature


def log_p(phi: Array) -> Array:
    """log sigmoid(phi)."""
    return np.asarray(-np.logaddexp(0.0, -phi))


def log_mean(phi: Array, use: Array) -> LogMean:
    """Over the models in use [models, records] of phi [models, records, queries]."""
    counts = log_counts(use.sum(axis=0))
    sums = (np.logaddexp.reduce(np.where(use[:, :, None], each, -np.inf), axis=0) for each in (log_p(phi), log_p(-phi)))
    return LogMean(*(total - counts for total in sums))


def log_counts(counts: Array) -> Array:
    """log of the models per record [..., records], with an axis of queries; NaN for none."""
    return np.log(np.where(counts > 0, counts, np.nan))[..., None]


def ratio_to(target: Array, out: LogMean, inside: LogMean | None = None, *, offline_a: float) -> Array:
    """log p(target) - log p, from IN and OUT, or from OUT alone by the linear guess."""
    if inside is None:
        with np.errstate(divide="ignore"):
            mean_p = np.logaddexp(np.log1p(offline_a) + out.p, np.log1p(-offline_a)) - np.log(2)
        mean_q = np.log1p(offline_a) - np.log(2) + out.q
    else:
        mean_p, mean_q = (np.logaddexp(one, other) - np.log(2) for one, other in zip(out, inside, strict=True))
    surely = mean_q < -np.log(2)  # log p has most digits where it is computed from the smaller of p and 1 - p
    return np.asarray(log_p(target) - np.where(surely, np.log1p(-np.exp(np.where(surely, mean_q, -1.0))), mean_p))
