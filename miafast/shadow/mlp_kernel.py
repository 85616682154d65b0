"""A training step of stacked perceptrons in Triton kernels: a layer forwards, the loss, a layer backwards, its update.

Nothing is written but activations and their slopes. Records that are bits are spread inside the products that take
them, and a matrix's gradient goes from the product into the optimiser without being stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

from miafast.shadow.modules import dropout_bound
from miafast.shadow.optimiser import Leaf
from miafast.shadow.optimiser_kernel import held, rule, stepped
from miafast.shadow.recipe import Recipe
from miafast.shadow.resident import Packed

_LAUNCH = {"num_warps": 8, "num_stages": 3, "maxnreg": 128}  # registers: two programs to a multiprocessor


def mlp_step(
    recipe: Recipe, leaves: Sequence[Leaf], x: Any, y: Any, keys: Any, rates: Any, correction: Any
) -> None:  # fmt: skip
    """`mlp_gradient` and the optimiser's step on it; ``leaves`` are changed in place. ``x`` may be `Packed`."""
    matrices, biases = leaves[::2], leaves[1::2]
    values: list[Any] = [x if isinstance(x, Packed) else x.flatten(2).contiguous()]
    batch, ends = y.shape[1], len(matrices) - 1
    drop = {"bound": dropout_bound(recipe.dropout), "kept_share": 1.0 - recipe.dropout, "layers": keys.shape[1]}
    with torch.cuda.device_of(y):
        for layer, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
            models, units, wide = matrix.weights.shape
            out = matrix.rounded.new_empty(models, batch, units)
            rows, columns = _tile(batch, 128), _tile(units, 128)
            _layer[(triton.cdiv(batch, rows), models, triton.cdiv(units, columns))](
                *_source(values[-1]), matrix.rounded, bias.rounded, out, keys[:, layer:], batch, wide=wide, units=units,
                activation=recipe.activation if layer < ends else "none", **drop, rows=rows, columns=columns,
                inner=_tile(wide, 64), **_LAUNCH,
            )  # fmt: skip
            values.append(out)
        slope = loss_slope(values.pop(), y, recipe.label_smoothing)
        for layer in reversed(range(ends + 1)):
            matrix, bias = matrices[layer], biases[layer]
            models, units, wide = matrix.weights.shape
            below = None
            if layer:
                below = torch.empty_like(values[layer])
                rows, columns = _tile(batch, 128), _tile(wide, 128)
                _back[(triton.cdiv(batch, rows), models, triton.cdiv(wide, columns))](
                    slope, matrix.rounded, values[layer], below, keys[:, layer - 1 :], batch, wide=wide, units=units,
                    activation=recipe.activation, **drop, rows=rows, columns=columns, inner=_tile(units, 64),
                    **_LAUNCH,
                )  # fmt: skip
            rows, columns = _tile(units, 128), _tile(wide, 32)
            _learn[(1 + triton.cdiv(wide, columns), models, triton.cdiv(units, rows))](
                *_source(values[layer]), slope, *matrix, *bias, rates, correction, batch, wide=wide, units=units,
                **rule(recipe), rows=rows, columns=columns, inner=_tile(batch, 64), **_LAUNCH,
            )  # fmt: skip
            slope = below


def loss_slope(logits: Any, y: Any, label_smoothing: float) -> Any:
    """`miafast.shadow.mlp_gradient.loss_slope`, in one pass over the logits."""
    logits, slope = logits.contiguous(), torch.empty_like(logits)
    classes, width = logits.shape[-1], triton.next_power_of_2(logits.shape[-1])
    rows = max(1, 2048 // width)
    with torch.cuda.device_of(logits):
        _loss_slope[(triton.cdiv(y.numel(), rows),)](
            logits, y.contiguous(), slope, y.numel(), label_smoothing, 1.0 / y.shape[1], classes=classes, rows=rows,
            width=width, num_warps=4 if width <= 4096 else 16,
        )  # fmt: skip
    return slope


def _source(x: Any) -> tuple[Any, ...]:
    """Where a product's kernel finds its numbers: data, records, bytes per record, what 0 and 1 stand for."""
    if isinstance(x, Packed):
        return x.rows, x.which, x.rows.shape[1], x.zero, x.one
    return x, x, 0, 0.0, 1.0


def _tile(size: int, most: int) -> int:
    return int(min(most, max(16, triton.next_power_of_2(size))))


@triton.jit  # type: ignore[untyped-decorator]
def _numbers(values, batch, row, begin, wide: tl.constexpr, columns: tl.constexpr):  # type: ignore[no-untyped-def]
    """One model's values [rows, columns] from column ``begin`` of [batch, wide]; zeros beyond."""
    column = begin + tl.arange(0, columns)
    return tl.load(
        values + (row[:, None] * wide + column[None, :]), (row < batch)[:, None] & (column < wide)[None, :], 0.0
    )


@triton.jit  # type: ignore[untyped-decorator]
def _packed(  # type: ignore[no-untyped-def]
    data, which, stride, batch, row, begin, wide: tl.constexpr, columns: tl.constexpr
):  # fmt: skip
    """One model's records [rows, columns / 8] from column ``begin``, eight bits to a byte; zeros beyond."""
    record = tl.load(which + row, row < batch, 0)[:, None]
    byte = begin // 8 + tl.arange(0, columns // 8)[None, :]
    return tl.load(data + record * stride + byte, (row < batch)[:, None] & (byte * 8 < wide), 0)


@triton.jit  # type: ignore[untyped-decorator]
def _spread(packed, zero, one, columns: tl.constexpr, dtype: tl.constexpr):  # type: ignore[no-untyped-def]
    bit = (packed[:, :, None] >> (7 - tl.arange(0, 8))[None, None, :]) & 1
    return tl.where(tl.reshape(bit, (packed.shape[0], columns)) != 0, one, zero).to(dtype)


@triton.jit  # type: ignore[untyped-decorator]
def _kept(place, key, bound: tl.constexpr):  # type: ignore[no-untyped-def]
    """`miafast.shadow.modules.dropout_kept`, at these places of [batch, units]."""
    hashed = place.to(tl.uint32) * 0x9E3779B1 + key.to(tl.uint32)
    hashed = (hashed ^ (hashed >> 16)) * 0x7FEB352D
    hashed = (hashed ^ (hashed >> 15)) * 0x846CA68B
    return (hashed ^ (hashed >> 16)) >= bound


@triton.jit  # type: ignore[untyped-decorator]
def _layer(  # type: ignore[no-untyped-def]
    data, which, stride, zero, one, matrix, bias, out, keys, batch,
    wide: tl.constexpr, units: tl.constexpr, activation: tl.constexpr, bound: tl.constexpr, kept_share: tl.constexpr,
    layers: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, inner: tl.constexpr,
):  # fmt: skip
    model = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    unit = tl.program_id(2) * columns + tl.arange(0, columns)
    matrix += model * units * wide
    packed: tl.constexpr = data.dtype.element_ty == tl.uint8
    if packed:
        which += model * batch
        byte = _packed(data, which, stride, batch, row, 0, wide, inner)
    else:
        data += model * batch * wide
    z = tl.zeros((rows, columns), tl.float32)
    for begin in range(0, wide, inner):
        column = begin + tl.arange(0, inner)
        inside = (column < wide)[:, None] & (unit < units)[None, :]
        w = tl.load(matrix + (unit[None, :] * wide + column[:, None]), inside, 0.0)
        if packed:  # the next bytes are asked for before this product waits
            x = _spread(byte, zero, one, inner, w.dtype)
            byte = _packed(data, which, stride, batch, row, begin + inner, wide, inner)
        else:
            x = _numbers(data, batch, row, begin, wide, inner)
        z = tl.dot(x, w, z)
    z += tl.load(bias + model * units + unit, unit < units, 0.0).to(tl.float32)[None, :]
    place = row[:, None] * units + unit[None, :]
    if activation == "relu":
        z = tl.where(z < 0.0, 0.0, z)  # NaN stays NaN
    elif activation == "tanh":
        z = 2.0 * tl.sigmoid(2.0 * z) - 1.0
    if activation != "none" and bound > 0:
        z = tl.where(_kept(place, tl.load(keys + model * layers), bound), z / kept_share, 0.0)
    inside = (row < batch)[:, None] & (unit < units)[None, :]
    tl.store(out + model * batch * units + place, z.to(out.dtype.element_ty), inside)


@triton.jit  # type: ignore[untyped-decorator]
def _loss_slope(  # type: ignore[no-untyped-def]
    logits, labels, slope, count, smoothing, share, classes: tl.constexpr, rows: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    column = tl.arange(0, width)[None, :]
    inside = (row < count)[:, None] & (column < classes)
    place = row.to(tl.int64)[:, None] * classes + column
    z = tl.load(logits + place, inside, float("-inf")).to(tl.float32)
    label = tl.load(labels + row, row < count, 0)[:, None]
    weight = tl.exp(z - tl.max(z, 1)[:, None])
    target = smoothing / classes + tl.where(column == label, 1.0 - smoothing, 0.0)
    out = (weight / tl.sum(weight, 1)[:, None] - target) * share
    tl.store(slope + place, out.to(slope.dtype.element_ty), inside)


@triton.jit  # type: ignore[untyped-decorator]
def _back(  # type: ignore[no-untyped-def]
    slope, matrix, active, out, keys, batch,
    wide: tl.constexpr, units: tl.constexpr, activation: tl.constexpr, bound: tl.constexpr, kept_share: tl.constexpr,
    layers: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr, inner: tl.constexpr,
):  # fmt: skip
    model = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    column = tl.program_id(2) * columns + tl.arange(0, columns)
    matrix += model * units * wide
    slope += model * batch * units
    found = tl.zeros((rows, columns), tl.float32)
    for begin in range(0, units, inner):
        s = _numbers(slope, batch, row, begin, units, inner)
        unit = begin + tl.arange(0, inner)
        inside = (unit < units)[:, None] & (column < wide)[None, :]
        found = tl.dot(s, tl.load(matrix + (unit[:, None] * wide + column[None, :]), inside, 0.0), found)
    place = row[:, None] * wide + column[None, :]
    inside = (row < batch)[:, None] & (column < wide)[None, :]
    a = tl.load(active + model * batch * wide + place, inside, 0.0).to(tl.float32)
    if activation == "tanh":
        found *= 1.0 - a * a * (kept_share * kept_share)
        if bound > 0:
            found = tl.where(_kept(place, tl.load(keys + model * layers), bound), found, 0.0)
    else:
        found = tl.where(a <= 0.0, 0.0, found)
    tl.store(out + model * batch * wide + place, (found / kept_share).to(out.dtype.element_ty), inside)


@triton.jit  # type: ignore[untyped-decorator]
def _learn(  # type: ignore[no-untyped-def]
    data, which, stride, zero, one, slope, weights, first, second, rounded, bias, bias_first, bias_second, bias_rounded,
    rates, correction, batch,
    wide: tl.constexpr, units: tl.constexpr, decay: tl.constexpr, momentum: tl.constexpr, epsilon: tl.constexpr,
    beta_1: tl.constexpr, beta_2: tl.constexpr, kind: tl.constexpr, nesterov: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr, inner: tl.constexpr,
):  # fmt: skip
    """Slopes [batch, units] times inputs [batch, wide], and the step; a model's first programs take its biases."""
    model = tl.program_id(1).to(tl.int64)
    unit = tl.program_id(2) * rows + tl.arange(0, rows)
    slope += model * batch * units
    rate = tl.load(rates + model)
    if tl.program_id(0) == 0:
        _learn_biases(
            slope, bias, bias_first, bias_second, bias_rounded, model * units + unit, unit, rate, correction, batch,
            units, decay, momentum, epsilon, beta_1, beta_2, kind, nesterov, rows, inner,
        )  # fmt: skip
    else:
        begin = (tl.program_id(0) - 1) * columns
        column = begin + tl.arange(0, columns)
        place = unit[:, None] * wide + column[None, :]
        weights += model * units * wide  # places within a model are 32-bit numbers
        first += model * units * wide
        second += model * units * wide
        rounded += model * units * wide
        within = (unit < units)[:, None] & (column < wide)[None, :]
        w, m, v = held(weights, first, second, place, within, kind, momentum)  # on their way during the product
        packed: tl.constexpr = data.dtype.element_ty == tl.uint8
        if packed:
            which += model * batch
            byte = _packed(data, which, stride, batch, tl.arange(0, inner), begin, wide, columns)
        else:
            data += model * batch * wide
        gradient = tl.zeros((rows, columns), tl.float32)
        for start in range(0, batch, inner):
            row = start + tl.arange(0, inner)
            inside = (unit < units)[:, None] & (row < batch)[None, :]
            s = tl.load(slope + (row[None, :] * units + unit[:, None]), inside, 0.0)
            if packed:
                x = _spread(byte, zero, one, columns, s.dtype)
                byte = _packed(data, which, stride, batch, row + inner, begin, wide, columns)
            else:
                x = _numbers(data, batch, row, begin, wide, columns)
            gradient = tl.dot(s, x, gradient)
        stepped(
            weights, first, second, rounded, place, within, gradient, w, m, v, rate,
            correction, decay, momentum, epsilon, beta_1, beta_2, kind, nesterov,
        )  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator]
def _learn_biases(  # type: ignore[no-untyped-def]
    slope, bias, first, second, rounded, place, unit, rate, correction, batch,
    units: tl.constexpr, decay: tl.constexpr, momentum: tl.constexpr, epsilon: tl.constexpr, beta_1: tl.constexpr,
    beta_2: tl.constexpr, kind: tl.constexpr, nesterov: tl.constexpr, rows: tl.constexpr, inner: tl.constexpr,
):  # fmt: skip
    total = tl.zeros((inner, rows), tl.float32)
    for start in range(0, batch, inner):
        total += _numbers(slope, batch, start + tl.arange(0, inner), tl.program_id(2) * rows, units, rows)
    w, m, v = held(bias, first, second, place, unit < units, kind, momentum)
    stepped(
        bias, first, second, rounded, place, unit < units, tl.sum(total, 0), w, m, v, rate, correction,
        decay, momentum, epsilon, beta_1, beta_2, kind, nesterov,
    )  # fmt: skip
