"""C++ twins: the compiled functions of `miafast._native`, under their ops' names."""

from __future__ import annotations

from typing import Any

import numpy as np

import miafast._native as _native
from miafast.ops.dispatch import BFLOAT16, result_dtype
from miafast.ops.logit_confidence import check_label_range
from miafast.ops.roc_counts import RocCounts
from miafast.ops.tpr_at import allowed_false_positives

Array = np.ndarray[Any, np.dtype[Any]]


def logit_confidence(logits: Array, labels: Array) -> Array:
    phi = np.empty(logits.shape[:-1], result_dtype(logits))
    _check_labels(_native.logit_confidence(*_stored(logits), _in_machine_order(labels), phi), phi, logits, labels)
    return phi


def _stored(logits: Array) -> tuple[Array, str]:
    """What the kernels read: half types as their bits, and the name of the type."""
    if logits.dtype == BFLOAT16:
        return logits.view(np.uint16), "bfloat16"
    return (logits.view(np.uint16) if logits.dtype == np.float16 else logits), logits.dtype.name


def _in_machine_order(labels: Array) -> Array:
    return labels if labels.dtype.isnative else labels.astype(labels.dtype.newbyteorder("="))


def _check_labels(first_bad: int, result: Array, logits: Array, labels: Array) -> None:
    """Kernels check labels as they read them; with no logits to read they have not."""
    if first_bad >= 0 or result.size == 0:
        check_label_range(labels, logits.shape[-1])


def roc_counts(scores: Array, is_member: Array) -> RocCounts:
    return RocCounts(*_native.roc_counts(_flat(scores), np.ascontiguousarray(is_member).ravel()))


def tpr_at(scores: Array, is_member: Array, fprs: Any) -> Array:
    members = int(np.count_nonzero(is_member))
    non_members = is_member.size - members
    allowed = allowed_false_positives(fprs, non_members)
    found = np.full(allowed.shape, members)
    if (some := allowed < non_members).any():
        dense = np.ascontiguousarray(is_member).ravel()
        found[some] = _native.tpr_at(_flat(scores), dense, non_members, allowed[some].tolist())
    return found / members


def _flat(scores: Array) -> Array:
    """Dense one-dimensional float32 or float64 of the same values: float16 and bfloat16 widen exactly."""
    if scores.dtype == BFLOAT16:
        bits = np.ascontiguousarray(scores).view(np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).ravel()
    wide = np.float64 if scores.dtype == np.float64 else np.float32
    return np.ascontiguousarray(scores, dtype=wide).ravel()
