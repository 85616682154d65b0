"""LiRA of every model in turn from csrc/cuda/lira_leave_one_out.cu; priors are the Triton twin's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from miafast.ops.cuda.source import launch, type_of
from miafast.ops.triton.left_out import fixed_counts
from miafast.ops.triton.lira import verdict_of
from miafast.ops.triton.lira_leave_one_out import rules_of
from miafast.ops.variance_prior import VARIANCE_FLOOR

#: Records of a block and threads that share one; shared memory of a block, which every GPU since Ampere has.
LANES, SHARING, MOST_SHARED = 32, 8, 96 * 1024


def lira_leave_one_out(
    shadow: Any,
    in_mask: Any,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Any:
    """NaN everywhere, not an error, where in_mask has no model on a side that the mode needs.

    Raises ValueError for more models than a block's shared memory holds (about 10,000, or 19,000 in float32).
    """
    models, records, queries = shadow.shape
    real = torch.float64 if shadow.dtype == torch.float64 else torch.float32
    scores = torch.empty(in_mask.shape, dtype=real, device=shadow.device)
    if records == 0:
        return scores
    same = fixed_counts(in_mask)
    rules = rules_of(shadow, in_mask, same, mode, variance)
    lanes = lanes_for(models, scores.element_size())
    launch(
        "lira_leave_one_out",
        f"scores_kernel<{type_of(shadow)}, {type_of(scores)}, {str(center == 'median').lower()}>",
        (
            shadow, in_mask.view(torch.uint8), same, *(each.to(real) for each in rules), scores, np.int32(models),
            np.int64(records), np.int32(queries), *map(np.int64, (*shadow.stride(), *in_mask.stride())),
            np.int32(0 if variance == "per-record" else 2), np.float64(VARIANCE_FLOOR),
            np.int32(verdict_of(mode, tail)),
        ),
        blocks=-(-records // lanes),
        threads=(lanes, SHARING),
        shared=lanes * per_lane(models, scores.element_size()),
    )  # fmt: skip
    return scores


def lanes_for(models: int, size: int) -> int:
    """As many records per block, a power of two, as shared memory holds with all their models."""
    lanes = LANES
    while lanes > 1 and lanes * per_lane(models, size) > MOST_SHARED:
        lanes //= 2
    if lanes * per_lane(models, size) > MOST_SHARED:
        raise ValueError(f"shadow has {models} models; backend 'cuda' holds fewer in a block: use 'triton'.")
    return lanes


def per_lane(models: int, size: int) -> int:
    """Bytes of shared memory per record, as `Shared` in the source lays it out, for results of ``size`` bytes."""
    return 4 * 8 + 2 * size + models * size + 6 * 4 + models
