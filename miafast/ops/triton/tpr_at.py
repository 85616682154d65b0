"""TPR at a few FPRs without waiting for the device: sort, then search for the first non-member too many."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.triton.roc_counts import ranked


def tpr_at(scores: Any, is_member: Any, fprs: Any) -> Any:
    """All NaN where a score is NaN, or members or non-members are missing: values on a device are not checked."""
    rates = _rates(fprs, scores.device)
    if scores.numel() == 0:
        return torch.full_like(rates, torch.nan)
    ordered, members = ranked(scores, is_member)
    non_members = torch.arange(1, len(members) + 1, device=members.device) - members
    allowed = torch.floor(rates * non_members[-1])  # at most one off either way
    allowed += (allowed + 1) / non_members[-1] <= rates
    allowed -= (allowed / non_members[-1] > rates).to(allowed.dtype)
    refused = torch.searchsorted(non_members, allowed.long() + 1)  # no threshold may reach this place's score
    score = ordered[refused.clamp(max=len(ordered) - 1)]
    above = torch.where(refused < len(ordered), torch.searchsorted(-ordered, -score), len(ordered))
    found = torch.where(above > 0, members[(above - 1).clamp(min=0)], 0)
    usable = (members[-1] > 0) & (non_members[-1] > 0) & ~ordered[0].isnan()
    return torch.where(usable, found.double() / members[-1], torch.nan)


def _rates(fprs: Any, device: Any) -> Any:
    """[fprs] float64 on the device; numbers travel as arguments of a kernel, for a copy would be waited for."""
    if isinstance(fprs, torch.Tensor) and fprs.device == device:
        return fprs.double()
    rates = [torch.full((), float(rate), dtype=torch.float64, device=device) for rate in fprs]
    return torch.stack(rates) if rates else torch.empty(0, dtype=torch.float64, device=device)
