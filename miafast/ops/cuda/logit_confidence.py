"""phi from csrc/cuda/logit_confidence.cu."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from miafast.ops.cuda.source import launch, type_of
from miafast.ops.triton import rows

#: Bytes of logits that a block brings to shared memory, and most rows of it: a thread each.
TILE_BYTES, TILE_ROWS = 48 * 1024, 256

#: Threads that share a row of many classes.
THREADS = 256


class Launch(NamedTuple):
    """What `source.launch` takes."""

    kernel: str
    arguments: tuple[Any, ...]
    blocks: int
    threads: tuple[int, ...]
    shared: int


def logit_confidence(logits: Any, labels: Any) -> Any:
    """NaN where a label is not in [0, classes): labels on a device are not checked."""
    phi = rows.result(logits)
    for part, result in rows.parts(logits, phi):
        found = launch_of(part, labels, result)
        launch(
            "logit_confidence", found.kernel, found.arguments, blocks=found.blocks, threads=found.threads,
            shared=found.shared,
        )  # fmt: skip
    return phi


def launch_of(logits: Any, labels: Any, phi: Any) -> Launch:
    """For logits [leads, records, classes] and dense phi of as many rows."""
    leads, records, classes = logits.shape
    lead_stride, row_stride, class_stride = logits.stride()
    real = type_of(phi)
    types = f"{type_of(logits)}, {type_of(labels)}, {real}"
    fitting = TILE_BYTES // (classes * logits.element_size())
    many = max(32, min(TILE_ROWS, fitting // 32 * 32))
    dense = class_stride == 1 and row_stride == classes and (leads == 1 or lead_stride == records * classes)
    if dense and fitting >= many:
        numbers = (np.int64(leads * records), np.int64(records), np.int32(classes), np.int64(labels.stride(0)))
        shared = -(-many * classes * logits.element_size() // 16) * 16
        return Launch(
            f"tile_kernel<{types}>", (logits, labels, phi, *numbers), -(-leads * records // many), (many,), shared
        )
    strides = map(np.int64, (lead_stride, row_stride, class_stride, labels.stride(0)))
    arguments = (logits, labels, phi, np.int64(records), np.int32(classes), *strides)
    shared = THREADS * 2 * phi.element_size()
    return Launch(f"row_kernel<{types}>", arguments, leads * records, (THREADS,), shared)
