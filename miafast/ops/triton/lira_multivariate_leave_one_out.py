"""`lira_multivariate` of every model on the others, on the device: one pass per model."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.triton.lira_multivariate import score_sides
from miafast.ops.triton.log_ratio import result_type
from miafast.ops.triton.others import others_of


def lira_multivariate_leave_one_out(
    shadow: Any,
    in_mask: Any,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Any:
    phi, rule = shadow.double(), {"mode": mode, "center": center, "variance": variance, "tail": tail}
    scores = [
        score_sides(own, phi, in_mask & others, ~in_mask & others, **rule)
        for own, others in zip(phi, others_of(in_mask), strict=True)
    ]
    return torch.stack(scores).to(result_type(shadow))
