"""`log_ratio` of every model on the others, on the device: running sums from both ends, and a gather."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.log_ratio import LogMean
from miafast.ops.triton.left_out import fixed_counts
from miafast.ops.triton.log_ratio import log_counts, log_p, ratio_to, result_type, scaled
from miafast.ops.triton.others import counterpart


def log_ratio_leave_one_out(
    shadow: Any, in_mask: Any, *, mode: str = "online", offline_a: float = 1.0, temperature: float = 1.0
) -> Any:
    phi = scaled(shadow, temperature)
    if phi.numel() == 0:
        return phi.to(result_type(shadow))
    left_out = torch.arange(len(phi), device=phi.device)[:, None].expand(in_mask.shape)
    beside = torch.stack([counterpart(in_mask, target) for target in range(len(phi))])
    others = torch.where(fixed_counts(in_mask) != 0, beside, left_out)
    sides = []
    for use in (~in_mask,) if mode == "offline" else (~in_mask, in_mask):
        gone = torch.where(use, left_out, others)
        counts = log_counts(use.sum(0) - use.gather(0, gone).long())
        logs = (torch.where(use[:, :, None], each, -torch.inf) for each in (log_p(phi), log_p(-phi)))
        sides.append(LogMean(*(_sums_without(terms, gone) - counts for terms in logs)))
    return ratio_to(phi, *sides, offline_a=offline_a).to(result_type(shadow))


def _sums_without(terms: Any, gone: Any) -> Any:
    """log Σ exp over models of terms [models, records, queries] without model gone[target, record]."""
    before, after = (torch.full_like(terms, -torch.inf) for _ in range(2))
    for model in range(1, len(terms)):
        before[model] = torch.logaddexp(before[model - 1], terms[model - 1])
        after[-model - 1] = torch.logaddexp(after[-model], terms[-model])
    without = torch.logaddexp(before, after)
    return without.gather(0, gone[:, :, None].expand(without.shape))
