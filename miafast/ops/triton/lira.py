"""LiRA of one target: every signal read once, then a prior from sums over the records, then the scores.

One lane is one record, which walks through its models alone. A side's sums are of distances from its own first signal,
which is at most √models of the side's deviations from its mean, whatever the signals: so few digits are lost. CHUNK
models are added up in the scores' type, chunks in float64. Sums over records are taken per block and then over the
blocks, always in the same order. Nothing waits for the device: the prior is computed there (`lira_rules`).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from miafast.ops.lira_tables import POOLING
from miafast.ops.triton.lira_rules import log_variance_shift, priors_of, tables
from miafast.ops.triton.student_t import log1p, log_normal_cdf, log_student_cdf
from miafast.ops.variance_prior import VARIANCE_FLOOR

#: Models whose signals are asked for together, and records per program; for medians, numbers sorted per program.
CHUNK, LANES, SORTED = 16, 256, 4096

#: Variance rule -> what kernels add up over the records, as a number.
POOLINGS = {rule: ("none", "squares", "log_squares", "total").index(pooling) for rule, pooling in POOLING.items()}


def verdict_of(mode: str, tail: str) -> int:
    """0: log densities of IN less OUT; 1: OUT's lower tail; 2: minus OUT's log density."""
    if mode == "online":
        return 0
    return 1 if tail == "one-sided" else 2


def lira(
    target: Any,
    shadow: Any,
    in_mask: Any,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Any:
    """NaN everywhere, not an error, where in_mask has no model on a side that the mode needs."""
    models, records, queries = shadow.shape
    real = torch.float64 if torch.float64 in (target.dtype, shadow.dtype) else torch.float32
    scores = torch.empty(records, dtype=real, device=shadow.device)
    if records == 0:
        return scores
    columns = triton.next_power_of_2(models)
    median = center == "median"
    lanes = max(1, min(LANES, SORTED // columns)) if median else LANES
    blocks = triton.cdiv(records, lanes)
    distance, squares = (torch.empty(2, queries, records, dtype=real, device=shadow.device) for _ in range(2))
    counts = torch.empty(2, records, dtype=torch.int32, device=shadow.device)
    moments = torch.zeros(2, queries, 4, blocks, dtype=torch.float64, device=shadow.device)
    sides_kernel[(blocks * queries,)](
        target, shadow, in_mask.view(torch.uint8), distance, squares, counts, moments,
        *log_variance_shift(models, shadow.device), models, records, queries, blocks,
        *target.stride(), *shadow.stride(), *in_mask.stride(), VARIANCE_FLOOR,
        POOLINGS[variance], median, CHUNK, lanes, columns, num_warps=4,
    )  # fmt: skip
    rules = tables(priors_of(moments.sum(-1), variance, mode), variance, models)
    scores_kernel[(triton.cdiv(records, LANES),)](
        distance, squares, counts, *rules, scores, models, records, queries, VARIANCE_FLOOR, verdict_of(mode, tail),
        variance == "shrunken", LANES, num_warps=4,
    )  # fmt: skip
    return scores


@triton.jit
def sides_kernel(
    target, shadow, in_mask, distance, squares, counts, moments, shift, sampling, models, records, queries, blocks,
    target_record_stride, target_query_stride, model_stride, record_stride, query_stride, mask_model_stride,
    mask_record_stride, FLOOR: tl.constexpr,
    POOLING: tl.constexpr, MEDIAN: tl.constexpr, CHUNK: tl.constexpr, LANES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One query of a block of records: both sides' distance from the target, squares, counts, and block sums."""
    program = tl.program_id(0).to(tl.int64)
    block, query = program // queries, program % queries
    record = block * LANES + tl.arange(0, LANES).to(tl.int64)
    live = record < records
    signal = shadow + query * query_stride + record * record_stride
    mask = in_mask + record * mask_record_stride
    of_target = tl.load(target + record * target_record_stride + query * target_query_stride, mask=live, other=0.0)
    real: tl.constexpr = distance.dtype.element_ty
    nothing, zero = tl.full([LANES], float("nan"), real), tl.zeros([LANES], tl.float64)
    inside_count, in_first, out_first = tl.zeros([LANES], tl.int32), nothing, nothing
    in_sum, in_squares, out_sum, out_squares = zero, zero, zero, zero
    whole = models // CHUNK * CHUNK
    for begin in range(0, whole, CHUNK):
        part = tl.zeros([LANES], real)
        in_part, in_part_squares, out_part, out_part_squares = part, part, part, part
        for after in tl.static_range(CHUNK):
            model = tl.cast(begin + after, tl.int64)
            x = tl.load(signal + model * model_stride, mask=live, other=0.0).to(real)
            inside = tl.load(mask + model * mask_model_stride, mask=live, other=0) != 0
            in_first, out_first, d = _from_first(in_first, out_first, x, inside)
            d_in, d_out = tl.where(inside, d, 0.0), tl.where(inside, 0.0, d)
            inside_count += inside.to(tl.int32)
            in_part, in_part_squares = in_part + d_in, in_part_squares + d_in * d_in
            out_part, out_part_squares = out_part + d_out, out_part_squares + d_out * d_out
        in_sum, in_squares = in_sum + in_part, in_squares + in_part_squares
        out_sum, out_squares = out_sum + out_part, out_squares + out_part_squares
    for last in range(whole, models):
        model = tl.cast(last, tl.int64)
        x = tl.load(signal + model * model_stride, mask=live, other=0.0).to(real)
        inside = tl.load(mask + model * mask_model_stride, mask=live, other=0) != 0
        in_first, out_first, d = _from_first(in_first, out_first, x, inside)
        d_in, d_out = tl.where(inside, d, 0.0).to(tl.float64), tl.where(inside, 0.0, d).to(tl.float64)
        inside_count += inside.to(tl.int32)
        in_sum, in_squares = in_sum + d_in, in_squares + d_in * d_in
        out_sum, out_squares = out_sum + d_out, out_squares + d_out * d_out
    in_count, out_count = inside_count, tl.where(live, models - inside_count, 0)
    pivot = tl.load(shadow).to(tl.float64)
    pivot = tl.where(tl.abs(pivot) < float("inf"), pivot, 0.0)
    for side in tl.static_range(2):
        count = (in_count if side == 0 else out_count).to(tl.float64)
        rest = (in_sum if side == 0 else out_sum) / tl.maximum(count, 1.0)
        mean = (in_first if side == 0 else out_first).to(tl.float64) + rest
        around = (in_squares if side == 0 else out_squares) - rest * rest * count
        around = tl.where(around < 0, 0.0, around)
        center = mean
        if MEDIAN:
            x, model = ranked(signal, mask, model_stride, mask_model_stride, models, live, 1 - side, real, COLUMNS)
            whole = count.to(tl.int64)[:, None]
            low = tl.sum(tl.where(model == (whole - 1) // 2, x, 0.0), axis=1)
            center = low / 2 + tl.sum(tl.where(model == whole // 2, x, 0.0), axis=1) / 2
        center = tl.where(count > 0, center, float("nan"))
        at = (side * queries + query) * records + record
        tl.store(distance + at, of_target.to(tl.float64) - center, mask=live)
        tl.store(squares + at, around, mask=live)
        tl.store(counts + side * records + record, count.to(tl.int32), mask=live)
        sums = moments + (side * queries + query) * 4 * blocks + block
        if POOLING == 1:
            tl.store(sums, tl.sum(tl.where(count > 1, count - 1, 0.0), axis=0))
            tl.store(sums + blocks, tl.sum(around, axis=0))
        if POOLING == 2:
            known = count >= 2
            e = tl.where(known, log_e(around, count.to(tl.int64), shift, FLOOR), 0.0)
            tl.store(sums, tl.sum(known.to(tl.float64), axis=0))
            tl.store(sums + blocks, tl.sum(e, axis=0))
            tl.store(sums + 2 * blocks, tl.sum(e * e, axis=0))
            tl.store(sums + 3 * blocks, tl.sum(tl.load(sampling + count.to(tl.int64)), axis=0))
        if POOLING == 3:
            away = tl.where(count > 0, mean - pivot, 0.0)
            tl.store(sums, tl.sum(count, axis=0))
            tl.store(sums + blocks, tl.sum(count * away, axis=0))
            tl.store(sums + 2 * blocks, tl.sum(around + count * away * away, axis=0))


@triton.jit
def _from_first(in_first, out_first, x, inside):
    """Both sides' first signal, NaN before there is one, and the distance of x from that of its own side."""
    own = tl.where(inside, in_first, out_first)
    own = tl.where(own == own, own, x)
    return tl.where(inside, own, in_first), tl.where(inside, out_first, own), x - own


@triton.jit
def ranked(
    signal, mask, model_stride, mask_model_stride, models, live, bit: tl.constexpr, real: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    """A side's signals [LANES, COLUMNS], ascending, infinities after them, in float64; and every place's rank.

    NaN counts as infinity: what `tl.sort` compares with it stays unsorted.
    """
    model = tl.arange(0, COLUMNS).to(tl.int64)[None, :]
    used = (model < models) & live[:, None]
    x = tl.load(signal[:, None] + model * model_stride, mask=used, other=0.0).to(real)
    inside = tl.load(mask[:, None] + model * mask_model_stride, mask=used, other=1 - bit) == bit
    return tl.sort(tl.where(used & inside & (x == x), x, float("inf")), dim=1).to(tl.float64), model


@triton.jit
def log_e(squares, n, shift, FLOOR: tl.constexpr):
    """e of `variance_prior.LogMoments`; NaN for squares that are NaN."""
    lowest = tl.zeros_like(squares) + FLOOR
    return tl.log(tl.where(squares > lowest, squares, lowest)) + tl.load(shift + n) + 0 * squares


@triton.jit
def scores_kernel(
    distance, squares, counts, student, keep, above, constant, ratio, half, scores, models, records, queries,
    FLOOR: tl.constexpr, VERDICT: tl.constexpr, STUDENT: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Scores of a block of records from both sides (online) or OUT alone, averaged over the queries."""
    record = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    live = record < records
    total = tl.zeros([LANES], tl.float64)
    for query in range(queries):
        at = (record * 0 + queries + query) * records + record
        d, s = tl.load(distance + at, mask=live, other=0.0), tl.load(squares + at, mask=live, other=0.0)
        n = tl.load(counts + records + record, mask=live, other=0)
        of_out = term(
            d.to(tl.float64), s.to(tl.float64), n, 1, query, student, keep, above, constant, ratio, half, models,
            queries, FLOOR, VERDICT, STUDENT,
        )  # fmt: skip
        if VERDICT == 0:
            at = (record * 0 + query) * records + record
            d, s = tl.load(distance + at, mask=live, other=0.0), tl.load(squares + at, mask=live, other=0.0)
            n = tl.load(counts + record, mask=live, other=0)
            total -= of_out
            total += term(
                d.to(tl.float64), s.to(tl.float64), n, 0, query, student, keep, above, constant, ratio, half, models,
                queries, FLOOR, VERDICT, STUDENT,
            )  # fmt: skip
        elif VERDICT == 1:
            total += of_out
        else:
            total -= of_out
    tl.store(scores + record, total / queries, mask=live)


@triton.jit
def term(
    d, s, n, rule, query, student, keep, above, constant, ratio, half, models, queries,
    FLOOR: tl.constexpr, VERDICT: tl.constexpr, STUDENT: tl.constexpr,
):  # fmt: skip
    """log density, or log P[at most the target's signal], by a row of the tables; NaN for a distance not finite."""
    real = d.dtype
    at = rule * (models + 1) + n
    of_ratio, of_constant = tl.load(ratio + at).to(real), tl.load(constant + at).to(real)
    scale = tl.load(keep + rule).to(real) * s + tl.load(above + rule * queries + query).to(real)
    lowest = tl.zeros_like(scale) + FLOOR
    scale = tl.where(scale > lowest, scale, lowest) + 0 * scale
    if STUDENT:  # half the degrees of freedom and one; none where there is no Student
        of_half = tl.where(tl.load(student + rule) != 0, tl.load(half + rule * (models + 1)) + 0.5 * n, 0.0).to(real)
    if VERDICT == 1:
        z = d * tl.sqrt(of_ratio / scale)
        value = log_normal_cdf(z)
        if STUDENT:
            dof = (2 * of_half - 1).to(tl.float64)
            log_beta = 0.5 * tl.log(of_ratio.to(tl.float64)) - of_constant
            tail = log_student_cdf(z.to(tl.float64) * tl.sqrt(tl.maximum(dof, 0.0)), dof / 2, log_beta)
            value = tl.where(of_half > 0, tail.to(real), value)
        return value + (d - d) + 0 * of_constant
    z = d * d * of_ratio / scale
    penalty = 0.5 * z
    if STUDENT:
        penalty = tl.where(of_half > 0, of_half * log1p(z), penalty)
    return of_constant - 0.5 * tl.log(scale) + (d - d) - penalty
