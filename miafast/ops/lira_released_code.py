"""LiRA as its authors' released code computes it, with higher = member."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array, Outline, as_float, op, result_dtype
from miafast.ops.lira import MODES, check_choice, check_shadow, check_target
from miafast.ops.lira_leave_one_out import check_leave_one_out, has_fixed_counts, sides_without


def _check(in_mask: Array, mode: str, variance: str, *, left_out: int) -> None:
    check_choice("mode", mode, MODES)
    check_choice("variance", variance, ("per-record", "total"))
    if isinstance(in_mask, Outline):
        return  # all records are NaN where one lacks a side that is needed
    for side, counts in (("OUT", (~in_mask).sum(axis=0)), ("IN", in_mask.sum(axis=0))):
        needed = 1 + left_out
        if (mode == "online" or side == "OUT") and np.any(counts < needed):
            lacking = np.flatnonzero(counts < needed)
            raise ValueError(
                f"in_mask gives {len(lacking)} records (first: {lacking[0]}) fewer than {needed} {side} models; the "
                "released code truncates every record to the smallest count. Drop these records or use LiRA()."
            )


def _contract(
    target: Array, shadow: Array, in_mask: Array, *, mode: str = "online", variance: str = "per-record"
) -> None:
    check_shadow(shadow, in_mask, mode)
    check_target(target, shadow)
    _check(in_mask, mode, variance, left_out=0)


def _leave_one_out_contract(
    shadow: Array, in_mask: Array, *, mode: str = "online", variance: str = "per-record"
) -> None:
    check_leave_one_out(shadow, in_mask, mode)
    _check(in_mask, mode, variance, left_out=1)


@op(contract=_contract)
def lira_released_code(
    target: Array, shadow: Array, in_mask: Array, *, mode: str = "online", variance: str = "per-record"
) -> Array:
    """target [records, queries], shadow [models, records, queries], in_mask [models, records] -> scores [records].

    >>> shadow = np.array([[[3.0]], [[5.0]], [[-1.0]], [[1.0]]])
    >>> in_mask = np.array([[True], [True], [False], [False]])
    >>> lira_released_code(np.array([[4.0]]), shadow, in_mask)  # standard deviations are 1
    array([8.])
    """
    scores = _score(as_float(target), as_float(shadow), in_mask, ~in_mask, mode, variance)
    return scores.astype(result_dtype(target, shadow))


@op(contract=_leave_one_out_contract)
def lira_released_code_leave_one_out(
    shadow: Array, in_mask: Array, *, mode: str = "online", variance: str = "per-record"
) -> Array:
    """`lira_released_code` with every model in turn as the target: [models, records]; one pass per model."""
    phi, same_counts = as_float(shadow), has_fixed_counts(in_mask)
    scores = np.empty(in_mask.shape)
    for target in range(len(phi)):
        in_use, out_use = sides_without(in_mask, target, same_counts=same_counts)
        scores[target] = _score(phi[target], phi, in_use, out_use, mode, variance)
    return scores.astype(result_dtype(shadow))


def _score(target: Array, shadow: Array, in_use: Array, out_use: Array, mode: str, variance: str) -> Array:
    if target.size == 0:
        return np.zeros(len(target))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        dat_out = _truncated(shadow, out_use)
        if mode == "offline":
            each = -_log_density(target, dat_out, dat_out if variance == "total" else None)
        else:
            dat_in = _truncated(shadow, in_use)
            whole = dat_in if variance == "total" else None
            each = _log_density(target, dat_in, whole) - _log_density(target, dat_out, whole)
        return np.asarray(np.where(np.isfinite(target), each, np.nan).mean(axis=1))


def _truncated(shadow: Array, use: Array) -> Array:
    """[kept, records, queries]: every record's first models in use, as many as every record has."""
    order = np.argsort(~use, axis=0, kind="stable")[: use.sum(axis=0).min()]
    return np.take_along_axis(shadow, order[:, :, None], axis=0)


def _log_density(target: Array, data: Array, whole: Array | None) -> Array:
    spread = (data.std(axis=0) if whole is None else whole.std()) + 1e-30
    return np.asarray(-0.5 * ((target - np.median(data, axis=0)) / spread) ** 2 - np.log(spread * np.sqrt(2 * np.pi)))
