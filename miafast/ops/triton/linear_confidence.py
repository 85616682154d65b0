"""phi of a linear layer's outputs, whose logits exist only in registers: a tile of records against tiles of classes.

Every program keeps, per record, the largest logit before and after the label, the sum of exp(logit - largest) without
the label, and the label's own. The classes are split over several programs where records alone would be too few, and
the parts merged. Products of two inputs of one half type are exact in float32 and run on tensor cores; others run there
as halves (see `halves`), or are float32 products where halves would not do. float64, which has no such tiles, goes
block by block through PyTorch's products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from miafast.ops.linear_confidence import Confidence
from miafast.ops.triton.halves import halve, inverse, large, scales_of
from miafast.ops.triton.logit_confidence import or_zero, phi_of
from miafast.ops.triton.signals import signals


class Tile(NamedTuple):
    """Records, classes and width of a program's tile, the warps that share it, steps read ahead, registers at most."""

    records: int
    classes: int
    width: int
    warps: int
    stages: int
    registers: int | None


#: For products of half types and of float32; programs to aim at; records per program that merges; logits in float64.
HALF, SINGLE, PROGRAMS, LANES, LOGITS = Tile(128, 128, 64, 8, 3, None), Tile(128, 64, 32, 8, 3, None), 1024, 256, 2**24

#: Types whose products with their own are exact in float32 and what tensor cores are for.
TENSOR_CORES = (torch.float16, torch.bfloat16)


def linear_confidence(features: Any, weight: Any, bias: Any, labels: Any) -> Confidence:
    """NaN, and not correct, where a label is not in [0, classes): labels on a device are not checked."""
    given = [features, weight] if bias is None else [features, weight, bias]
    models = next((len(each) for each in given if each.ndim == (2 if each is bias else 3)), None)
    shape = (len(labels),) if models is None else (models, len(labels))
    real = torch.float64 if any(each.dtype == torch.float64 for each in given) else torch.float32
    phi = torch.empty(shape, dtype=real, device=features.device)
    correct = torch.empty(shape, dtype=torch.bool, device=features.device)
    if phi.numel() == 0:
        return Confidence(phi, correct)
    if real == torch.float64:
        return _in_blocks(features, weight, bias, labels, Confidence(phi, correct))
    exact = features.dtype == weight.dtype and weight.dtype in TENSOR_CORES
    tile = HALF if exact else SINGLE
    records, (classes, width), models = len(labels), weight.shape[-2:], models or 1
    tile = tile._replace(classes=min(tile.classes, max(16, triton.next_power_of_2(classes))))
    tiles = triton.cdiv(records, tile.records)
    splits = min(triton.cdiv(classes, tile.classes), max(1, PROGRAMS // (tiles * models)))
    run = triton.cdiv(triton.cdiv(classes, tile.classes), splits) * tile.classes
    scales = [each if exact else scales_of(each if each.ndim == 3 else each[None]) for each in given[:2]]
    found = torch.empty(4, models, splits, records, dtype=real, device=features.device)
    parts_kernel[(tiles * splits * models,)](
        features, weight, weight if bias is None else bias, labels, found, records, classes, width, tiles, splits, run,
        *_strides(features, 2), *_strides(weight, 2), *((0, 0) if bias is None else _strides(bias, 1)),
        labels.stride(0), *scales, *(each.stride(0) if len(each) > 1 else 0 for each in scales),
        bias is not None, exact, *tile[:3],
        num_warps=tile.warps, num_stages=tile.stages, maxnreg=tile.registers,
    )  # fmt: skip
    merge_kernel[(triton.cdiv(records, LANES), models)](
        found, labels, phi, correct, records, classes, splits, labels.stride(0), LANES, num_warps=4
    )
    return Confidence(phi, correct)


def _strides(array: Any, plain: int) -> tuple[int, ...]:
    """With a models axis in front, whose stride is 0 where all models share the array."""
    return tuple(array.stride()) if array.ndim > plain else (0, *array.stride())


def _in_blocks(features: Any, weight: Any, bias: Any, labels: Any, result: Confidence) -> Confidence:
    matrix = weight.double().mT
    step = max(1, LOGITS // (matrix.shape[-1] * (len(result.phi) if result.phi.ndim == 2 else 1)))
    for begin in range(0, len(labels), step):
        block = slice(begin, begin + step)
        logits = features[..., block, :].double() @ matrix
        if bias is not None:
            logits = logits + bias.double()[..., None, :]
        measured = signals(logits, labels[block])
        result.phi[..., block], result.correct[..., block] = measured.phi, measured.correct
    return result


@triton.jit
def parts_kernel(
    features, weight, bias, labels, found, records, classes, width, tiles, splits, run,
    features_model_stride, features_record_stride, features_width_stride, weight_model_stride, weight_class_stride,
    weight_width_stride, bias_model_stride, bias_class_stride, label_stride, scale, class_scale, scale_model_stride,
    class_scale_model_stride,
    BIAS: tl.constexpr, EXACT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """A run of classes for a tile of records: found [4 (before, after, sum, label's), models, splits, records]."""
    program = tl.program_id(0)
    split, model = program // tiles % splits, (program // tiles // splits).to(tl.int64)
    record = (program % tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    live = record < records
    label = label_at(labels + record * label_stride, live, classes)
    of_record = tl.load(scale + model * scale_model_stride + record, mask=live, other=0.0)
    rows = features + model * features_model_stride + record[:, None] * features_record_stride
    minus = tl.full([ROWS], -float("inf"), tl.float32)
    before, after, of_label, total = minus, minus, minus, tl.zeros([ROWS], tl.float32)
    for start in range(split * run, tl.minimum((split + 1) * run, classes), COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        columns = weight + model * weight_model_stride + column.to(tl.int64)[None, :] * weight_class_stride
        of_class = of_record
        if not EXACT:
            at_class = class_scale + model * class_scale_model_stride + column
            of_class = tl.load(at_class, mask=column < classes, other=0.0)
        z = product(
            rows, columns, features_width_stride, weight_width_stride, live, column < classes, width, of_record,
            of_class, EXACT, False, ROWS, COLUMNS, DEPTH,
        )  # fmt: skip
        if BIAS:
            at_bias = bias + model * bias_model_stride + column.to(tl.int64) * bias_class_stride
            z += tl.load(at_bias, mask=column < classes, other=0.0).to(tl.float32)[None, :]
        if tl.max(((label >= start) & (label < start + COLUMNS)).to(tl.int32), axis=0) != 0:
            before, after, of_label, total = fold(z, column, classes, label, before, after, of_label, total)
        else:
            before, after, total = _fold_others(z, column, classes, label >= start, before, after, total)
    to = found + (model * splits + split) * records + record
    part = tl.num_programs(0).to(tl.int64) // tiles * records
    tl.store(to, before, mask=live)
    tl.store(to + part, after, mask=live)
    tl.store(to + 2 * part, total, mask=live)
    tl.store(to + 3 * part, of_label, mask=live)


@triton.jit
def product(
    rows, columns, rows_stride, columns_stride, live, used, width, of_row, of_column, EXACT: tl.constexpr,
    EACH_COLUMN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """[ROWS, COLUMNS] sums of products, of float32's precision in every row, and in EACH_COLUMN if that is said."""
    if EXACT:
        z = sums(rows, columns, rows_stride, columns_stride, live, used, width, of_row, of_column,
                     ROWS, COLUMNS, DEPTH, "exact")  # fmt: skip
    else:
        z = sums(rows, columns, rows_stride, columns_stride, live, used, width, inverse(of_row), inverse(of_column),
                     ROWS, COLUMNS, DEPTH, "halves")  # fmt: skip
        size = tl.abs(z)
        trusted = large(tl.max(size, axis=1), of_row, live) & (
            tl.max((of_column != of_column).to(tl.int32), axis=0) == 0
        )
        if EACH_COLUMN:
            trusted &= large(tl.max(size, axis=0), of_column, used)
        if trusted:
            z *= of_row[:, None] * of_column[None, :]
        else:
            z = sums(rows, columns, rows_stride, columns_stride, live, used, width, of_row, of_column,
                         ROWS, COLUMNS, DEPTH, "float32")  # fmt: skip
    return z


@triton.jit
def sums(
    rows, columns, rows_stride, columns_stride, live, used, width, larger, larger_of_column,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Of KIND "halves" what is to be scaled back."""
    z = tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, width, DEPTH):
        at = first + tl.arange(0, DEPTH)
        inside = at < width
        at = at.to(tl.int64)
        a = tl.load(rows + at[None, :] * rows_stride, mask=live[:, None] & inside[None, :], other=0.0)
        b = tl.load(columns + at[:, None] * columns_stride, mask=inside[:, None] & used[None, :], other=0.0)
        if KIND == "exact":
            z = tl.dot(a, b, z)
        elif KIND == "halves":
            high, low = halve(a.to(tl.float32), larger[:, None])
            other_high, other_low = halve(b.to(tl.float32), larger_of_column[None, :])
            z = tl.dot(high, other_low, z)
            z = tl.dot(low, other_high, z)
            z = tl.dot(high, other_high, z)
        else:
            z = tl.dot(a.to(tl.float32), b.to(tl.float32), z, input_precision="ieee")
    return z


@triton.jit
def merge_kernel(found, labels, phi, correct, records, classes, splits, label_stride, LANES: tl.constexpr):
    """phi and correct of a block of one model's records from the parts of `parts_kernel`."""
    record = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    model = tl.program_id(1).to(tl.int64)
    live = record < records
    label = label_at(labels + record * label_stride, live, classes)
    part = tl.num_programs(1).to(tl.int64) * splits * records
    minus = tl.full([LANES], -float("inf"), tl.float32)
    before, after, of_label, total = minus, minus, minus, tl.zeros([LANES], tl.float32)
    for split in range(splits):
        at = found + (model * splits + split) * records + record
        old = tl.maximum(before, after)
        their_before = tl.load(at, mask=live, other=-float("inf"))
        their_after = tl.load(at + part, mask=live, other=-float("inf"))
        their_total = tl.load(at + 2 * part, mask=live, other=0.0)
        theirs = tl.load(at + 3 * part, mask=live, other=-float("inf"))
        of_label = tl.where(theirs == -float("inf"), of_label, theirs)  # NaN is kept
        before, after = tl.maximum(before, their_before), tl.maximum(after, their_after)
        pivot = or_zero(tl.maximum(before, after))
        total = total * tl.exp(old - pivot) + their_total * tl.exp(tl.maximum(their_before, their_after) - pivot)
    value, right = confidence_of(label, before, after, of_label, total)
    tl.store(phi + model * records + record, value, mask=live)
    tl.store(correct + model * records + record, right, mask=live)


@triton.jit
def label_at(place, live, classes):
    """-1 where it is no class."""
    label = tl.load(place, mask=live, other=0).to(tl.int64)
    return tl.where((label >= 0) & (label < classes), label, -1).to(tl.int32)


@triton.jit
def fold(z, column, classes, label, before, after, of_label, total):
    """What is kept of a record's logits, with those of more classes, z [records, columns]."""
    is_label = column[None, :] == label[:, None]
    z = tl.where((column < classes)[None, :], z, -float("inf"))
    other = tl.where(is_label, -float("inf"), z)
    of_label = tl.where(
        tl.sum(is_label.to(tl.int32), axis=1) != 0, tl.sum(tl.where(is_label, z, 0.0), axis=1), of_label
    )
    old = tl.maximum(before, after)
    before = tl.maximum(before, tl.max(tl.where(column[None, :] < label[:, None], other, -float("inf")), axis=1))
    after = tl.maximum(after, tl.max(tl.where(column[None, :] > label[:, None], other, -float("inf")), axis=1))
    pivot = or_zero(tl.maximum(before, after))
    total = total * tl.exp(old - pivot) + tl.sum(tl.exp(other - pivot[:, None]), axis=1)
    return before, after, of_label, total


@triton.jit
def _fold_others(z, column, classes, earlier, before, after, total):
    """As `fold`, where the columns hold no record's label and are earlier than it or later."""
    z = tl.where((column < classes)[None, :], z, -float("inf"))
    old, top = tl.maximum(before, after), tl.max(z, axis=1)
    before, after = tl.where(earlier, tl.maximum(before, top), before), tl.where(earlier, after, tl.maximum(after, top))
    pivot = or_zero(tl.maximum(before, after))
    return before, after, total * tl.exp(old - pivot) + tl.sum(tl.exp(z - pivot[:, None]), axis=1)


@triton.jit
def confidence_of(label, before, after, of_label, total):
    known = label >= 0
    right = known & ((label == 0) | (of_label > before)) & (of_label >= after) & (total == total)
    return phi_of(of_label, tl.maximum(before, after), total, known), right
