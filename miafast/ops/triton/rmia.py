"""RMIA's pairwise test: PyTorch sorts the population, every lane searches it with the comparison itself."""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl

LANES = 256


def rmia(log_ratio_x: Any, log_ratio_z: Any, *, gamma: float = 1.0, columns: Any = None) -> Any:
    real = torch.float64 if torch.float64 in (log_ratio_x.dtype, log_ratio_z.dtype) else torch.float32
    records, queries = log_ratio_x.shape[-2:]
    population = log_ratio_z.shape[-1]
    x = log_ratio_x.to(real)
    middle = torch.sort(x, dim=-1).values[..., (queries - 1) // 2]  # more than half dominate if and only if it does
    middle = torch.where(x.isnan().any(-1), torch.nan, middle)
    shares = torch.empty(middle.shape, dtype=real, device=x.device)
    if shares.numel() == 0:
        return shares
    middle = middle.reshape(-1, records)
    z = log_ratio_z.to(real).reshape(-1, population).contiguous()
    ordered = torch.sort(z, dim=-1).values  # NaN last
    numbers = (~z.isnan()).sum(-1)
    where = torch.full((records + 1,), -1, dtype=torch.int64, device=z.device)
    if columns is not None:
        where[places(columns, records, z.device)] = torch.arange(population, device=z.device)
    least = torch.full((), math.log(gamma), dtype=torch.float64, device=z.device)  # an argument would be float32
    search_kernel[(triton.cdiv(records, LANES), len(middle))](
        middle, ordered, z, numbers, where, least, shares, records, population, population.bit_length(), LANES
    )
    return shares


def places(columns: Any, records: int, device: Any) -> Any:
    """The records that columns name, int64 on the device; the place after all of them for what is no record."""
    at = torch.as_tensor(columns).to(device, torch.int64, non_blocking=True)
    return torch.where((at >= 0) & (at < records), at, records)


@triton.jit
def search_kernel(
    middle, ordered, z, numbers, where, least, shares, records, population, STEPS: tl.constexpr, LANES: tl.constexpr
):  # fmt: skip
    """Shares of a block of records of one lead: the first place in order that is not dominated is their count."""
    record = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    lead = tl.program_id(1).to(tl.int64)
    live = record < records
    bound = tl.load(least)
    x = tl.load(middle + lead * records + record, mask=live, other=0.0).to(tl.float64)
    low = tl.zeros([LANES], tl.int64)
    high = low + population
    for _ in tl.static_range(STEPS):
        at = (low + high) // 2
        open_ = low < high
        value = tl.load(ordered + lead * population + at, mask=open_, other=0.0).to(tl.float64)
        wins = x - value >= bound
        low = tl.where(open_ & wins, at + 1, low)
        high = tl.where(open_ & (wins == 0), at, high)
    against = tl.load(numbers + lead) + tl.zeros([LANES], tl.int64)
    place = tl.load(where + record, mask=live, other=-1)
    itself = tl.load(z + lead * population + place, mask=place >= 0, other=float("nan")).to(tl.float64)
    low -= (x - itself >= bound).to(tl.int64)
    against -= (itself == itself).to(tl.int64)
    share = low.to(tl.float64) / tl.maximum(against, 1).to(tl.float64)
    share = tl.where((against > 0) & (x == x), share, float("nan"))
    tl.store(shares + lead * records + record, share, mask=live)
