"""C++ twins: the compiled functions of `miafast._native`, under their ops' names."""

from __future__ import annotations

from typing import Any

import numpy as np

import miafast._native as _native
from miafast.ops.dispatch import BFLOAT16, result_dtype
from miafast.ops.logit_confidence import check_label_range
from miafast.ops.signals import LogitSignals, empty_signals

Array = np.ndarray[Any, np.dtype[Any]]


def logit_confidence(logits: Array, labels: Array) -> Array:
    phi = np.empty(logits.shape[:-1], result_dtype(logits))
    _check_labels(_native.logit_confidence(*_stored(logits), _in_machine_order(labels), phi), phi, logits, labels)
    return phi


def signals(logits: Array, labels: Array) -> LogitSignals:
    result = empty_signals(logits)
    first_bad = _native.signals(*_stored(logits), _in_machine_order(labels), *result)
    _check_labels(first_bad, result.phi, logits, labels)
    return result


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
