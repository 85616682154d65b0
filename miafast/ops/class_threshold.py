"""A signal less the threshold of the record's class that separates the shadows' members best."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from miafast.ops.difficulty import check_against_shadow
from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.left_out import counterparts
from miafast.ops.lira import check_array


def _contract(target: Array | None, shadow: Array, in_mask: Array, labels: Array) -> None:
    check_against_shadow(target, shadow, in_mask, "online")
    check_array("labels", labels)
    if labels.dtype.kind not in "iu" or labels.shape != shadow.shape[1:2]:
        raise ValueError(
            f"labels has shape {labels.shape}, dtype {labels.dtype}; give a class index for each of the "
            f"{shadow.shape[1]} records."
        )


@op(contract=_contract)
def above_class_threshold(target: Array | None, shadow: Array, in_mask: Array, labels: Array) -> Array:
    """signal - t[class]: calling members at or above t finds the shadows' with the best balanced accuracy.

    t is one of the shadows' signals, the largest that is best. Queries are averaged first.

    Args:
        target: [records, queries], higher = member, or None: every model in turn, as in `difficulty`.
        shadow: [models, records, queries], floating.
        in_mask: [models, records] bool.
        labels: [records] integers.

    Returns:
        [records], or [models, records] without a target; float64 if a signal is, else float32. NaN where the shadows
        have no IN or no OUT signal of the class, or a signal is not finite.

    Raises:
        ValueError: shapes or dtypes that do not fit.

    Source: Song & Mittal 2021, "Systematic evaluation of privacy risks of machine learning models".

    >>> shadow = np.array([[[5.0], [1.0]], [[4.0], [3.0]], [[2.0], [0.0]]])
    >>> mask = np.array([[True, True], [True, False], [False, False]])  # class 0: 5, 4 IN; class 1: 1 IN; 3, 0 OUT
    >>> above_class_threshold(np.array([[4.5], [1.5]]), shadow, mask, np.array([0, 1]))
    array([0.5, 0.5])
    """
    return above(_best_thresholds, target, shadow, in_mask, labels)


class Falling(NamedTuple):
    """The shadows' signals, class after class, falling within each; [models · records] but the last two."""

    signals: Array  # float64
    is_in: Array
    models: Array  # int32
    records: Array  # int32
    ends: Array  # [classes + 1] where classes begin
    of_record: Array  # [records] class, counted without gaps


def above(
    best: Callable[[Falling, Array | None, int | None], Array], target: Array | None, shadow: Array, in_mask: Array,
    labels: Array,
) -> Array:  # fmt: skip
    """The op, given who finds thresholds [targets, classes] of falling signals, of the models [models, records] to
    leave out beside each target, and of how many targets: None for one that is not among the signals."""
    signals = _over_queries(shadow)
    table = _in_order(signals, in_mask, labels)
    if target is None:
        thresholds = best(table, counterparts(in_mask), len(signals))
        every: Array = signals - thresholds[:, table.of_record]
        return every.astype(result_dtype(shadow))
    scores: Array = _over_queries(target) - best(table, None, None)[0, table.of_record]
    return scores.astype(result_dtype(target, shadow))


def _over_queries(signals: Array) -> Array:
    mean = as_float(signals).mean(axis=-1)
    return np.asarray(np.where(np.isfinite(mean), mean, np.nan))


def _in_order(signals: Array, in_mask: Array, labels: Array) -> Falling:
    known, of_record = np.unique(labels, return_inverse=True)
    by_class = np.argsort(of_record, kind="stable")
    ends = np.searchsorted(of_record[by_class], np.arange(len(known) + 1))
    models, records = np.empty(signals.size, np.int32), np.empty(signals.size, np.int32)
    for start, end in pairwise(ends):
        columns, place = by_class[start:end], slice(start * len(signals), end * len(signals))
        order = np.argsort(-signals[:, columns], axis=None)
        models[place], own = np.divmod(order, len(columns))
        records[place] = columns[own]
    return Falling(signals[models, records], in_mask[models, records], models, records, ends * len(signals), of_record)


def _best_thresholds(table: Falling, beside: Array | None, targets: int | None) -> Array:
    if targets is None:
        return _best(table, np.ones(len(table.signals), bool))[None]
    thresholds = np.empty((targets, len(table.ends) - 1))
    for target in range(targets):
        keep = table.models != target
        if beside is not None:
            keep &= table.models != beside[target].astype(np.int32)[table.records]
        thresholds[target] = _best(table, keep)
    return thresholds


def _best(table: Falling, keep: Array) -> Array:
    """Thresholds [classes]. Whole numbers throughout, so that what is equal is equal."""
    thresholds = np.full(len(table.ends) - 1, np.nan)
    for which, (start, end) in enumerate(pairwise(table.ends)):
        kept = keep[start:end]
        falling, members = table.signals[start:end][kept], table.is_in[start:end][kept]
        found = int(members.sum())
        if not 0 < found < len(members) or np.isnan(falling[-1]):
            continue
        advantage = np.cumsum(np.where(members, len(members) - found, -found))
        last_of_equals = np.append(falling[1:] != falling[:-1], True)
        thresholds[which] = falling[np.argmax(np.where(last_of_equals, advantage, np.iinfo(np.int64).min))]
    return thresholds
