"""A signal less the threshold of the record's class that separates the shadows' members best."""

from __future__ import annotations

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
    signals = _over_queries(shadow)
    table = _in_order(signals, in_mask, labels)
    with np.errstate(invalid="ignore"):
        if target is not None:
            thresholds = _best(table, np.ones(len(table.signals), bool))
            return (_over_queries(target) - thresholds[table.of_record]).astype(result_dtype(target, shadow))
        beside = counterparts(in_mask)
        scores = np.empty(signals.shape)
        for model in range(len(signals)):
            keep = table.models != model
            if beside is not None:
                keep &= table.models != beside[model].astype(np.int32)[table.records]
            scores[model] = signals[model] - _best(table, keep)[table.of_record]
    return scores.astype(result_dtype(shadow))


class _Table(NamedTuple):
    """The shadows' signals, class after class, falling within each; all [models · records] but the last two."""

    signals: Array
    is_in: Array
    models: Array
    records: Array
    classes: Array
    how_many: int
    of_record: Array  # [records] class, counted without gaps


def _over_queries(signals: Array) -> Array:
    mean = as_float(signals).mean(axis=-1)
    return np.asarray(np.where(np.isfinite(mean), mean, np.nan))


def _in_order(signals: Array, in_mask: Array, labels: Array) -> _Table:
    known, of_record = np.unique(labels, return_inverse=True)
    by_class = np.argsort(of_record, kind="stable")
    ends = np.searchsorted(of_record[by_class], np.arange(len(known) + 1))
    models, records = [], []
    for start, end in pairwise(ends):
        columns = by_class[start:end]
        order = np.argsort(-signals[:, columns], axis=None)
        models.append((order // len(columns)).astype(np.int32))
        records.append(columns[order % len(columns)].astype(np.int32))
    model = np.concatenate(models) if models else np.zeros(0, np.int32)
    record = np.concatenate(records) if records else np.zeros(0, np.int32)
    classes = of_record[record].astype(np.int32)
    return _Table(signals[model, record], in_mask[model, record], model, record, classes, len(known), of_record)


def _best(table: _Table, keep: Array) -> Array:
    """Thresholds [classes]. Whole numbers throughout, so that what is equal is equal."""
    signals, is_in, classes = table.signals[keep], table.is_in[keep], table.classes[keep]
    thresholds = np.full(table.how_many, np.nan)
    ends = np.searchsorted(classes, np.arange(table.how_many + 1))
    for which, (start, end) in enumerate(pairwise(ends)):
        falling, members = signals[start:end], is_in[start:end]
        found = int(members.sum())
        if not 0 < found < len(members) or np.isnan(falling[-1]):
            continue
        advantage = np.cumsum(np.where(members, len(members) - found, -found))
        last_of_equals = np.append(falling[1:] != falling[:-1], True)
        thresholds[which] = falling[np.argmax(np.where(last_of_equals, advantage, np.iinfo(np.int64).min))]
    return thresholds
