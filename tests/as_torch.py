"""Cases as torch tensors, for twins that take no other arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from miafast.ops.dispatch import BFLOAT16


def as_torch(value: Any, device: str = "cpu") -> Any:
    """An array as a tensor with the same strides where torch can have them; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype == BFLOAT16:
        return as_torch(value.view(np.int16), device).view(torch.bfloat16)
    value = value.astype(value.dtype.newbyteorder("="), copy=False)
    repeated = tuple(slice(1) if stride == 0 else slice(None) for stride in value.strides)
    dense = torch.from_numpy(value[repeated].copy())
    strides = tuple(stride // value.itemsize for stride in value.strides)
    if any(stride < 0 for stride in strides):
        return dense.to(device)
    return torch.empty_strided(dense.shape, strides, dtype=dense.dtype, device=device).copy_(dense).expand(value.shape)
