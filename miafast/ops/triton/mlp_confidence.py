"""phi of many perceptrons: in one kernel where hidden layers are narrow, else by layers, the last without logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

from miafast.ops.linear_confidence import Confidence
from miafast.ops.mlp_confidence import layers
from miafast.ops.triton import narrow_mlps
from miafast.ops.triton.halves import scales_of
from miafast.ops.triton.linear_confidence import Tile, linear_confidence, product
from miafast.ops.triton.narrow_mlps import activate

#: Hidden units of all models and a block of records that exist at once, and the tile of them that a program computes.
UNITS, TILE = 2**26, Tile(128, 128, 32, 8, 3, None)


def mlp_confidence(x: Any, weights: Any, labels: Any, *, widths: Sequence[int], activation: str) -> Confidence:
    """NaN, and not correct, where a label is not in [0, classes): labels on a device are not checked."""
    real = torch.float64 if torch.float64 in (x.dtype, weights.dtype) else torch.float32
    phi = torch.empty(len(weights), len(x), dtype=real, device=x.device)
    found = Confidence(phi, torch.empty(phi.shape, dtype=torch.bool, device=x.device))
    if phi.numel() == 0:
        return found
    if real == torch.float32 and len(widths) > 2 and max(widths[1:-1]) <= narrow_mlps.UNITS:
        narrow_mlps.narrow_mlps(x, weights, labels, widths, activation, found)
        return found
    *hidden, (weight, bias) = layers(weights.double() if real == torch.float64 else weights, widths)
    step = max(1, UNITS // (len(weights) * max(widths[1:])))
    for begin in range(0, len(x), step):
        block = slice(begin, begin + step)
        values = x[block].double() if real == torch.float64 else x[block]
        for parameters in hidden:
            values = _layer(values, *parameters, activation)
        found.phi[:, block], found.correct[:, block] = linear_confidence(values, weight, bias, labels[block])
    return found


def _layer(values: Any, weight: Any, bias: Any, activation: str) -> Any:
    """What the next layer reads, [models, records, units], of values [records, width] or [models, records, width]."""
    values = values if values.ndim == 3 else values[None]
    if values.dtype == torch.float64:
        sums = torch.baddbmm(bias[:, None, :], values.expand(len(weight), -1, -1), weight.mT)
        return sums.tanh_() if activation == "tanh" else sums.relu_()
    (models, units, width), records = weight.shape, values.shape[1]
    result = torch.empty(models, records, units, device=values.device)
    across, down = triton.cdiv(units, TILE.classes), triton.cdiv(records, TILE.records)
    strides = (0, *values.stride()[1:], 0) if len(values) == 1 else (*values.stride(), records)
    layer_kernel[(models * across * down,)](
        values, weight, bias, result, scales_of(values), scales_of(weight), records, units, width, across, down,
        *strides, *weight.stride(), *bias.stride(),
        activation == "tanh", *TILE[:3], num_warps=TILE.warps, num_stages=TILE.stages, maxnreg=TILE.registers,
    )  # fmt: skip
    return result


@triton.jit
def layer_kernel(
    values, weight, bias, result, scale, unit_scale, records, units, width, across, down,
    value_model_stride, value_record_stride, value_width_stride, scale_model_stride, weight_model_stride,
    weight_unit_stride, weight_width_stride, bias_model_stride, bias_unit_stride,
    TANH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """A tile of one model's hidden units; all tiles of units for a tile of records run together."""
    tile, model = tl.program_id(0) % (across * down), (tl.program_id(0) // (across * down)).to(tl.int64)
    record = (tile // across).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    unit = (tile % across).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    live, used = record < records, unit < units
    rows = values + model * value_model_stride + record[:, None] * value_record_stride
    columns = weight + model * weight_model_stride + unit[None, :] * weight_unit_stride
    of_record = tl.load(scale + model * scale_model_stride + record, mask=live, other=0.0)
    of_unit = tl.load(unit_scale + model * units + unit, mask=used, other=0.0)
    z = product(
        rows, columns, value_width_stride, weight_width_stride, live, used, width, of_record, of_unit, False, True,
        ROWS, COLUMNS, DEPTH,
    )  # fmt: skip
    offset = tl.load(bias + model * bias_model_stride + unit * bias_unit_stride, mask=used, other=0.0)
    z += offset.to(tl.float32)[None, :]
    at = (model * records + record[:, None]) * units + unit[None, :]
    tl.store(result + at, activate(z, TANH), mask=live[:, None] & used[None, :])
