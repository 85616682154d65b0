"""`lira_released_code` of every model on the others, on the device: one pass per model."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.triton.lira_released_code import score_sides
from miafast.ops.triton.log_ratio import result_type
from miafast.ops.triton.others import others_of


def lira_released_code_leave_one_out(
    shadow: Any, in_mask: Any, *, mode: str = "online", variance: str = "per-record"
) -> Any:
    phi = shadow.double()
    scores = [
        score_sides(own, phi, in_mask & others, ~in_mask & others, mode=mode, variance=variance)
        for own, others in zip(phi, others_of(in_mask), strict=True)
    ]
    return torch.stack(scores).to(result_type(shadow))
