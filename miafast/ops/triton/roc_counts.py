"""The whole ROC on the device: one radix sort (PyTorch's, from CUB), a running count and the ends of ties."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from miafast.ops.roc_counts import RocCounts


class Ranked(NamedTuple):
    """Scores, best first, and how many members stand at or before each place."""

    scores: Any  # [n] float32 or float64; NaN comes first
    members: Any  # [n] int64, running


def ranked(scores: Any, is_member: Any) -> Ranked:
    """Scores of any shape in order; -0 becomes 0, float16 and bfloat16 widen exactly."""
    wide = scores.reshape(-1).to(torch.float64 if scores.dtype == torch.float64 else torch.float32)
    ordered, origin = torch.sort(wide + 0.0, descending=True)
    return Ranked(ordered, is_member.reshape(-1)[origin].cumsum(0))


def roc_counts(scores: Any, is_member: Any) -> RocCounts:
    """Waits for the device: how many distinct scores there are decides the size of the result."""
    ordered, members = ranked(scores, is_member)
    if nan := int(ordered.isnan().sum()):
        raise ValueError(f"scores holds {nan} NaN; drop these records from scores and from is_member.")
    is_last = torch.ones(ordered.shape, dtype=torch.bool, device=ordered.device)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    last = is_last.nonzero()[:, 0]
    true_positives = members[last]
    return RocCounts(ordered[last], last + 1 - true_positives, true_positives)
