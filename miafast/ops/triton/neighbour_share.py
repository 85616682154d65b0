"""How many records look like a record, on the device: products by PyTorch's matrix kernels, a block at a time."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.triton.log_ratio import result_type

_BLOCK = 1 << 26  # products at once


def neighbour_share(logits: Any, *, radius: float, references: int, leave_one_out: bool) -> Any:
    features = logits.float()
    finite = features.isfinite().all(-1)
    features = torch.where(finite[:, :, None], features, 0.0)
    features = features - features.mean(-1, keepdim=True)
    chosen = _references(features.shape[1], references, logits.device)
    reference = features[:, chosen].mT  # [models, classes, references]
    squares = (features**2).sum(-1)
    norms = (squares.sum(0) - (squares if leave_one_out else 0)).reshape(-1, features.shape[1])
    norms = norms.clamp(min=torch.finfo(torch.float32).tiny).sqrt()
    step, counts = max(1, _BLOCK // len(chosen)), []
    for begin in range(0, features.shape[1], step):
        rows = features[:, begin : begin + step]
        together = sum(own @ right for own, right in zip(rows, reference, strict=True))
        found = []
        for model, norm in enumerate(norms):
            product = together - rows[model] @ reference[model] if leave_one_out else together
            least = norm[begin : begin + step, None] * (1 - radius) * norm[chosen]
            found.append((product >= least).sum(1))
        counts.append(torch.stack(found))
    itself = torch.zeros(features.shape[1], dtype=torch.int64, device=logits.device).index_fill_(0, chosen, 1)
    others = (torch.cat(counts, 1) - itself).clamp(min=0).double() / (len(chosen) - itself)
    shares = torch.where(finite.all(0), others, torch.nan).to(result_type(logits))
    return shares if leave_one_out else shares[0]


def _references(records: int, references: int, device: Any) -> Any:
    """The records that neighbours are counted among, evenly spaced, as `miafast.ops.neighbour_share` takes them."""
    count = min(references, records)
    return (torch.arange(count, dtype=torch.float64, device=device) * ((records - 1) / (count - 1))).round().long()
