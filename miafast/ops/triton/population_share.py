"""The share of a population with a lower phi, on the device: PyTorch sorts it and searches it."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.triton.log_ratio import result_type
from miafast.ops.triton.rmia import places


def population_share(phi: Any, population: Any, *, columns: Any = None) -> Any:
    records, queries = phi.shape[-2:]
    values, against = phi.double().reshape(-1, records, queries), population.double().reshape(-1, population.shape[-1])
    others = against.sort(1).values
    flat = values.reshape(len(values), records * queries)
    below = sum(torch.searchsorted(others, flat, right=right) for right in (False, True)).double() / 2
    below, count = below.reshape(values.shape), torch.full((records,), others.shape[1], device=phi.device)
    if columns is not None:
        at = places(columns, records, phi.device)
        own = torch.full((len(values), records + 1), torch.nan, dtype=torch.float64, device=phi.device)
        own = own.index_copy_(1, at, against)[:, :records, None]
        below = below - ((own < values).double() + (own == values).double() / 2)
        count = count - count.new_zeros(records + 1).index_fill_(0, at, 1)[:records]
    broken = ~values.isfinite() | ~against.isfinite().all(1)[:, None, None]
    shares = torch.where(broken, torch.nan, below / count[:, None]).mean(-1)
    return shares.reshape(phi.shape[:-1]).to(result_type(phi, population))
