"""Which model a side loses when every model in turn is the target: the target, or what balances its absence."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from miafast.ops.dispatch import Array
from miafast.ops.lira_leave_one_out import has_fixed_counts


class LeftOut(NamedTuple):
    """For every target what one side, IN or OUT, loses; the rule of `lira_leave_one_out.sides_without`."""

    model: Array  # [targets, records] which model
    counts: Array  # [targets, records] bool: whether it is on this side, so that the side has one model fewer


def beside_balanced(in_mask: Array) -> Array:
    """[records] bool: IN no model or all of them, where every other record is IN the same number of models.

    Such a record is no news as a target, and with it the mask's counts no longer look fixed: the others' would tell.

    >>> beside_balanced(np.array([[True, False, False], [False, True, False]]))
    array([False, False,  True])
    """
    counts = in_mask.sum(axis=0)
    beside: Array = (counts == 0) | (counts == len(in_mask))
    return beside if has_fixed_counts(in_mask[:, ~beside]) else np.zeros_like(beside)


def left_out(in_mask: Array, use: Array) -> LeftOut:
    """``use`` [models, records] is the side: in_mask or its opposite.

    >>> left_out(np.array([[True], [False], [False]]), np.array([[False], [True], [True]])).model[:, 0]
    array([1, 1, 2])
    """
    own = np.broadcast_to(np.arange(len(in_mask))[:, None], in_mask.shape)
    if not has_fixed_counts(in_mask):
        return LeftOut(own, use)
    return LeftOut(np.where(use, own, next_on_other_side(in_mask)), np.ones_like(use))


def counterparts(in_mask: Array) -> Array | None:
    """[models, records] the model that is left out beside each target, None where none has to be."""
    return next_on_other_side(in_mask) if has_fixed_counts(in_mask) else None


def next_on_other_side(in_mask: Array) -> Array:
    """For every model and record the next model, cyclically, that has the other bit: [models, records].

    >>> next_on_other_side(np.array([[True], [True], [False], [False]]))[:, 0]
    array([2, 2, 0, 0])
    """
    models = len(in_mask)
    found = np.zeros(in_mask.shape, np.intp)
    for step in reversed(range(2 * models)):  # twice around: the first round knows what comes after the last model
        model, following = step % models, (step + 1) % models
        found[model] = np.where(in_mask[following] != in_mask[model], following, found[following])
    return found


def without(terms: Array, gone: LeftOut, *, ufunc: np.ufunc = np.add) -> Array:
    """Σ, or another ufunc, over the models of terms [models, records, queries] but the one that is left out.

    [targets, records, queries]. Nothing is subtracted, so no digits are lost and a NaN that is left out is gone.

    >>> terms, use = np.array([[[1.0]], [[np.nan]], [[4.0]]]), np.ones((3, 1), bool)
    >>> without(terms, left_out(use, use))[:, 0, 0]
    array([nan,  5., nan])
    """
    others, before = np.empty_like(terms), np.full_like(terms[0], ufunc.identity)
    others[-1] = before
    for model in range(len(terms) - 1, 0, -1):  # those after it
        ufunc(others[model], terms[model], out=others[model - 1])
    for model, own in enumerate(terms):
        ufunc(others[model], before, out=others[model])
        ufunc(before, own, out=before)
    return of_left_out(others, gone)


def of_left_out(values: Array, gone: LeftOut) -> Array:
    """values [models, records, queries] of the model that is left out: [targets, records, queries]."""
    return np.take_along_axis(values, gone.model[:, :, None], axis=0)
