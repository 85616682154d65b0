"""float32 rows as two float16 numbers each, for products on tensor cores that lose nothing float32 keeps.

A row is multiplied by the power of two that brings its largest number to [2^14, 2^15). Then a number is ``high + low``
within 2^-23 of itself, or within 2^-25 where it is smaller than 2^-2. A row with a number that is not finite has NaN
for a scale. Ootomo and Yokota 2022, "Recovering single precision accuracy from Tensor Cores while surpassing the FP32
theoretical peak performance".
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

#: Rows and numbers of a row that a program reads at once.
ROWS, LANES = 16, 128

#: Where the largest of a row's scaled sums is at least this, what the parts lost is 2^-22 of it or less: the sum of
#: `width` products loses about sqrt(width) 2^-11.
TRUSTED = tl.constexpr(2.0**20)


def scales_of(values: Any, scale: Any = None) -> Any:
    """What products of halves of rows [models, rows, width] are to be multiplied by: [models, rows or more] float32."""
    models, rows, width = values.shape
    scale = torch.empty(models, rows, device=values.device) if scale is None else scale
    scales_kernel[(triton.cdiv(scale.shape[1], ROWS), models)](
        values, scale, rows, width, scale.shape[1], *values.stride(), scale.stride(0), ROWS, LANES, num_warps=4
    )
    return scale


def halves(values: Any, high: Any, low: Any, scale: Any, rest: Any) -> None:
    """Splits values [models, rows, width], of any strides.

    ``high`` and ``low`` [models, rows or more, width or more] float16 are filled up with zeros, ``scale`` and ``rest``
    [models, rows or more] float32 too: what a product is to be multiplied by, and the largest |low|.
    """
    models, rows, width = values.shape
    scales_of(values, scale)
    halves_kernel[(triton.cdiv(high.shape[1], ROWS), models)](
        values, high, low, scale, rest, rows, width, *high.shape[1:], *values.stride(), *high.stride()[:2],
        scale.stride(0), ROWS, LANES, num_warps=4,
    )  # fmt: skip


@triton.jit
def scales_kernel(
    values, scale, rows, width, padded_rows, model_stride, row_stride, width_stride, scale_model_stride,
    ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    model, row = tl.program_id(1).to(tl.int64), tl.program_id(0) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    given = values + model * model_stride + row[:, None] * row_stride
    largest, broken = tl.zeros([ROWS, LANES], tl.float32), tl.zeros([ROWS, LANES], tl.int32)
    for first in range(0, width, LANES):
        at = (first + tl.arange(0, LANES)).to(tl.int64)[None, :]
        used = (row < rows)[:, None] & (at < width)
        value = tl.abs(tl.load(given + at * width_stride, mask=used, other=0.0).to(tl.float32))
        largest = tl.maximum(largest, value)
        broken |= (~(value < float("inf"))).to(tl.int32)
    _, smaller = scales(tl.max(largest, axis=1))
    smaller = tl.where(tl.max(broken, axis=1) == 0, smaller, float("nan"))
    tl.store(scale + model * scale_model_stride + row, smaller, mask=row < padded_rows)


@triton.jit
def halves_kernel(
    values, high, low, scale, rest, rows, width, padded_rows, padded_width, model_stride, row_stride, width_stride,
    half_model_stride, half_row_stride, scale_model_stride, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    model, row = tl.program_id(1).to(tl.int64), tl.program_id(0) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    given = values + model * model_stride + row[:, None] * row_stride
    to = model * half_model_stride + row[:, None] * half_row_stride
    to_row = model * scale_model_stride + row
    smaller = tl.load(scale + to_row, mask=row < padded_rows, other=0.0)
    larger, whole = inverse(smaller), smaller == smaller
    lost = tl.zeros([ROWS, LANES], tl.float32)
    for first in range(0, padded_width, LANES):
        at = (first + tl.arange(0, LANES)).to(tl.int64)[None, :]
        used = (row < rows)[:, None] & (at < width) & whole[:, None]
        value = tl.load(given + at * width_stride, mask=used, other=0.0).to(tl.float32)
        first_half, second_half = halve(value, larger[:, None])
        inside = (row < padded_rows)[:, None] & (at < padded_width)
        tl.store(high + to + at, first_half, mask=inside)
        tl.store(low + to + at, second_half, mask=inside)
        lost = tl.maximum(lost, tl.abs(second_half.to(tl.float32)))
    tl.store(rest + to_row, tl.max(lost, axis=1), mask=row < padded_rows)


@triton.jit
def scales(largest):
    """The power of two that brings the largest number of a row to [2^14, 2^15), and one over it; 0 for zeros."""
    exponent = tl.minimum(tl.maximum(largest.to(tl.int32, bitcast=True) >> 23, 15), 254)
    smaller = ((exponent - 14) << 23).to(tl.float32, bitcast=True)
    return ((268 - exponent) << 23).to(tl.float32, bitcast=True), tl.where(largest == 0.0, 0.0, smaller)


@triton.jit
def inverse(scale):
    """One over a power of two."""
    return ((254 << 23) - scale.to(tl.int32, bitcast=True)).to(tl.float32, bitcast=True)


@triton.jit
def large(size, scale, used):
    """Whether all of the largest scaled sums are large enough for halves, or of zeros."""
    return tl.max((used & ~(size >= TRUSTED) & (scale != 0.0)).to(tl.int32), axis=0) == 0


@triton.jit
def halve(value, larger):
    """Rounded to 11 bits as integers, for conversions from and to float16 are slow where they come one by one."""
    scaled = value * larger
    high = ((scaled.to(tl.int32, bitcast=True) + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    return high.to(tl.float16), (scaled - high).to(tl.float16)
