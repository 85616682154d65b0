"""LiRA of every model in turn from csrc/cuda/lira_leave_one_out.cu; priors come from what lira_moments.cu adds up."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from miafast.ops.cuda.source import launch, most_shared, type_of
from miafast.ops.triton.left_out import fixed_counts
from miafast.ops.triton.lira import POOLINGS, verdict_of
from miafast.ops.triton.lira_leave_one_out import lira_leave_one_out as by_triton
from miafast.ops.triton.lira_rules import Tables, log_variance_shift, priors_of, tables
from miafast.ops.variance_prior import VARIANCE_FLOOR

#: Records of a block, threads that share one at least, models of a thread at most (their mask is 32 bits); threads,
#: shared memory (which a few GPUs have for two blocks at once) and models of a block.
LANES, SHARING, RUN, MOST_THREADS, MOST_SHARED, MOST_MODELS = 32, 8, 32, 256, 96 * 1024, 1024

#: Most blocks, which go through records in turns (an H100 holds 264 at once); those that keep sums of their own.
PROGRAMS, SUMMING = 16896, 1056

#: What `verdict_of` says of OUT's lower tail.
LOWER_TAIL = 1


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

    More models than a block has room for, MOST_MODELS, are left to the Triton twin.
    """
    models, records, queries = shadow.shape
    if models > MOST_MODELS:
        return by_triton(shadow, in_mask, mode=mode, center=center, variance=variance, tail=tail)
    real = torch.float64 if shadow.dtype == torch.float64 else torch.float32
    scores = torch.empty(in_mask.shape, dtype=real, device=shadow.device)
    if records == 0:
        return scores
    same = fixed_counts(in_mask)
    rules = tables(priors_of(_moments(shadow, in_mask, same, variance), variance, mode), variance, models)
    shape = block_for(models, scores.element_size(), tiles=2 * _tile(shadow), memory=most_shared(shadow.get_device()))
    median, verdict = center == "median", verdict_of(mode, tail)
    quick = variance == "per-record" and not median and verdict != LOWER_TAIL
    programs = min(-(-records // shape.lanes), PROGRAMS)
    of = f"{type_of(shadow)}, {type_of(scores)}, {_bool(median)}, {_bool(quick)}, {shape.run}, {shape.lanes}"
    launch(
        "lira_leave_one_out",
        f"scores_kernel<{of}>",
        (
            shadow, in_mask.view(torch.uint8), same, *_together(rules, real), scores, np.int32(programs),
            np.int32(models), np.int64(records), np.int32(queries),
            *map(np.int64, (*shadow.stride(), *in_mask.stride())),
            np.int32(0 if variance == "per-record" else 2), np.float64(VARIANCE_FLOOR), np.int32(verdict),
        ),
        blocks=programs,
        threads=(shape.lanes, shape.sharing),
        shared=shape.shared,
    )  # fmt: skip
    return scores


def _moments(shadow: Any, in_mask: Any, same: Any, variance: str) -> Any:
    """What priors come from, [targets, 2 (in, out), queries, 4]; one target's nothing where a rule has no prior."""
    models, records, queries = shadow.shape
    if variance == "per-record":
        return torch.zeros(1, 2, queries, 4, dtype=torch.float64, device=shadow.device)
    is_double = shadow.dtype == torch.float64
    size, real = (8, "double") if is_double else (4, "float")
    tiles = (2 if variance == "total" else 1) * size + _tile(shadow)
    shape = block_for(models, size, tiles=tiles, memory=most_shared(shadow.get_device()))
    programs = min(-(-records // shape.lanes), SUMMING)
    moments = torch.empty(programs, models, 2, queries, 4, dtype=torch.float64, device=shadow.device)
    launch(
        "lira_moments",
        f"moments_kernel<{type_of(shadow)}, {real}, {POOLINGS[variance]}, {shape.run}, {shape.lanes}>",
        (
            shadow, in_mask.view(torch.uint8), same, *log_variance_shift(models, shadow.device), moments,
            np.int32(programs), np.int32(models), np.int64(records), np.int32(queries),
            *map(np.int64, (*shadow.stride(), *in_mask.stride())), np.float64(VARIANCE_FLOOR),
        ),
        blocks=programs,
        threads=(shape.lanes, shape.sharing),
        shared=shape.shared,
    )  # fmt: skip
    return moments.sum(0)


def _together(rules: Tables, real: Any) -> tuple[Any, Any]:
    """What the kernel looks up at once: [targets, 2, queries, 4] of a rule, [targets, 2, models + 1, 2] by number."""
    student, keep, half = (
        each.expand_as(rules.above) for each in (rules.student[..., None], rules.keep[..., None], rules.half[..., :1])
    )
    by_rule = torch.stack((student, keep, rules.above, half), -1)
    return by_rule.to(real), torch.stack((rules.constant, rules.ratio), -1).to(real)


def _bool(value: bool) -> str:
    return "true" if value else "false"


class Block(NamedTuple):
    """Records of a block, threads that share one, models of a thread at most, bytes of shared memory."""

    lanes: int
    sharing: int
    run: int
    shared: int


def _tile(shadow: Any) -> int:
    """Bytes of a tile per model and record: the signal and its place in the mask."""
    return int(shadow.element_size()) + 1


def block_for(models: int, size: int, *, tiles: int, memory: int = MOST_SHARED) -> Block:
    """As many records, a power of two, as a block holds, for results of ``size`` bytes.

    ``tiles`` are the bytes per model and record in its shared memory, of which ``memory`` bytes are free.

    >>> block_for(256, 4, tiles=10)
    Block(lanes=32, sharing=8, run=32, shared=92160)
    >>> block_for(256, 4, tiles=10, memory=81 * 1024)  # an A100's half
    Block(lanes=16, sharing=8, run=32, shared=46080)
    >>> block_for(1024, 8, tiles=18).lanes
    4
    """
    sharing = max(SHARING, -(-models // RUN))
    run = max(4, 1 << (-(-models // sharing) - 1).bit_length())
    each = (10 + 8 * sharing) * size + 6 * 4 + tiles * run * sharing  # as `Shared` and `Tile` in the source lay it out
    lanes = LANES
    while lanes > 1 and (lanes * each > min(memory, MOST_SHARED) or lanes * sharing > MOST_THREADS):
        lanes //= 2
    return Block(lanes, sharing, run, lanes * each)
