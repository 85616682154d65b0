"""Minus the cross-entropy of the true label, averaged over queries."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.lira import check_floating


def _contract(phi: Array) -> None:
    check_floating("phi", phi)
    if phi.ndim < 2 or phi.shape[-1] == 0:
        raise ValueError(f"phi has shape {phi.shape}; give [..., records, queries] with at least one query.")


@op(contract=_contract)
def negative_loss(phi: Array) -> Array:
    """-mean over queries of softplus(-phi): phi [..., records, queries] -> [..., records]; NaN where phi is not finite.

    >>> negative_loss(np.array([[0.0, 0.0]])).round(4)
    array([-0.6931])
    """
    signals = as_float(phi)
    with np.errstate(invalid="ignore"):
        loss = np.logaddexp(0.0, -np.where(np.isfinite(signals), signals, np.nan))
    return np.asarray(-loss.mean(axis=-1)).astype(result_dtype(phi))
