"""Where the target's loss lies among those of OUT models, on the device, from PyTorch's kernels in float64."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.out_percentile import LARGEST_LOSS
from miafast.ops.triton.difficulty import loss_of
from miafast.ops.triton.log_ratio import result_type, scaled
from miafast.ops.triton.others import others_of
from miafast.ops.variance_prior import VARIANCE_FLOOR


def out_percentile(target: Any, shadow: Any, in_mask: Any, *, smooth: str = "none") -> Any:
    """Every model in turn takes one pass per model."""
    measure = (lambda phi: -loss_of(phi)) if smooth in ("loss", "linear") else (lambda phi: scaled(phi, 1.0))
    place = {"none": _share, "linear": _interpolated}.get(smooth, _standard_score)
    signals = measure(shadow)

    def score(own: Any, use: Any) -> Any:
        return torch.where(own.isnan(), torch.nan, place(own, signals, use[:, :, None])).mean(-1)

    if target is not None:
        return score(measure(target), ~in_mask).to(result_type(target, shadow))
    uses = (~in_mask & others for others in others_of(in_mask))
    return torch.stack([score(own, use) for own, use in zip(signals, uses, strict=True)]).to(result_type(shadow))


def _share(own: Any, signals: Any, use: Any) -> Any:
    below = (use & (signals < own)).sum(0) + (use & (signals == own)).sum(0).double() / 2
    return torch.where((use & signals.isnan()).any(0), torch.nan, below / use.sum(0))


def _interpolated(own: Any, signals: Any, use: Any) -> Any:
    under, over = use & (signals < own), use & (signals > own)
    below, equal, count = under.sum(0), (use & (signals == own)).sum(0), use.sum(0)
    last = torch.where(under, signals, -LARGEST_LOSS).amax(0).clamp(min=-LARGEST_LOSS)
    following = torch.where(over, signals, 0.0).amin(0).clamp(max=0.0)
    part = torch.where(following > last, (own - last) / (following - last), 1.0).clamp(0, 1)
    place = torch.where(equal > 0, below + (1 + equal) / 2, below + part)
    missing = (use & signals.isnan()).any(0) | (count == 0)
    return torch.where(missing, torch.nan, place / (count + 1))


def _standard_score(own: Any, signals: Any, use: Any) -> Any:
    count = use.sum(0)
    mean = torch.where(use, signals, 0.0).sum(0) / count
    squares = torch.where(use, (signals - mean) ** 2, 0.0).sum(0)
    variance = squares / torch.where(count > 1, count - 1, torch.nan)
    return (own - mean) / variance.clamp(min=VARIANCE_FLOOR).sqrt()
