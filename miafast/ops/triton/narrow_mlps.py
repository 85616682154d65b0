"""phi of many perceptrons with narrow hidden layers: one program takes a tile of records from inputs to phi.

Products are of float16 halves on tensor cores (see `halves`); hidden values and logits exist only in registers. A tile
where halves would not do, for infinities, NaN or numbers of too many sizes, is left to float32 products.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import triton
import triton.language as tl

from miafast.ops.linear_confidence import Confidence
from miafast.ops.mlp_confidence import layers
from miafast.ops.triton.halves import halve, halves, large, scales
from miafast.ops.triton.linear_confidence import Tile, confidence_of, fold, label_at, sums

#: Units of the widest hidden layer that a program holds.
UNITS = 128


#: What is tried first, and how the rest is done: its records, units at once and width of a step, and its programs.
TILE, PLAIN, PROGRAMS = Tile(128, 32, 32, 8, 3, 128), (64, 64, 32), 528


def narrow_mlps(x: Any, weights: Any, labels: Any, widths: Sequence[int], activation: str, result: Confidence) -> None:
    """Fills `result` [models, records], which is not empty; every hidden layer has at most UNITS units."""
    tile, models, records = TILE, len(weights), len(x)
    units = max(16, triton.next_power_of_2(max(widths[1:-1])))
    width, classes = (
        triton.cdiv(widths[0], tile.width) * tile.width,
        triton.cdiv(widths[-1], tile.classes) * tile.classes,
    )
    tiles = triton.cdiv(records, tile.records)
    inputs = _room(1, [(tiles * tile.records, width)], x.device)
    halves(x[None], *inputs[0])
    shapes = [(units, width), *[(units, units)] * (len(widths) - 3), (classes, units)]
    rooms = _room(models, shapes, x.device)
    for (weight, _), room in zip(layers(weights, widths), rooms, strict=True):
        halves(weight, *room)
    done = torch.empty(models * tiles, dtype=torch.int8, device=x.device)
    begins = tuple(accumulate(((one + 1) * other for one, other in pairwise(widths)), initial=0))
    shared = labels, result.phi, result.correct, done, records, tiles, *weights.stride(), labels.stride(0)
    shape = tuple(widths), begins, activation == "tanh"
    narrow_kernel[(models * tiles,)](
        *inputs[0], *rooms[0][:3], weights, *shared, *shape,
        width, units, classes, *tile[:3], num_warps=tile.warps, num_stages=tile.stages, maxnreg=tile.registers,
    )  # fmt: skip
    programs = min(PROGRAMS, models * tiles)
    hidden = torch.empty(programs, 2, PLAIN[0], units, device=x.device)
    plain_kernel[(programs,)](
        x, hidden, weights, *shared, models * tiles, *x.stride(), *shape, units, tile.records, *PLAIN,
    )  # fmt: skip


def _room(models: int, shapes: Sequence[tuple[int, int]], device: Any) -> list[tuple[Any, ...]]:
    """high, low, scale and rest for matrices [models, *shape] that lie one after the other, model by model."""
    sizes, rows = [rows * width for rows, width in shapes], [rows for rows, _ in shapes]
    half = torch.empty(2, models, sum(sizes), dtype=torch.float16, device=device)
    number = torch.empty(2, models, sum(rows), device=device)
    cut = zip(half.split(sizes, 2), number.split(rows, 2), shapes, strict=True)
    return [(*(each.unflatten(1, shape) for each in parts), *numbers) for parts, numbers, shape in cut]


@triton.jit
def narrow_kernel(
    x_high, x_low, x_scale, x_rest, high, low, scale, weights, labels, phi, correct, done, records, tiles,
    model_stride, weight_stride, label_stride, WIDTHS: tl.constexpr, BEGINS: tl.constexpr, TANH: tl.constexpr,
    WIDTH: tl.constexpr, UNITS: tl.constexpr, CLASSES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):  # fmt: skip
    """A model and a tile of records: phi, correct, and whether they are done."""
    LAYERS: tl.constexpr = len(WIDTHS) - 2  # hidden ones
    model, tile = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    row, unit, depth = tl.arange(0, ROWS), tl.arange(0, UNITS), tl.arange(0, DEPTH)
    record = tile.to(tl.int64) * ROWS + row
    live = record < records
    half_of_model = model * (UNITS * WIDTH + (LAYERS - 1) * UNITS * UNITS + CLASSES * UNITS)
    scale += model * (LAYERS * UNITS + CLASSES)
    weights += model * model_stride
    left, right = record[:, None] * WIDTH + depth[None, :], half_of_model + unit[None, :] * WIDTH + depth[:, None]
    if tl.max(tl.load(x_rest + record), axis=0) == 0.0:
        z = _first_product(x_high + left, x_low + left, high + right, low + right, WIDTH, ROWS, UNITS, DEPTH, True)
    else:
        z = _first_product(x_high + left, x_low + left, high + right, low + right, WIDTH, ROWS, UNITS, DEPTH, False)
    of_row = tl.load(x_scale + record)
    trusted = tl.max((of_row != of_row).to(tl.int32), axis=0) == 0
    for layer in tl.static_range(LAYERS):
        of_unit = tl.load(scale + layer * UNITS + unit)
        size = tl.where(live[:, None], tl.abs(z), 0.0)
        trusted &= large(tl.max(size, axis=1), of_row, live)
        trusted &= large(tl.max(size, axis=0), of_unit, unit < WIDTHS[layer + 1])
        bias = _bias(weights, BEGINS[layer + 1], unit, WIDTHS[layer + 1], weight_stride)
        hidden = activate(z * of_unit[None, :] * of_row[:, None] + bias[None, :], TANH)
        hidden = tl.where(live[:, None], hidden, 0.0)
        trusted &= tl.max(tl.max((~(tl.abs(hidden) < float("inf"))).to(tl.int32), axis=1), axis=0) == 0
        larger, of_row = scales(tl.max(tl.abs(hidden), axis=1))
        one, other = halve(hidden, larger[:, None])
        if layer < LAYERS - 1:
            next_weight = half_of_model + UNITS * WIDTH + layer * UNITS * UNITS + unit[None, :] * UNITS + unit[:, None]
            z = _product(
                one, other, tl.load(high + next_weight), tl.load(low + next_weight), tl.zeros([ROWS, UNITS], tl.float32)
            )
    label = label_at(labels + record * label_stride, live, WIDTHS[LAYERS + 1])
    minus = tl.full([ROWS], -float("inf"), tl.float32)
    before, after, of_label, total = minus, minus, minus, tl.zeros([ROWS], tl.float32)
    largest = tl.zeros([ROWS], tl.float32)
    for start in range(0, WIDTHS[LAYERS + 1], COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        at = half_of_model + UNITS * WIDTH + (LAYERS - 1) * UNITS * UNITS + column[None, :] * UNITS + unit[:, None]
        logits = _product(one, other, tl.load(high + at), tl.load(low + at), tl.zeros([ROWS, COLUMNS], tl.float32))
        largest = tl.maximum(largest, tl.max(tl.abs(logits), axis=1))
        of_class = tl.load(scale + LAYERS * UNITS + column)
        trusted &= tl.max((of_class != of_class).to(tl.int32), axis=0) == 0
        offset = _bias(weights, BEGINS[LAYERS + 1], column, WIDTHS[LAYERS + 1], weight_stride)
        logits = logits * of_class[None, :] * of_row[:, None] + offset[None, :]
        before, after, of_label, total = fold(logits, column, WIDTHS[LAYERS + 1], label, before, after, of_label, total)
    trusted &= large(largest, of_row, live)
    value, is_right = confidence_of(label, before, after, of_label, total)
    tl.store(phi + model * records + record, value, mask=live)
    tl.store(correct + model * records + record, is_right, mask=live)
    tl.store(done + tl.program_id(0), trusted.to(tl.int8))


@triton.jit
def _first_product(
    x_high, x_low, high, low, WIDTH: tl.constexpr, ROWS: tl.constexpr, UNITS: tl.constexpr, DEPTH: tl.constexpr,
    WHOLE: tl.constexpr,
):  # fmt: skip
    """[records, units] of scaled inputs; their low halves are all 0 if WHOLE."""
    z = tl.zeros([ROWS, UNITS], tl.float32)
    for first in range(0, WIDTH, DEPTH):
        a, b = tl.load(x_high + first), tl.load(high + first)
        z = tl.dot(a, tl.load(low + first), z)
        if not WHOLE:
            z = tl.dot(tl.load(x_low + first), b, z)
        z = tl.dot(a, b, z)
    return z


@triton.jit
def _product(a_high, a_low, b_high, b_low, z):
    z = tl.dot(a_high, b_low, z)
    z = tl.dot(a_low, b_high, z)
    return tl.dot(a_high, b_high, z)


@triton.jit
def _bias(weights, end, unit, size, stride):
    """The last `size` parameters before `end`, and zeros."""
    return tl.load(weights + (end - size + unit.to(tl.int64)) * stride, mask=unit < size, other=0.0).to(tl.float32)


@triton.jit
def activate(z, TANH: tl.constexpr):
    """NaN stays NaN."""
    if TANH:
        square = z * z
        series = -1 / 3 + square * (2 / 15 + square * (-17 / 315 + square * (62 / 2835 - square * (1382 / 155925))))
        size = 1 - 2 / (tl.exp(2 * tl.abs(z)) + 1)
        z = tl.where(square < 0.12, z + z * square * series, tl.where(z < 0, -size, size))
    else:
        z = tl.where(z < 0, 0.0, z)
    return z


@triton.jit
def plain_kernel(
    x, hidden, weights, labels, phi, correct, done, records, tiles, model_stride, weight_stride, label_stride,
    items, x_record_stride, x_width_stride, WIDTHS: tl.constexpr, BEGINS: tl.constexpr, TANH: tl.constexpr,
    UNITS: tl.constexpr, TILE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """What `narrow_kernel` has not done, in float32: hidden [programs, 2, ROWS, UNITS] holds the layers' outputs."""
    LAYERS: tl.constexpr = len(WIDTHS) - 2
    row = tl.arange(0, ROWS)
    hidden += tl.program_id(0).to(tl.int64) * (2 * ROWS * UNITS)
    for item in range(tl.program_id(0), items, tl.num_programs(0)):
        if tl.load(done + item) == 0:
            model = (item // tiles).to(tl.int64)
            own = weights + model * model_stride
            for part in range(0, TILE, ROWS):
                record = (item % tiles).to(tl.int64) * TILE + part + row
                live = record < records
                source, stride, rows = x, x_width_stride, record * x_record_stride
                for layer in tl.static_range(LAYERS):
                    to = hidden + (layer % 2) * (ROWS * UNITS)
                    for start in range(0, WIDTHS[layer + 1], COLUMNS):
                        column = start + tl.arange(0, COLUMNS)
                        z = _plain_layer(
                            source + rows, stride, live, own + BEGINS[layer] * weight_stride, column, weight_stride,
                            WIDTHS[layer], WIDTHS[layer + 1], ROWS, COLUMNS, DEPTH,
                        )  # fmt: skip
                        at = to + row[:, None] * UNITS + column[None, :]
                        tl.store(at, activate(z, TANH), mask=(column < UNITS)[None, :])
                    tl.debug_barrier()
                    source, stride, rows = to, 1, row.to(tl.int64) * UNITS
                label = label_at(labels + record * label_stride, live, WIDTHS[LAYERS + 1])
                minus = tl.full([ROWS], -float("inf"), tl.float32)
                before, after, of_label, total = minus, minus, minus, tl.zeros([ROWS], tl.float32)
                for start in range(0, WIDTHS[LAYERS + 1], COLUMNS):
                    column = start + tl.arange(0, COLUMNS)
                    z = _plain_layer(
                        source + rows, stride, live, own + BEGINS[LAYERS] * weight_stride, column, weight_stride,
                        WIDTHS[LAYERS], WIDTHS[LAYERS + 1], ROWS, COLUMNS, DEPTH,
                    )  # fmt: skip
                    before, after, of_label, total = fold(
                        z, column, WIDTHS[LAYERS + 1], label, before, after, of_label, total
                    )
                value, is_right = confidence_of(label, before, after, of_label, total)
                tl.store(phi + model * records + record, value, mask=live)
                tl.store(correct + model * records + record, is_right, mask=live)
                tl.debug_barrier()


@triton.jit
def _plain_layer(
    rows, stride, live, weights, unit, weight_stride, WIDTH: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    columns = weights + unit.to(tl.int64)[None, :] * WIDTH * weight_stride
    z = sums(
        rows[:, None], columns, stride, weight_stride, live, unit < SIZE, WIDTH, live, live, ROWS, COLUMNS, DEPTH,
        "float32",
    )  # fmt: skip
    return z + _bias(weights, (WIDTH + 1) * SIZE, unit, SIZE, weight_stride)[None, :]
