"""What leaving every model out in turn needs to know of the mask, on the device."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

#: Models per chunk and records per program.
CHUNK, LANES = 16, 256


def fixed_counts(in_mask: Any) -> Any:
    """[1] int32 on the device: 1 if every record is IN the same number of models, some but not all, else 0.

    Blocks of records that come after the first other count has been seen are not read.
    """
    models, records = in_mask.shape
    if records == 0:
        return torch.zeros(1, dtype=torch.int32, device=in_mask.device)
    wanted = in_mask[:, 0].sum()
    fixed = ((wanted > 0) & (wanted < models)).to(torch.int32)[None]
    counts_kernel[(triton.cdiv(records, LANES),)](
        in_mask.view(torch.uint8), wanted, fixed, models, records, *in_mask.stride(), CHUNK, LANES, num_warps=4
    )
    return fixed


@triton.jit
def counts_kernel(
    in_mask, wanted, fixed, models, records, model_stride, record_stride, CHUNK: tl.constexpr, LANES: tl.constexpr
):
    """Clears ``fixed`` [1] if a record of the block is not IN ``wanted`` models."""
    if tl.load(fixed, volatile=True) != 0:
        record = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
        live = record < records
        count = tl.zeros([LANES], tl.int32)
        for first in range(0, models, CHUNK):
            model = first + tl.arange(0, CHUNK).to(tl.int64)[:, None]
            at = in_mask + model * model_stride + record[None, :] * record_stride
            inside = tl.load(at, mask=(model < models) & live[None, :], other=0)
            count += tl.sum((inside != 0).to(tl.int32), axis=0)
        if tl.max((live & (count != tl.load(wanted))).to(tl.int32)) != 0:
            tl.store(fixed, 0)
