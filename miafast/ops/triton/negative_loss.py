"""Minus the loss on the device, from PyTorch's kernels in float64."""

from __future__ import annotations

from typing import Any

from miafast.ops.triton.log_ratio import log_p, result_type, scaled


def negative_loss(phi: Any) -> Any:
    return log_p(scaled(phi, 1.0)).mean(-1).to(result_type(phi))
