"""LiRA with every model in turn as the target and the others as its shadow models."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.lira import check_options, check_shadow, score_sides


def check_leave_one_out(shadow: Array, in_mask: Array, mode: str) -> None:
    """Raises unless shadow and in_mask can be scored with every model left out in turn."""
    check_shadow(shadow, in_mask, mode)
    if len(shadow) < 2:
        raise ValueError("shadow has 1 model; leaving one out needs at least 2.")


def contract(
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> None:
    """Raises ValueError for arguments that `lira_leave_one_out` cannot take."""
    check_options(mode, center, variance, tail)
    check_leave_one_out(shadow, in_mask, mode)


@op(contract)
def lira_leave_one_out(
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Array:
    """Score every model as `lira` would with it as the target and the others as shadow models: [models, records].

    Where every record is IN the same number of models, the left-out model's side has one model fewer, and the counts
    alone would tell on which side it was. There one model of the other side, the next one cyclically, is dropped too.

    >>> shadow = np.array([[[3.0]], [[5.0]], [[4.0]], [[-1.0]], [[1.0]], [[0.0]]])
    >>> in_mask = np.array([[True]] * 3 + [[False]] * 3)
    >>> lira_leave_one_out(shadow, in_mask, variance="per-record")[0]  # IN 5, 4, OUT 1, 0: (2.5² - 1.5²) / (2 · 0.5)
    array([4.])
    """
    phi, same_counts = as_float(shadow), has_fixed_counts(in_mask)
    scores = np.empty(in_mask.shape)
    for target in range(len(phi)):
        in_use, out_use = sides_without(in_mask, target, same_counts=same_counts)
        scores[target] = score_sides(
            phi[target], phi, in_use, out_use, mode=mode, center=center, variance=variance, tail=tail
        )
    return scores.astype(result_dtype(shadow))


def has_fixed_counts(in_mask: Array) -> bool:
    """Whether every record is IN the same number of models, some but not all."""
    counts = in_mask.sum(axis=0)
    return bool(len(counts) and 0 < counts[0] < len(in_mask) and np.all(counts == counts[0]))


def sides_without(in_mask: Array, target: int, *, same_counts: bool) -> tuple[Array, Array]:
    """(in_use, out_use) [models, records] with the target on neither side, nor its counterpart if ``same_counts``."""
    others = np.ones(in_mask.shape, dtype=bool)
    others[target] = False
    if same_counts:
        others[counterpart(in_mask, target), np.arange(in_mask.shape[1])] = False
    return in_mask & others, ~in_mask & others


def counterpart(in_mask: Array, target: int) -> Array:
    """For each record the next model, cyclically after the target, on the other side than the target: [records]."""
    following = np.roll(np.arange(len(in_mask)), -target - 1)
    return np.asarray(following[(in_mask[following] != in_mask[target]).argmax(axis=0)])
