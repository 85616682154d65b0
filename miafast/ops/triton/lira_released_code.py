"""LiRA as its authors' released code computes it, on the device, from PyTorch's kernels in float64."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from miafast.ops.triton.log_ratio import result_type


def lira_released_code(
    target: Any, shadow: Any, in_mask: Any, *, mode: str = "online", variance: str = "per-record"
) -> Any:
    """NaN everywhere, not an error, where a record has no model on a side that the mode needs."""
    scores = score_sides(target.double(), shadow.double(), in_mask, ~in_mask, mode=mode, variance=variance)
    return scores.to(result_type(target, shadow))


def score_sides(target: Any, shadow: Any, in_use: Any, out_use: Any, *, mode: str, variance: str) -> Any:
    """[records] in float64, the two sides given apart, so that a model may be on neither."""
    if target.numel() == 0:
        return target.new_zeros(len(target))
    out = _truncated(shadow, out_use)
    inside = out if mode == "offline" else _truncated(shadow, in_use)
    whole = inside.whole_spread if variance == "total" else None
    each = -_log_density(target, out, whole)
    if mode == "online":
        each = _log_density(target, inside, whole) + each
    return torch.where(target.isfinite(), each, torch.nan).mean(1)


class _Side(NamedTuple):
    """Every record's first models in use, as many as every record has."""

    median: Any  # [records, queries]
    spread: Any  # [records, queries] population standard deviation
    whole_spread: Any  # [] of all signals


def _truncated(shadow: Any, use: Any) -> _Side:
    count = use.sum(0).min()
    kept = (use & (use.cumsum(0) <= count))[:, :, None]
    ascending = torch.where(kept, shadow, torch.inf).sort(0).values
    middle = torch.stack([(count - 1).clamp(min=0) // 2, count // 2])
    median = ascending.index_select(0, middle).mean(0)
    median = torch.where((kept & shadow.isnan()).any(0), torch.nan, median)
    return _Side(median, _spread(shadow, kept, (0,)), _spread(shadow, kept, (0, 1, 2)))


def _spread(shadow: Any, kept: Any, axes: tuple[int, ...]) -> Any:
    count = kept.expand(shadow.shape).sum(axes)
    mean = torch.where(kept, shadow, 0.0).sum(axes) / count
    return (torch.where(kept, (shadow - mean) ** 2, 0.0).sum(axes) / count).sqrt()


def _log_density(target: Any, side: _Side, whole: Any) -> Any:
    spread = (side.spread if whole is None else whole) + 1e-30
    return -0.5 * ((target - side.median) / spread) ** 2 - (spread * math.sqrt(2 * math.pi)).log()
