"""C++ twins: the compiled functions of `miafast._native`, under their ops' names."""

from __future__ import annotations

from typing import Any

import numpy as np

import miafast._native as _native
from miafast.ops.dispatch import BFLOAT16
from miafast.ops.roc_counts import Array, RocCounts
from miafast.ops.tpr_at import allowed_false_positives


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
