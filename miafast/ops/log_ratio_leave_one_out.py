"""`log_ratio` with every model in turn as the target and the others as its shadow models, in one pass."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array, op, result_dtype
from miafast.ops.left_out import left_out, without
from miafast.ops.lira_leave_one_out import check_leave_one_out
from miafast.ops.log_ratio import LogMean, check_log_ratio, log_counts, log_p, ratio_to, scaled


def _contract(
    shadow: Array, in_mask: Array, *, mode: str = "online", offline_a: float = 1.0, temperature: float = 1.0
) -> None:
    check_log_ratio(mode, offline_a, temperature)
    check_leave_one_out(shadow, in_mask, mode)


@op(contract=_contract)
def log_ratio_leave_one_out(
    shadow: Array, in_mask: Array, *, mode: str = "online", offline_a: float = 1.0, temperature: float = 1.0
) -> Array:
    """What `log_ratio` gives for every model on the others: [models, records, queries].

    Where every record is IN the same number of models, the target's counterpart (the next model of the other side) is
    left out too, as in `lira_leave_one_out`: a mean over fewer models is another mean, even on pure noise.

    >>> shadow = np.log([[[4.0]], [[9.0]], [[3.0]], [[1.0]]])
    >>> in_mask = np.array([[True], [False], [True], [False]])  # p = .8 and its counterpart's .9, then .75 and .5
    >>> log_ratio_leave_one_out(shadow, in_mask)[0].round(4)  # log(.8 / .625)
    array([[0.2469]])
    """
    phi = scaled(shadow, temperature)
    with np.errstate(invalid="ignore"):
        logs, sides = (log_p(phi), log_p(-phi)), []
        for use in (~in_mask,) if mode == "offline" else (~in_mask, in_mask):
            gone = left_out(in_mask, use)
            counts = log_counts(use.sum(axis=0) - gone.counts)
            sums = (without(np.where(use[:, :, None], each, -np.inf), gone, ufunc=np.logaddexp) for each in logs)
            sides.append(LogMean(*(total - counts for total in sums)))
        return ratio_to(phi, *sides, offline_a=offline_a).astype(result_dtype(shadow))
