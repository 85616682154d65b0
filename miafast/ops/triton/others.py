"""Every model in turn as the target, on the device: which models are left to be its shadows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from miafast.ops.triton.left_out import fixed_counts


def others_of(in_mask: Any) -> Iterator[Any]:
    """[models, records] for every target: all but itself and, where counts are fixed, its counterpart."""
    fixed = fixed_counts(in_mask) != 0
    model = torch.arange(len(in_mask), device=in_mask.device)[:, None]
    for target in range(len(in_mask)):
        yield (model != target) & ~(fixed & (model == counterpart(in_mask, target)))


def counterpart(in_mask: Any, target: int) -> Any:
    """[records] the next model, cyclically after the target, on the other side."""
    differs = torch.roll(in_mask != in_mask[target], -target - 1, 0)
    return (differs.to(torch.uint8).argmax(0) + target + 1) % len(in_mask)
