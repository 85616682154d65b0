"""What shuffled epochs are sorted by, in one Triton kernel: counted random draws need nothing but their place."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.random import philox_impl

_BLOCK = 512


def sortable(keys: Any, count: Any, first: Any, *, epochs: int, width: int) -> Any:
    """`miafast.shadow.order.sortable`, int64 [models, epochs, width]."""
    out = torch.empty(len(keys), epochs, width, dtype=torch.int64, device=keys.device)
    with torch.cuda.device_of(keys):
        _sortable[(triton.cdiv(width, _BLOCK), epochs, len(keys))](keys, count, first, out, width, block=_BLOCK)
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _sortable(keys, count, first, out, width, block: tl.constexpr):  # type: ignore[no-untyped-def]
    epoch, model = tl.program_id(1), tl.program_id(2)
    rank = tl.program_id(0) * block + tl.arange(0, block)
    records = tl.load(count + model)
    place = (tl.load(first + model) + epoch) * records + rank
    zero = tl.zeros((block,), tl.uint64)
    left = tl.load(keys + 2 * model).to(tl.uint64, bitcast=True) + zero
    right = tl.load(keys + 2 * model + 1).to(tl.uint64, bitcast=True) + zero
    a, b, c, d = philox_impl((place // 4 + 1).to(tl.uint64), zero, zero, zero, left, right, 10)
    lane = place % 4
    draw = tl.where(lane == 0, a, tl.where(lane == 1, b, tl.where(lane == 2, c, d)))
    signed = (draw ^ (1 << 63)).to(tl.int64, bitcast=True)
    found = tl.where(rank < records, signed, 0x7FFFFFFFFFFFFFFF)
    tl.store(out + (model * tl.num_programs(1) + epoch).to(tl.int64) * width + rank, found, rank < width)
