"""The share of noisy copies of a record on which the model's loss is higher than on the record itself."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.lira import check_floating


def _contract(loss: Array, noisy_loss: Array) -> None:
    check_floating("loss", loss)
    check_floating("noisy_loss", noisy_loss)
    if loss.ndim < 2 or loss.shape[-1] == 0:
        raise ValueError(f"loss has shape {loss.shape}; give [..., records, queries] with at least one query.")
    if noisy_loss.shape[:-1] != loss.shape[:-1] or noisy_loss.shape[-1] == 0:
        raise ValueError(f"noisy_loss has shape {noisy_loss.shape}; give [..., records, copies] for loss {loss.shape}.")


@op(contract=_contract)
def higher_share(loss: Array, noisy_loss: Array) -> Array:
    """Merlin's ratio: the share of copies with noisy_loss > loss.

    Args:
        loss: [..., records, queries]; the first query, the record as it is, counts.
        noisy_loss: [..., records, copies].

    Returns:
        [..., records] in [0, 1], float64 if a loss is, else float32; NaN where a loss is not finite.

    Raises:
        ValueError: shapes or dtypes that do not fit.

    Source: Jayaraman et al. 2021, "Revisiting membership inference under realistic assumptions".

    >>> higher_share(np.array([[1.0]]), np.array([[0.5, 1.0, 1.5, 3.0]]))
    array([0.5])
    """
    own, noisy = as_float(loss)[..., :1], as_float(noisy_loss)
    known = np.isfinite(own[..., 0]) & np.isfinite(noisy).all(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.where(known, (noisy > own).mean(axis=-1), np.nan).astype(result_dtype(loss, noisy_loss))
