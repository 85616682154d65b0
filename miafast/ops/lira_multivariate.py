"""LiRA with one joint density over a record's queries instead of the mean of each query's score."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.lira import Side, contract, describe, fit_prior, predictive_variance, total_prior
from miafast.ops.lira_leave_one_out import contract as leave_one_out_contract, has_fixed_counts, sides_without
from miafast.ops.student_t import log_student_cdf

#: R becomes (1 - ridge) R + ridge I: queries that always agree have a singular R.
CORRELATION_RIDGE = 1e-4


@op(contract)
def lira_multivariate(
    target: Array,
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Array:
    """target [records, queries], shadow [models, records, queries], in_mask [models, records] -> scores [records].

    A side's signals are normal (Student t for "shrunken") with covariance D R D: D the queries' standard deviations by
    the variance rule, R their correlation pooled over all records of the side. One-sided tests look along the direction
    in which a shift of all queries alike shows best. With one query this is `lira`.

    >>> shadow = np.array([[[3.0]], [[5.0]], [[-1.0]], [[1.0]]])
    >>> in_mask = np.array([[True], [True], [False], [False]])
    >>> lira_multivariate(np.array([[4.0]]), shadow, in_mask, variance="per-record")
    array([4.])
    """
    scores = _score_sides(as_float(target), as_float(shadow), in_mask, ~in_mask, mode, center, variance, tail)
    return scores.astype(result_dtype(target, shadow))


@op(leave_one_out_contract)
def lira_multivariate_leave_one_out(
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Array:
    """`lira_multivariate` with every model in turn as the target: [models, records]; one pass per model."""
    phi, same_counts = as_float(shadow), has_fixed_counts(in_mask)
    scores = np.empty(in_mask.shape)
    for target in range(len(phi)):
        in_use, out_use = sides_without(in_mask, target, same_counts=same_counts)
        scores[target] = _score_sides(phi[target], phi, in_use, out_use, mode, center, variance, tail)
    return scores.astype(result_dtype(shadow))


def _score_sides(
    target: Array, shadow: Array, in_use: Array, out_use: Array, mode: str, center: str, variance: str, tail: str
) -> Array:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        total = total_prior(shadow, out_use if mode == "offline" else in_use) if variance == "total" else None
        terms = []
        for use in (out_use,) if mode == "offline" else (out_use, in_use):
            side = describe(shadow, use, center)
            spread, dof = predictive_variance(side, fit_prior(side, variance, total), variance)
            inverse, log_det = _correlation(shadow, use, side, spread)
            deviation = np.sqrt(spread)
            u = (target - side.center) / deviation
            if mode == "offline" and tail == "one-sided":
                v = 1 / deviation
                z = (v * (u @ inverse)).sum(axis=1) / np.sqrt((v * (v @ inverse)).sum(axis=1))
                terms.append(log_student_cdf(z, dof))
            else:
                distance = (u * (u @ inverse)).sum(axis=1)
                terms.append(_log_density(distance, dof, u.shape[1]) - np.log(deviation).sum(axis=1) - log_det / 2)
        scores = terms[1] - terms[0] if mode == "online" else terms[0] if tail == "one-sided" else -terms[0]
        return np.asarray(np.where(np.isfinite(target).all(axis=1), scores, np.nan))


def _correlation(shadow: Array, use: Array, side: Side, spread: Array) -> tuple[Array, float]:
    """The inverse of R and its log determinant, from all residuals around their record's mean."""
    queries = shadow.shape[2]
    mean = np.where(use[:, :, None], shadow, 0.0).sum(axis=0) / side.counts[:, None]
    known = use & (side.counts >= 2)
    residual = ((shadow - mean) / np.sqrt(spread))[known]
    products = residual.T @ residual
    scale = np.sqrt(np.diag(products))
    scale = np.where(scale == 0, 1.0, scale)
    correlation = products / scale / scale[:, None]
    np.fill_diagonal(correlation, np.diag(correlation) * 0 + 1)  # NaN stays NaN
    if not np.isfinite(correlation).all():
        return np.full((queries, queries), np.nan), np.nan
    correlation = (1 - CORRELATION_RIDGE) * correlation + CORRELATION_RIDGE * np.eye(queries)
    return np.linalg.inv(correlation), float(np.linalg.slogdet(correlation)[1])


def _log_density(distance: Array, dof: Array, queries: int) -> Array:
    """Standard normal (infinite ``dof``) or Student t in ``queries`` dimensions at a squared distance."""
    from scipy import special

    normal = -queries / 2 * np.log(2 * np.pi) - distance / 2
    finite = np.where(np.isinf(dof), 1.0, dof)
    height = special.gammaln((finite + queries) / 2) - special.gammaln(finite / 2)
    student = height - queries / 2 * np.log(finite * np.pi) - (finite + queries) / 2 * np.log1p(distance / finite)
    return np.asarray(np.where(np.isinf(dof), normal, np.where(dof > 0, student, np.nan)))
