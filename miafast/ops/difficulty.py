"""A record's loss against what it usually is: the mean under models that did not train on it, or under both kinds."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.left_out import left_out, without
from miafast.ops.lira import MODES, check_choice, check_shadow, check_target
from miafast.ops.lira_leave_one_out import check_leave_one_out


def check_against_shadow(target: Array | None, shadow: Array, in_mask: Array, mode: str) -> None:
    """Raises unless a target, or with None every model in turn, can be held against shadow."""
    if target is None:
        check_leave_one_out(shadow, in_mask, mode)
    else:
        check_shadow(shadow, in_mask, mode)
        check_target(target, shadow)


def _contract(target: Array | None, shadow: Array, in_mask: Array, *, mode: str = "offline") -> None:
    check_choice("mode", mode, MODES)
    check_against_shadow(target, shadow, in_mask, mode)


@op(contract=_contract)
def difficulty(target: Array | None, shadow: Array, in_mask: Array, *, mode: str = "offline") -> Array:
    """The usual loss minus the target's, averaged over queries; loss = softplus(-phi).

    Args:
        target: phi [records, queries], or None: every model of ``shadow`` in turn, the others being its shadows. Where
            every record is IN the same number of models a counterpart is left out too, as in `lira_leave_one_out`.
        shadow: phi [models, records, queries], floating.
        in_mask: [models, records] bool.
        mode: ``"offline"``: usual is the mean over OUT models; ``"online"``: midway between the means of IN and OUT.

    Returns:
        [records], or [models, records] without a target; float64 if a signal is, else float32. NaN where a side has no
        model or a signal is not finite.

    Raises:
        ValueError: shapes, dtypes or a mode that do not fit.

    Source: Watson et al. 2022, "On the importance of difficulty calibration in membership inference attacks";
    Sablayrolles et al. 2019, "White-box vs black-box: Bayes optimal strategies for membership inference".

    >>> phi = -np.log(np.expm1([[[3.0]], [[5.0]], [[1.0]]]))  # losses 3 and 5 when OUT, 1 when IN
    >>> mask = np.array([[False], [False], [True]])
    >>> difficulty(phi[2], phi, mask).round(4), difficulty(phi[2], phi, mask, mode="online").round(4)
    (array([3.]), array([1.5]))
    """
    losses = loss_of(shadow)
    own = losses if target is None else loss_of(target)
    sides = (~in_mask,) if mode == "offline" else (~in_mask, in_mask)
    with np.errstate(invalid="ignore", divide="ignore"):
        usual = sum(_mean(losses, use, in_mask, leave_one_out=target is None) for use in sides) / len(sides)
        scores = np.asarray(usual - own).mean(axis=-1)
    dtype = result_dtype(shadow) if target is None else result_dtype(target, shadow)
    return np.asarray(scores, dtype=dtype)


def loss_of(phi: Array) -> Array:
    """softplus(-phi) in float64; NaN where phi is not finite."""
    values = as_float(phi)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.logaddexp(0.0, -np.where(np.isfinite(values), values, np.nan)))


def _mean(values: Array, use: Array, in_mask: Array, *, leave_one_out: bool) -> Array:
    """Mean over the models in use: [records, queries], or [targets, records, queries] with one left out."""
    used, count = np.where(use[:, :, None], values, 0.0), use.sum(axis=0)
    if not leave_one_out:
        return np.asarray(used.sum(axis=0) / count[:, None])
    gone = left_out(in_mask, use)
    return np.asarray(without(used, gone) / (count - gone.counts)[:, :, None])
