"""How many records look like a record to the shadow models."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import BFLOAT16, Array, as_float, op, result_dtype
from miafast.ops.lira import check_floating

_BLOCK = 64  # records held against the references at once: the block stays in cache


def _contract(logits: Array, *, radius: float, references: int, leave_one_out: bool) -> None:
    check_floating("logits", logits)
    if logits.ndim != 3 or 0 in logits.shape:
        raise ValueError(f"logits has shape {logits.shape}; give [models, records, classes], at least one of each.")
    if logits.shape[1] < 2:
        raise ValueError("logits is of 1 record, which has no neighbours; give at least 2.")
    if not 0 < radius < 2:
        raise ValueError(f"radius={radius}; give a cosine distance between 0 and 2.")
    if references < 2:
        raise ValueError(f"references={references}; count among at least 2 records.")
    if len(logits) < 1 + leave_one_out:
        raise ValueError(f"logits is of {len(logits)} models; give at least {1 + leave_one_out}.")


@op(contract=_contract)
def neighbour_share(logits: Array, *, radius: float, references: int, leave_one_out: bool) -> Array:
    """The share of other records within a cosine distance, features being all models' logits side by side.

    Logits are taken less their mean over classes, which a softmax does not tell. In float32.

    Args:
        logits: [models, records, classes], floating.
        radius: the cosine distance up to which a record is a neighbour, between 0 and 2.
        references: count among this many records, evenly spaced in the pool (among all, if there are no more).
        leave_one_out: one share per model, from the features of the others, or one from all.

    Returns:
        [models, records] or [records], shares in [0, 1], float64 for float64 logits, else float32; NaN where a logit of
        the record is not finite.

    Raises:
        ValueError: shapes, dtypes or numbers that do not fit.

    Source: Long et al. 2018, "Understanding membership inferences on well-generalized learning models".

    >>> logits = np.array([[[2.0, 0.0], [4.0, 0.1], [0.0, 1.0]]])
    >>> neighbour_share(logits, radius=0.1, references=3, leave_one_out=False)
    array([0.5, 0.5, 0. ])
    """
    features, finite = features_of(logits)
    models, records, _ = features.shape
    chosen = references_of(records, references)
    least, norms = lengths(features, radius=radius, leave_one_out=leave_one_out)
    reference = np.ascontiguousarray(features[:, chosen].swapaxes(1, 2))  # [models, classes, references]
    counts, ones = np.empty((len(norms), records)), np.ones(len(chosen), np.float32)
    for start in range(0, records, _BLOCK):
        rows = slice(start, start + _BLOCK)
        together = np.zeros((len(features[0, rows]), len(chosen)), np.float32)
        for model in range(models):
            together += features[model, rows] @ reference[model]
        for row, norm in enumerate(norms):
            product = together - features[row, rows] @ reference[row] if leave_one_out else together
            alike = (product >= np.multiply.outer(least[row, rows], norm[chosen])).astype(np.float32)
            counts[row, rows] = alike @ ones
    return shares_of(counts, chosen, finite=finite, leave_one_out=leave_one_out).astype(result_dtype(logits))


def features_of(logits: Array) -> tuple[Array, Array]:
    """float32 [models, records, classes] less their class mean, 0 where that is not finite, and [records] who is."""
    with np.errstate(over="ignore"):
        features = np.array(as_float(logits) if logits.dtype == BFLOAT16 else logits, dtype=np.float32, order="C")
    finite = np.asarray(np.isfinite(features).all(axis=-1))
    features[~finite] = 0.0
    features -= features.mean(axis=-1, keepdims=True)
    return features, np.asarray(finite.all(axis=0))


def references_of(records: int, references: int) -> Array:
    """int64: the records that neighbours are counted among, evenly spaced."""
    return np.unique(np.linspace(0, records - 1, min(references, records)).round().astype(np.int64))


def lengths(features: Array, *, radius: float, leave_one_out: bool) -> tuple[Array, Array]:
    """float32 [rows, records]: a neighbour's product is at least the first times the reference's second, its norm."""
    squares = np.einsum("mrc,mrc->mr", features, features)
    norms = squares.sum(axis=0, keepdims=True) - (squares if leave_one_out else 0)
    norms = np.sqrt(np.maximum(norms, np.finfo(np.float32).tiny))
    return norms * np.float32(1 - radius), norms


def shares_of(counts: Array, chosen: Array, *, finite: Array, leave_one_out: bool) -> Array:
    """The share of *other* references, from counts [rows, records] that hold a reference itself."""
    itself = np.isin(np.arange(counts.shape[1]), chosen)
    shares = np.where(finite, np.maximum(counts - itself, 0) / (len(chosen) - itself), np.nan)
    return np.asarray(shares if leave_one_out else shares[0])
