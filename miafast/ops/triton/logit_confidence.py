"""phi in one read of the logits: a tile of many records per program, or one record in chunks for many classes."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from miafast.ops.triton import rows


def logit_confidence(logits: Any, labels: Any) -> Any:
    """NaN where a label is not in [0, classes): labels on a device are not checked."""
    phi = rows.result(logits)
    for part, result in rows.parts(logits, phi):
        leads, records, classes = part.shape
        shape = (records, classes, *part.stride(), labels.stride(0))
        if (tile := rows.tile_of(part)) is not None:
            grid = (leads * triton.cdiv(records, tile.rows),)
            tile_kernel[grid](part, labels, result, *shape, classes, *tile, num_warps=4)
        else:
            aligned = 16 // part.element_size() if part.stride(2) == 1 else 1
            chunk_kernel[(leads * records,)](part, labels, result, *shape, rows.LANES, rows.DEEP, aligned, num_warps=4)
    return phi


@triton.jit
def tile_kernel(
    logits, labels, phi, records, classes, lead_stride, row_stride, class_stride, label_stride,
    CLASSES: tl.constexpr, ROWS: tl.constexpr, DEEP: tl.constexpr, LANES: tl.constexpr, DENSE: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """A tile [ROWS, DEEP, LANES] of logits [leads, records, classes]; ``phi`` is dense."""
    lead, first, row, live, column, label, known, at, at_label = places(
        logits, labels, records, lead_stride, row_stride, class_stride, label_stride, CLASSES, ROWS, DEEP, LANES, DENSE,
        WIDE,
    )  # fmt: skip
    real = phi.dtype.element_ty
    of_label = tl.load(at_label, mask=live, other=0.0).to(real)
    others = tl.load(at, mask=live[:, None, None] & (column < CLASSES), other=-float("inf")).to(real)
    others = tl.where(column == label[:, None, None], -float("inf"), others)
    largest = largest_of(others)
    total = sum_of(tl.exp(others - or_zero(largest)[:, None, None]))
    tl.store(phi + lead * records + first + row, phi_of(of_label, largest, total, known), mask=live)


@triton.jit
def places(
    logits, labels, records, lead_stride, row_stride, class_stride, label_stride, CLASSES: tl.constexpr,
    ROWS: tl.constexpr, DEEP: tl.constexpr, LANES: tl.constexpr, DENSE: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The program's lead, first record, rows and which are live, columns, labels and which are known, and pointers."""
    blocks = tl.cdiv(records, ROWS)
    program = tl.program_id(0).to(tl.int64)
    lead, first = program // blocks, (program % blocks) * ROWS
    row = tl.arange(0, ROWS)
    column = tl.arange(0, DEEP)[None, :, None] * LANES + tl.arange(0, LANES)[None, None, :]
    if WIDE:
        row, column = row.to(tl.int64), column.to(tl.int64)
    live = row < tl.minimum(records - first, ROWS)
    label = tl.load(labels + first * label_stride + row.to(tl.int64) * label_stride, mask=live, other=0).to(tl.int64)
    known = (label >= 0) & (label < CLASSES)
    label = tl.where(known, label, 0).to(column.dtype)
    if DENSE:
        base = logits + lead * lead_stride + first * CLASSES
        at, at_label = base + row[:, None, None] * CLASSES + column, base + row * CLASSES + label
    else:
        base = logits + lead * lead_stride + first * row_stride
        at = base + row[:, None, None] * row_stride + column * class_stride
        at_label = base + row * row_stride + label * class_stride
    return lead, first, row, live, column, label, known, at, at_label


@triton.jit
def largest_of(tile):
    """Of each row of a tile [ROWS, DEEP, LANES]."""
    return tl.max(tl.max(tile, axis=1), axis=1)


@triton.jit
def sum_of(tile):
    """Of each row of a tile [ROWS, DEEP, LANES]."""
    return tl.sum(tl.sum(tile, axis=1), axis=1)


@triton.jit
def chunk_kernel(
    logits, labels, phi, records, classes, lead_stride, row_stride, class_stride, label_stride,
    LANES: tl.constexpr, DEEP: tl.constexpr, ALIGNED: tl.constexpr,
):  # fmt: skip
    """One record of logits [leads, records, classes], read in chunks that begin on ALIGNED elements."""
    program = tl.program_id(0).to(tl.int64)
    lead, row = program // records, program % records
    label = tl.load(labels + row * label_stride).to(tl.int64)
    known = (label >= 0) & (label < classes)
    label = tl.where(known, label, 0)
    real = phi.dtype.element_ty
    begin = lead * lead_stride + row * row_stride
    of_label = tl.load(logits + begin + label * class_stride).to(real)
    skip = begin % ALIGNED
    end = skip + classes  # places are counted from an aligned one, at or before the record
    base = logits + tl.multiple_of(begin - skip, ALIGNED)
    place = (tl.arange(0, DEEP)[:, None] * LANES + tl.arange(0, LANES)[None, :]).to(tl.int64)
    step: tl.constexpr = DEEP * LANES
    largest = tl.full([LANES], -float("inf"), real)
    total = tl.zeros([LANES], real)
    used = (place >= skip) & (place < end)
    z = tl.load(base + place * class_stride, mask=used, other=0.0).to(real)
    largest, total = _fold(largest, total, tl.where(used & (place - skip != label), z, -float("inf")))
    for start in range(step, end - step + 1, step):
        z = tl.load(base + (start + place) * class_stride).to(real)
        largest, total = _fold(largest, total, tl.where(start + place - skip != label, z, -float("inf")))
    start = tl.maximum(end // step * step, step)
    used = start + place < end
    z = tl.load(base + (start + place) * class_stride, mask=used, other=0.0).to(real)
    largest, total = _fold(largest, total, tl.where(used & (start + place - skip != label), z, -float("inf")))
    top = tl.max(largest, axis=0)
    total = tl.sum(total * tl.exp(largest - or_zero(top)), axis=0)
    tl.store(phi + lead * records + row, phi_of(of_label, top, total, known))


@triton.jit
def _fold(largest, total, z):
    """Every lane's running maximum and sum with its next classes, z [DEEP, LANES]: one rescaling for all of them."""
    top = tl.maximum(largest, tl.max(z, axis=0))
    offset = or_zero(top)
    return top, total * tl.exp(largest - offset) + tl.sum(tl.exp(z - offset[None, :]), axis=0)


@triton.jit
def or_zero(value):
    """The value where it is finite, else 0: infinity less itself would be NaN."""
    return tl.where(tl.abs(value) < float("inf"), value, 0.0)


@triton.jit
def phi_of(of_label, largest, total, known):
    """phi of the label's logit, the largest other and the sum of exp(others - largest), NaN if a logit was NaN."""
    difference = of_label - largest
    limit = tl.where(total == total, difference, float("nan"))
    value = tl.where(tl.abs(largest) < float("inf"), difference - tl.log(total), limit)
    return tl.where(known, value, float("nan"))
