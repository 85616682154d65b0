"""The loss window and the Merlin ratio that together find most of the shadows' members at a false-alarm budget."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array, Outline, as_float, op, result_dtype
from miafast.ops.left_out import counterparts
from miafast.ops.lira import check_array, check_floating

#: Where a window may begin and end: 0, four losses a decade from 1e-8 to 100, infinity.
EDGES = np.concatenate([[0.0], np.logspace(-8, 2, 41), [np.inf]])

#: Merlin ratios are told apart in steps of one in so many, at most.
STEPS = 100


def _contract(loss: Array, ratio: Array, in_mask: Array, *, fpr: float, leave_one_out: bool) -> None:
    check_floating("loss", loss)
    check_floating("ratio", ratio)
    check_array("in_mask", in_mask)
    if loss.ndim != 2 or ratio.shape != loss.shape or in_mask.shape != loss.shape or in_mask.dtype != np.bool_:
        raise ValueError(
            f"loss has shape {loss.shape}, ratio {ratio.shape}, in_mask {in_mask.shape} of {in_mask.dtype}; "
            "give [models, records] of each, in_mask of booleans."
        )
    if not 0 < fpr < 1:
        raise ValueError(f"fpr={fpr}; give a rate between 0 and 1, both excluded.")
    if loss.size and not isinstance(in_mask, Outline) and (in_mask.all() or not in_mask.any()):
        raise ValueError(f"in_mask is {bool(in_mask.all())} everywhere; a window needs shadows' IN and OUT records.")
    if len(loss) < 1 + leave_one_out:
        raise ValueError(f"shadow has {len(loss)} models; give at least {1 + leave_one_out}.")


@op(contract=_contract)
def loss_window(loss: Array, ratio: Array, in_mask: Array, *, fpr: float, leave_one_out: bool) -> Array:
    """low and high of the window low <= loss < high that does best together with a least Merlin ratio.

    Best: most of the shadows' IN records inside and at or above the ratio while at most a share ``fpr`` of their OUT
    records are; then fewest OUT records. Windows begin and end at `EDGES`. A loss or ratio that is not finite is left
    out.

    Args:
        loss, ratio: [models, records] floating: the shadows' losses >= 0 and Merlin ratios in [0, 1].
        in_mask: [models, records] bool.
        fpr: between 0 and 1.
        leave_one_out: one window per model, from the others (and without the counterpart, as `difficulty` does), or
            one from all.

    Returns:
        [models, 2] or [2]: low and high, float64 for float64 losses, else float32; equal where no window finds anybody.

    Raises:
        ValueError: shapes, dtypes, an ``fpr`` or a mask that do not fit.

    Source: Jayaraman et al. 2021, "Revisiting membership inference under realistic assumptions".

    >>> loss = np.array([[1e-5, 2e-3, 3e-3, 5.0]])
    >>> low, high = loss_window(loss, np.ones((1, 4)), np.array([[False, True, True, False]]), fpr=0.1,
    ...                         leave_one_out=False)
    >>> bool(1e-5 < low <= 2e-3), bool(3e-3 < high <= 5.0)
    (True, True)
    """
    losses, ratios = as_float(loss), as_float(ratio)
    known = np.isfinite(losses) & np.isfinite(ratios)
    bins = np.clip(np.searchsorted(EDGES, losses, "right") - 1, 0, len(EDGES) - 2)
    steps = np.where(known, np.rint(np.where(known, ratios, 0) * STEPS), 0).astype(np.intp)
    cells = (np.where(known, in_mask, 0) * (len(EDGES) - 1) + bins) * (STEPS + 1) + steps

    def count(cells: Array, known: Array) -> Array:
        length = 2 * (len(EDGES) - 1) * (STEPS + 1)
        return np.bincount(cells[known], minlength=length).reshape(2, len(EDGES) - 1, STEPS + 1)

    total = count(cells, known)
    if not leave_one_out:
        return _widest(total, fpr).astype(result_dtype(loss))
    beside, windows = counterparts(in_mask), np.empty((len(losses), 2))
    columns = np.arange(losses.shape[1])
    for model in range(len(losses)):
        rest = total - count(cells[model], known[model])
        if beside is not None:
            rest = rest - count(cells[beside[model], columns], known[beside[model], columns])
        windows[model] = _widest(rest, fpr)
    return windows.astype(result_dtype(loss))


def _widest(counts: Array, fpr: float) -> Array:
    """From counts [out and in, loss bins, ratio steps]."""
    least = counts[:, :, ::-1].cumsum(axis=2)  # at or above each ratio
    up_to = np.concatenate([np.zeros_like(least[:, :1]), least.cumsum(axis=1)], axis=1)
    out, found = up_to[:, None, :] - up_to[:, :, None]  # [low, high, ratio]
    allowed = (out <= fpr * counts[0].sum()) & (found >= 0) & (out >= 0)
    worth = np.where(allowed, found * (int(counts.sum()) + 1) - out, -1)
    low, high, _ = np.unravel_index(int(worth.argmax()), worth.shape)
    return EDGES[[low, high]]
