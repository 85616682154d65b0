"""The mean of the middle of several scores, from PyTorch's sort."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.trimmed_mean import kept


def trimmed_mean(*scores: Any, low: float = 0.0, high: float = 1.0) -> Any:
    real = torch.float64 if any(each.dtype == torch.float64 for each in scores) else torch.float32
    first, last = kept(len(scores), low, high)
    ranked = torch.stack([each.double() for each in scores], dim=-1).sort(dim=-1).values
    return torch.where(ranked[..., -1].isnan(), torch.nan, ranked[..., first:last].mean(-1)).to(real)
