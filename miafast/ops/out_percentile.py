"""Where the target's loss lies among the losses of models that did not train on the record."""

from __future__ import annotations

import numpy as np

from miafast.ops.difficulty import check_against_shadow, loss_of
from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.left_out import LeftOut, left_out, of_left_out, without
from miafast.ops.lira import check_choice
from miafast.ops.variance_prior import VARIANCE_FLOOR

SMOOTHS = ("none", "linear", "loss", "logit")

#: The authors' ends of the interpolated distribution of losses: no loss is outside.
LARGEST_LOSS = 1000.0


def _contract(target: Array | None, shadow: Array, in_mask: Array, *, smooth: str = "none") -> None:
    check_choice("smooth", smooth, SMOOTHS)
    check_against_shadow(target, shadow, in_mask, "offline")


@op(contract=_contract)
def out_percentile(target: Array | None, shadow: Array, in_mask: Array, *, smooth: str = "none") -> Array:
    """The share of OUT models whose loss is above the target's, ties counting half; averaged over queries.

    Args:
        target: phi [records, queries], or None: every model in turn, as in `difficulty`.
        shadow: phi [models, records, queries], floating.
        in_mask: [models, records] bool.
        smooth: n OUT models tell only n + 1 shares apart. ``"loss"`` and ``"logit"`` fit a Gaussian to the OUT losses
            or to their phi and return its standard score, (mean_out - loss) / sd_out or (phi - mean_out) / sd_out: the
            normal quantile of the share, which never saturates. Unbiased variances, not below 1e-12. ``"linear"``
            interpolates between the OUT losses, with 0 and 1000 added: share i / (n + 1) at the i-th largest.

    Returns:
        [records], or [models, records] without a target: shares in [0, 1], or any number if smooth; float64 if a signal
        is, else float32. NaN where there is no OUT model (smooth: fewer than 2) or a signal is not finite.

    Raises:
        ValueError: shapes, dtypes or an option that do not fit.

    Source: Ye et al. 2022, "Enhanced membership inference attacks against machine learning models" (Attack-R).

    >>> shadow = np.array([[[0.0]], [[1.0]], [[2.0]], [[9.0]]])
    >>> out_percentile(np.array([[1.0]]), shadow, np.array([[False], [False], [False], [True]]))
    array([0.5])
    """
    finite = as_float(shadow)
    finite = np.where(np.isfinite(finite), finite, np.nan)
    by_loss = smooth in ("loss", "linear")
    signals = -loss_of(shadow) if by_loss else finite
    own = signals
    if target is not None:
        own = -loss_of(target) if by_loss else as_float(target)
        own = np.where(np.isfinite(own), own, np.nan)
    gone = left_out(in_mask, ~in_mask) if target is None else None
    with np.errstate(invalid="ignore", divide="ignore"):
        place = {"none": _share, "linear": _interpolated}.get(smooth, _standard_score)
        places = place(own, signals, ~in_mask, gone)
    scores = np.where(np.isnan(own), np.nan, places).mean(axis=-1)
    dtype = result_dtype(shadow) if target is None else result_dtype(target, shadow)
    return np.asarray(scores, dtype=dtype)


def _share(own: Array, signals: Array, use: Array, gone: LeftOut | None) -> Array:
    """Of the models in use, the share below ``own``, ties counting half."""
    if gone is None:
        in_use = use[:, :, None]
        below = ((signals < own) & in_use).sum(axis=0) + ((signals == own) & in_use).sum(axis=0) / 2
        missing = (np.isnan(signals) & in_use).any(axis=0)
        return np.asarray(np.where(missing, np.nan, below / use.sum(axis=0)[:, None]))
    lost, counts = of_left_out(signals, gone), gone.counts[:, :, None]
    below = _ranks(signals, use) - counts * ((lost < own) + (lost == own) / 2)
    missing = (np.isnan(signals) & use[:, :, None]).sum(axis=0) > counts * np.isnan(lost)
    return np.asarray(np.where(missing, np.nan, below / (use.sum(axis=0) - gone.counts)[:, :, None]))


def _interpolated(own: Array, signals: Array, use: Array, gone: LeftOut | None) -> Array:
    """The share below ``own``, linear between the signals in use, 0 and -LARGEST_LOSS among them."""
    if gone is None:
        return _between(own, signals, use)
    scores = np.empty(signals.shape)
    columns = np.arange(signals.shape[1])
    for target, model in enumerate(gone.model):
        left = use.copy()
        left[model, columns] &= ~gone.counts[target]
        scores[target] = _between(own[target], signals, left)
    return scores


def _between(own: Array, signals: Array, use: Array) -> Array:
    in_use = use[:, :, None]
    under, over = in_use & (signals < own), in_use & (signals > own)
    below, equal = under.sum(axis=0), (in_use & (signals == own)).sum(axis=0)
    last = np.where(under, signals, -LARGEST_LOSS).max(axis=0, initial=-LARGEST_LOSS)
    following = np.where(over, signals, 0.0).min(axis=0, initial=0.0)
    part = np.where(following > last, (own - last) / (following - last), 1.0).clip(0, 1)
    place = np.where(equal > 0, below + (1 + equal) / 2, below + part)
    count = use.sum(axis=0)[:, None]
    missing = (np.isnan(signals) & in_use).any(axis=0) | (count == 0)
    return np.asarray(np.where(missing, np.nan, place / (count + 1)))


def _ranks(signals: Array, use: Array) -> Array:
    """For every model how many in use lie below it, ties (itself, if in use, too) counting half: one sort."""
    order = np.argsort(signals, axis=0)
    sorted_signals = np.take_along_axis(signals, order, axis=0)
    in_use = np.take_along_axis(np.broadcast_to(use[:, :, None], signals.shape), order, axis=0)
    up_to = np.cumsum(in_use, axis=0, dtype=np.int32)
    places = np.arange(len(signals), dtype=np.int32)[:, None, None]
    new = np.ones(signals.shape, bool)
    new[1:] = sorted_signals[1:] != sorted_signals[:-1]
    last = np.ones(signals.shape, bool)
    last[:-1] = new[1:]
    start = np.maximum.accumulate(np.where(new, places, 0), axis=0)
    end = np.minimum.accumulate(np.where(last, places, len(signals) - 1)[::-1], axis=0)[::-1]
    below = np.take_along_axis(up_to - in_use, start, axis=0)
    ranks = np.empty(signals.shape)
    np.put_along_axis(ranks, order, (below + np.take_along_axis(up_to, end, axis=0)) / 2, axis=0)
    return ranks


def _standard_score(own: Array, signals: Array, use: Array, gone: LeftOut | None) -> Array:
    in_use, count = use[:, :, None], use.sum(axis=0)[:, None]
    centre = np.median(np.nan_to_num(signals), axis=0)  # sums about it keep their digits, be one model far off
    away = np.where(in_use, signals - centre, 0.0)
    if gone is None:
        first, second = away.sum(axis=0), (away**2).sum(axis=0)
    else:
        first, second = without(away, gone), without(away**2, gone)
        count = count - gone.counts[:, :, None]
    mean = first / count
    variance = np.maximum((second - first * mean) / np.where(count > 1, count - 1, np.nan), VARIANCE_FLOOR)
    return np.asarray((own - centre - mean) / np.sqrt(variance))
