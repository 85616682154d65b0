"""What perceptrons' training does between matrix products, in Triton kernels."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl


def loss_slope(logits: Any, y: Any, label_smoothing: float) -> Any:
    """`miafast.shadow.mlp_gradient.loss_slope`, in one pass over the logits."""
    logits, slope = logits.contiguous(), torch.empty_like(logits)
    classes, width = logits.shape[-1], triton.next_power_of_2(logits.shape[-1])
    rows = max(1, 2048 // width)
    with torch.cuda.device_of(logits):
        _loss_slope[(triton.cdiv(y.numel(), rows),)](
            logits, y.contiguous(), slope, y.numel(), label_smoothing, 1.0 / y.shape[1], classes=classes, rows=rows,
            width=width, num_warps=4 if width <= 4096 else 16,
        )  # fmt: skip
    return slope


@triton.jit  # type: ignore[untyped-decorator]
def _loss_slope(  # type: ignore[no-untyped-def]
    logits, labels, slope, count, smoothing, share, classes: tl.constexpr, rows: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    column = tl.arange(0, width)[None, :]
    inside = (row < count)[:, None] & (column < classes)
    place = row.to(tl.int64)[:, None] * classes + column
    z = tl.load(logits + place, inside, float("-inf")).to(tl.float32)
    label = tl.load(labels + row, row < count, 0)[:, None]
    weight = tl.exp(z - tl.max(z, 1)[:, None])
    target = smoothing / classes + tl.where(column == label, 1.0 - smoothing, 0.0)
    out = (weight / tl.sum(weight, 1)[:, None] - target) * share
    tl.store(slope + place, out.to(slope.dtype.element_ty), inside)
