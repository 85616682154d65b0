"""What leaving every model out in turn needs on the device: are counts fixed, and what is a side without a signal."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

#: Models per chunk and records per program.
CHUNK, LANES = 32, 256


def fixed_counts(in_mask: Any) -> Any:
    """[1] int32 on the device: 1 if every record is IN the same number of models, some but not all, else 0.

    Blocks of records that come after the first other count has been seen are not read.
    """
    models, records = in_mask.shape
    if records == 0:
        return torch.zeros(1, dtype=torch.int32, device=in_mask.device)
    wanted = in_mask[:, 0].sum()
    fixed = ((wanted > 0) & (wanted < models)).to(torch.int32)[None]
    counts_kernel[(triton.cdiv(records, LANES),)](
        in_mask.view(torch.uint8), wanted, fixed, models, records, *in_mask.stride(), CHUNK, LANES, num_warps=8
    )
    return fixed


@triton.jit
def counts_kernel(
    in_mask, wanted, fixed, models, records, model_stride, record_stride, CHUNK: tl.constexpr, LANES: tl.constexpr
):
    """Clears ``fixed`` [1] if a record of the block is not IN ``wanted`` models."""
    if tl.load(fixed, volatile=True) != 0:
        record = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
        live = record < records
        counts = tl.zeros([CHUNK, LANES], tl.int32)
        for first in range(0, models, CHUNK):
            model = first + tl.arange(0, CHUNK).to(tl.int64)[:, None]
            at = in_mask + model * model_stride + record[None, :] * record_stride
            counts += (tl.load(at, mask=(model < models) & live[None, :], other=0) != 0).to(tl.int32)
        count = tl.sum(counts, axis=0)
        if tl.max((live & (count != tl.load(wanted))).to(tl.int32)) != 0:
            tl.store(fixed, 0)


@triton.jit
def describe(
    signal, mask, model_stride, mask_model_stride, models, length, live, real: tl.constexpr, ROWS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """Both sides' count, mean (near + rest, which loses no digits of x - near - rest) and squares about it: [LANES]."""
    begin = tl.arange(0, ROWS).to(tl.int64)[:, None] * length
    zero = tl.zeros([ROWS, LANES], real)
    count, sum_in, sum_out = tl.zeros([ROWS, LANES], tl.int32), zero, zero
    for step in range(length):
        model = begin + step
        used = (model < models) & live[None, :]
        x = tl.load(signal[None, :] + model * model_stride, mask=used, other=0.0).to(real)
        inside = tl.load(mask[None, :] + model * mask_model_stride, mask=used, other=0) != 0
        count += inside.to(tl.int32)
        sum_in += tl.where(inside, x, 0.0)
        sum_out += tl.where(inside, 0.0, x)
    n_in = tl.sum(count, axis=0)
    n_out = models - n_in
    near_in = (tl.sum(sum_in.to(tl.float64), axis=0) / tl.maximum(n_in, 1)).to(real)
    near_out = (tl.sum(sum_out.to(tl.float64), axis=0) / tl.maximum(n_out, 1)).to(real)
    sum_in, sum_out, squares_in, squares_out = zero, zero, zero, zero
    for step in range(length):
        model = begin + step
        used = (model < models) & live[None, :]
        x = tl.load(signal[None, :] + model * model_stride, mask=used, other=0.0).to(real)
        inside = tl.load(mask[None, :] + model * mask_model_stride, mask=used, other=0) != 0
        d = x - tl.where(inside, near_in[None, :], near_out[None, :])
        d_in, d_out = tl.where(used & inside, d, 0.0), tl.where(used & (inside == 0), d, 0.0)
        sum_in += d_in
        sum_out += d_out
        squares_in += d_in * d_in
        squares_out += d_out * d_out
    rest_in, squares_in = _about_mean(sum_in, squares_in, n_in)
    rest_out, squares_out = _about_mean(sum_out, squares_out, n_out)
    return n_in, near_in, rest_in, squares_in, n_out, near_out, rest_out, squares_out


@triton.jit
def _about_mean(sums, squares, n):
    """What is to be added to the pivot, and squares about that, from the rows' sums of distances from the pivot."""
    of_all, rest = tl.sum(squares.to(tl.float64), axis=0), tl.sum(sums.to(tl.float64), axis=0) / tl.maximum(n, 1)
    around = of_all - rest * rest * n
    return rest.to(sums.dtype), tl.where(around < 0, 0.0, around).to(sums.dtype)


@triton.jit
def first_after(
    signal, mask, model_stride, mask_model_stride, models, length, wanted, real: tl.constexpr, ROWS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """The first IN and the first OUT signal, cyclically, after every run of models, for the records that want them."""
    after = (tl.arange(0, ROWS).to(tl.int64)[:, None] + 1) * length
    after = tl.where(after < models, after, 0)
    lacks_in = (after >= 0) & wanted[None, :]
    lacks_out = lacks_in
    next_in, next_out = tl.zeros([ROWS, LANES], real), tl.zeros([ROWS, LANES], real)
    step = 0
    while (tl.max((lacks_in | lacks_out).to(tl.int32)) != 0) & (step < models):
        model = after + step
        model = tl.where(model < models, model, model - models)
        inside = tl.load(mask[None, :] + model * mask_model_stride, mask=lacks_in | lacks_out, other=0) != 0
        take_in, take_out = lacks_in & inside, lacks_out & (inside == 0)
        x = tl.load(signal[None, :] + model * model_stride, mask=take_in | take_out, other=0.0).to(real)
        next_in, next_out = tl.where(take_in, x, next_in), tl.where(take_out, x, next_out)
        lacks_in, lacks_out = lacks_in & (inside == 0), lacks_out & inside
        step += 1
    return next_in, next_out


@triton.jit
def without(
    x, y, gone, n, near, rest, squares, bit: tl.constexpr, signal, mask, model_stride, mask_model_stride, models, live
):
    """Distance of x from a side's mean, and its squares, without its signal y where that is ``gone``."""
    real = x.dtype
    others = tl.where(n > 1, n - 1, 1).to(real)
    less = tl.where(gone, (1 / others)[None, :], 0.0).to(real)
    d, e = x - near[None, :] - rest[None, :], y - near[None, :] - rest[None, :]
    distance = d + e * less
    left = squares[None, :] - tl.where(gone, e * e * (1 + less), 0.0)
    LEAST: tl.constexpr = 1e-5 if real == tl.float64 else 0.0625
    redo = gone & (n > 1)[None, :] & ((left < LEAST * squares[None, :]) | (tl.abs(y) == float("inf")) | (y != y))
    if tl.max(redo.to(tl.int32)) != 0:
        mean, around = _anew(y, near, n, bit, signal, mask, model_stride, mask_model_stride, models, live)
        distance = tl.where(redo, (x.to(tl.float64) - mean).to(real), distance)
        left = tl.where(redo, around.to(real), left)
    return distance, left


@triton.jit
def _anew(y, near, n, bit: tl.constexpr, signal, mask, model_stride, mask_model_stride, models, live):
    """A side's mean and squares about it without one signal y [ROWS, LANES], from its models one by one, in float64."""
    pivot = tl.where(tl.abs(near) < float("inf"), near, 0.0).to(tl.float64)[None, :]
    zero = y.to(tl.float64) * 0
    zero = tl.where(zero == 0, zero, 0.0)
    seen, total = zero > 0, zero
    for model in range(models):
        x = tl.load(signal + tl.cast(model, tl.int64) * model_stride, mask=live, other=0.0).to(y.dtype)[None, :]
        used = (tl.load(mask + tl.cast(model, tl.int64) * mask_model_stride, mask=live, other=0) == bit)[None, :]
        hit = used & ((x == y) | ((x != x) & (y != y)))
        total += tl.where(used & (seen | (hit == 0)), x.to(tl.float64) - pivot, 0.0)
        seen = seen | hit
    mean = pivot + total / tl.maximum(n - 1, 1)[None, :]
    seen, around = zero > 0, zero
    for model in range(models):
        x = tl.load(signal + tl.cast(model, tl.int64) * model_stride, mask=live, other=0.0).to(y.dtype)[None, :]
        used = (tl.load(mask + tl.cast(model, tl.int64) * mask_model_stride, mask=live, other=0) == bit)[None, :]
        hit = used & ((x == y) | ((x != x) & (y != y)))
        d = x.to(tl.float64) - mean
        around += tl.where(used & (seen | (hit == 0)), d * d, 0.0)
        seen = seen | hit
    return mean, around
