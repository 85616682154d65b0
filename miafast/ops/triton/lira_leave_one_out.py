"""LiRA of every model in turn: one pass for the priors of all targets, where a rule has one, and one for the scores.

A program holds a block of records for all models, which it reads a few times: once from memory, then from cache. Its
models are split into ROWS runs that are walked side by side, from the last model of each to the first, so that the next
model on the other side, which is left out as well where counts are fixed, is always at hand. Sums are of distances from
a pivot close to the mean; a side without one signal follows from its sums, or, where little would be left of them, is
added up anew. Nothing waits for the device.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from miafast.ops.triton.left_out import describe, first_after, fixed_counts, without
from miafast.ops.triton.lira import POOLINGS, log_e, ranked, term, verdict_of
from miafast.ops.triton.lira_rules import Tables, log_variance_shift, priors_of, tables
from miafast.ops.variance_prior import VARIANCE_FLOOR

#: Runs of models and records per program, of 16 warps so that a thread's numbers fit 128 registers; numbers sorted per
#: program; most programs that keep sums of their own.
ROWS, LANES, SORTED, PROGRAMS = 32, 32, 8192, 1024


def lira_leave_one_out(
    shadow: Any,
    in_mask: Any,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Any:
    """NaN everywhere, not an error, where in_mask has no model on a side that the mode needs."""
    models, records, _ = shadow.shape
    real = torch.float64 if shadow.dtype == torch.float64 else torch.float32
    scores = torch.empty(in_mask.shape, dtype=real, device=shadow.device)
    if records == 0:
        return scores
    same = fixed_counts(in_mask)
    rules = rules_of(shadow, in_mask, same, mode, variance)
    columns = triton.next_power_of_2(models)
    lanes = max(1, min(LANES, SORTED // columns)) if center == "median" else LANES
    scores_kernel[(triton.cdiv(records, lanes),)](
        shadow, in_mask.view(torch.uint8), same, *(each.to(real) for each in rules), scores,
        *_shape(shadow, in_mask), 0 if variance == "per-record" else 2, VARIANCE_FLOOR, verdict_of(mode, tail),
        variance == "shrunken", center == "median", ROWS, lanes, columns, num_warps=16,
    )  # fmt: skip
    return scores


def rules_of(shadow: Any, in_mask: Any, same: Any, mode: str, variance: str) -> Tables:
    """Tables [targets, 2 (in, out), ...] of every target's priors; one target's where a rule has no prior."""
    models, records, queries = shadow.shape
    own = variance == "per-record"
    programs = 1 if own else min(triton.cdiv(records, LANES), PROGRAMS)
    moments = torch.zeros(programs, 1 if own else models, 2, queries, 4, dtype=torch.float64, device=shadow.device)
    if not own:
        moments_kernel[(programs,)](
            shadow, in_mask.view(torch.uint8), same, *log_variance_shift(models, shadow.device), moments,
            *_shape(shadow, in_mask), VARIANCE_FLOOR, POOLINGS[variance], shadow.dtype == torch.float64, ROWS, LANES,
            num_warps=16,
        )  # fmt: skip
    return tables(priors_of(moments.sum(0), variance, mode), variance, models)


def _shape(shadow: Any, in_mask: Any) -> tuple[int, ...]:
    models, records, queries = shadow.shape
    return models, triton.cdiv(models, ROWS), records, queries, *shadow.stride(), *in_mask.stride()


@triton.jit
def scores_kernel(
    shadow, in_mask, same, student, keep, above, constant, ratio, half, scores, models, length, records, queries,
    model_stride, record_stride, query_stride, mask_model_stride, mask_record_stride, target_stride,
    FLOOR: tl.constexpr, VERDICT: tl.constexpr, STUDENT: tl.constexpr, MEDIAN: tl.constexpr, ROWS: tl.constexpr,
    LANES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Scores [models, records] of a block of records; ``target_stride``: rows of the tables per target."""
    real = scores.dtype.element_ty
    record = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    live = record < records
    mask = in_mask + record * mask_record_stride
    balanced = tl.load(same + tl.zeros([LANES], tl.int32)) != 0
    begin = tl.arange(0, ROWS).to(tl.int64)[:, None] * length
    for query in range(queries):
        signal = shadow + query * query_stride + record * record_stride
        n_in, near_in, rest_in, squares_in, n_out, near_out, rest_out, squares_out = describe(
            signal, mask, model_stride, mask_model_stride, models, length, live, real, ROWS, LANES
        )
        if MEDIAN:
            in_1, in_2, in_3 = _middle(
                signal, mask, model_stride, mask_model_stride, models, live, n_in, 1, real, COLUMNS
            )
            out_1, out_2, out_3 = _middle(
                signal, mask, model_stride, mask_model_stride, models, live, n_out, 0, real, COLUMNS
            )
        next_in, next_out = first_after(
            signal, mask, model_stride, mask_model_stride, models, length, live & balanced, real, ROWS, LANES
        )
        for step in range(length - 1, -1, -1):
            model = begin + step
            used = (model < models) & live[None, :]
            x = tl.load(signal[None, :] + model * model_stride, mask=used, other=0.0).to(real)
            inside = tl.load(mask[None, :] + model * mask_model_stride, mask=used, other=0) != 0
            gone = used & (inside | balanced[None, :])
            gone_out = used & ((inside == 0) | balanced[None, :])
            y, y_out = tl.where(inside, x, next_in), tl.where(inside, next_out, x)
            rule = tl.where(model < models, model, 0) * target_stride
            d, s = without(
                x, y_out, gone_out, n_out, near_out, rest_out, squares_out, 0,
                signal, mask, model_stride, mask_model_stride, models, live,
            )  # fmt: skip
            if MEDIAN:
                d = _from_median(x, y_out, gone_out, n_out, out_1, out_2, out_3).to(real)
            score = term(
                d, s, n_out[None, :] - gone_out.to(tl.int32), rule + 1, query, student, keep, above, constant, ratio,
                half, models, queries, FLOOR, VERDICT, STUDENT,
            )  # fmt: skip
            if VERDICT == 0:
                d, s = without(
                    x, y, gone, n_in, near_in, rest_in, squares_in, 1,
                    signal, mask, model_stride, mask_model_stride, models, live,
                )  # fmt: skip
                if MEDIAN:
                    d = _from_median(x, y, gone, n_in, in_1, in_2, in_3).to(real)
                score = term(
                    d, s, n_in[None, :] - gone.to(tl.int32), rule, query, student, keep, above, constant, ratio,
                    half, models, queries, FLOOR, VERDICT, STUDENT,
                ) - score  # fmt: skip
            if VERDICT == 2:
                score = -score
            to = scores + model * records + record[None, :]
            if query > 0:
                score += tl.load(to, mask=used, other=0.0)
            tl.store(to, tl.where(query + 1 == queries, score / queries, score), mask=used)
            next_in, next_out = tl.where(used & inside, x, next_in), tl.where(used & (inside == 0), x, next_out)


@triton.jit
def moments_kernel(
    shadow, in_mask, same, shift, sampling, moments, models, length, records, queries,
    model_stride, record_stride, query_stride, mask_model_stride, mask_record_stride,
    FLOOR: tl.constexpr, POOLING: tl.constexpr, DOUBLE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """moments [programs, models, 2, queries, 4]: every program's own sums over its blocks of records, in order."""
    real: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    balanced = tl.load(same + tl.zeros([LANES], tl.int32)) != 0
    pivot = tl.load(shadow).to(tl.float64)
    pivot = tl.where(tl.abs(pivot) < float("inf"), pivot, 0.0)
    begin = tl.arange(0, ROWS).to(tl.int64)[:, None] * length
    own = moments + tl.program_id(0).to(tl.int64) * models * 8 * queries
    for block in range(tl.program_id(0), tl.cdiv(records, LANES), tl.num_programs(0)):
        record = tl.cast(block, tl.int64) * LANES + tl.arange(0, LANES)
        live = record < records
        mask = in_mask + record * mask_record_stride
        for query in range(queries):
            signal = shadow + query * query_stride + record * record_stride
            n_in, near_in, rest_in, squares_in, n_out, near_out, rest_out, squares_out = describe(
                signal, mask, model_stride, mask_model_stride, models, length, live, real, ROWS, LANES
            )
            next_in, next_out = first_after(
                signal, mask, model_stride, mask_model_stride, models, length, live & balanced, real, ROWS, LANES
            )
            for step in range(length - 1, -1, -1):
                model = begin + step
                used = (model < models) & live[None, :]
                x = tl.load(signal[None, :] + model * model_stride, mask=used, other=0.0).to(real)
                inside = tl.load(mask[None, :] + model * mask_model_stride, mask=used, other=0) != 0
                to = tl.reshape(own + (model * 2 * queries + query) * 4, [ROWS])
                counted = tl.reshape(model < models, [ROWS])
                for side in tl.static_range(2):  # 0 is IN, as everywhere in tables
                    n = n_in if side == 0 else n_out
                    near, rest = (near_in, rest_in) if side == 0 else (near_out, rest_out)
                    squares = squares_in if side == 0 else squares_out
                    gone = used & ((inside == (1 - side)) | balanced[None, :])
                    y = tl.where(inside == (1 - side), x, next_in if side == 0 else next_out)
                    close = tl.where(tl.abs(near) < float("inf"), near, 0.0)[None, :]
                    d, s = without(
                        close, y, gone, n, near, rest, squares, 1 - side,
                        signal, mask, model_stride, mask_model_stride, models, live,
                    )  # fmt: skip
                    count, mean = n[None, :] - gone.to(tl.int32), close.to(tl.float64) - d.to(tl.float64)
                    _add_moments(
                        to + side * queries * 4, counted, used, count, s, mean - pivot, shift, sampling, FLOOR, POOLING,
                    )  # fmt: skip
                next_in, next_out = tl.where(used & inside, x, next_in), tl.where(used & (inside == 0), x, next_out)


@triton.jit
def _add_moments(to, counted, used, count, squares, away, shift, sampling, FLOOR: tl.constexpr, POOLING: tl.constexpr):
    """Adds one side's moments over the records to ``to`` [ROWS], which no other program adds to."""
    n, around = count.to(tl.float64), squares.to(tl.float64)
    if POOLING == 1:
        known = used & (count > 1)
        tl.atomic_add(to, tl.sum(tl.where(known, n - 1, 0.0), axis=1), mask=counted, sem="relaxed")
        tl.atomic_add(to + 1, tl.sum(tl.where(used & (count > 0), around, 0.0), axis=1), mask=counted, sem="relaxed")
    if POOLING == 2:
        known = used & (count > 1)
        e = tl.where(known, log_e(squares, tl.where(used, count, 0), shift, FLOOR).to(tl.float64), 0.0)
        of_chance = tl.load(sampling + count, mask=known, other=0.0)
        tl.atomic_add(to, tl.sum(known.to(tl.float64), axis=1), mask=counted, sem="relaxed")
        tl.atomic_add(to + 1, tl.sum(e, axis=1), mask=counted, sem="relaxed")
        tl.atomic_add(to + 2, tl.sum(e * e, axis=1), mask=counted, sem="relaxed")
        tl.atomic_add(to + 3, tl.sum(of_chance, axis=1), mask=counted, sem="relaxed")
    if POOLING == 3:
        known = used & (count > 0)
        n, away, around = tl.where(known, n, 0.0), tl.where(known, away, 0.0), tl.where(known, around, 0.0)
        tl.atomic_add(to, tl.sum(n, axis=1), mask=counted, sem="relaxed")
        tl.atomic_add(to + 1, tl.sum(n * away, axis=1), mask=counted, sem="relaxed")
        tl.atomic_add(to + 2, tl.sum(around + n * away * away, axis=1), mask=counted, sem="relaxed")


@triton.jit
def _middle(
    signal, mask, model_stride, mask_model_stride, models, live, n, bit: tl.constexpr, real: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    """A side's signals of the ranks (n - 2) // 2 and the two after it, in float64."""
    x, model = ranked(signal, mask, model_stride, mask_model_stride, models, live, bit, real, COLUMNS)
    low = tl.where(n > 1, n - 2, 0)[:, None] // 2
    first = tl.sum(tl.where(model == low, x, 0.0), axis=1)
    second = tl.sum(tl.where(model == low + 1, x, 0.0), axis=1)
    return first, second, tl.sum(tl.where(model == low + 2, x, 0.0), axis=1)


@triton.jit
def _from_median(x, y, gone, n, first, second, third):
    """Distance, in float64, of x from a side's median, of what is left without y where that is ``gone``."""
    a, b, c = first[None, :], second[None, :], third[None, :]
    odd = (n % 2 == 1)[None, :]
    alone = (n == 1)[None, :]
    y = y.to(tl.float64)
    low = tl.where(y <= a, b, a)
    high = tl.where(odd, tl.where(y <= b, c, b), low)
    whole = tl.where(odd, tl.where(alone, a, b), a / 2 + b / 2)
    return x.to(tl.float64) - tl.where(gone, low / 2 + high / 2, whole)
