"""The usual loss less the target's, on the device, from PyTorch's kernels in float64."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.triton.log_ratio import log_p, result_type, scaled
from miafast.ops.triton.others import others_of


def difficulty(target: Any, shadow: Any, in_mask: Any, *, mode: str = "offline") -> Any:
    losses = loss_of(shadow)

    def usual(others: Any) -> Any:
        uses = (~in_mask & others,) if mode == "offline" else (~in_mask & others, in_mask & others)
        means = (torch.where(use[:, :, None], losses, 0.0).sum(0) / use.sum(0)[:, None] for use in uses)
        return torch.stack(list(means)).mean(0)

    if target is not None:
        return (usual(torch.ones_like(in_mask)) - loss_of(target)).mean(-1).to(result_type(target, shadow))
    return (torch.stack(list(map(usual, others_of(in_mask)))) - losses).mean(-1).to(result_type(shadow))


def loss_of(phi: Any) -> Any:
    """softplus(-phi) in float64; NaN where phi is not finite."""
    return -log_p(scaled(phi, 1.0))
