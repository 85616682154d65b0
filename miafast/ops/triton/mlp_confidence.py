"""phi of many perceptrons: the first layer of all as one product, then batched ones, the last without its logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from miafast.ops.linear_confidence import Confidence
from miafast.ops.mlp_confidence import layers
from miafast.ops.triton import narrow_mlps
from miafast.ops.triton.linear_confidence import linear_confidence

#: Hidden units of all models and a block of records that exist at once.
UNITS = 2**26


def mlp_confidence(x: Any, weights: Any, labels: Any, *, widths: Sequence[int], activation: str) -> Confidence:
    """NaN, and not correct, where a label is not in [0, classes): labels on a device are not checked."""
    real = torch.float64 if torch.float64 in (x.dtype, weights.dtype) else torch.float32
    phi = torch.empty(len(weights), len(x), dtype=real, device=x.device)
    correct = torch.empty(phi.shape, dtype=torch.bool, device=x.device)
    narrow = real == torch.float32 and len(widths) > 2 and max(widths[1:-1]) <= narrow_mlps.UNITS
    if narrow and phi.numel():
        narrow_mlps.narrow_mlps(x, weights, labels, widths, activation, Confidence(phi, correct))
        return Confidence(phi, correct)
    *hidden, (weight, bias) = layers(weights.to(real), widths)
    step = max(1, UNITS // max(1, len(weights) * max(widths[1:])))
    for begin in range(0, len(x) if len(weights) else 0, step):
        block = slice(begin, begin + step)
        values = _before_last(x[block].to(real), hidden, activation)
        phi[:, block], correct[:, block] = linear_confidence(values, weight, bias, labels[block])
    return Confidence(phi, correct)


def _before_last(x: Any, hidden: Sequence[tuple[Any, Any]], activation: str) -> Any:
    """What the last layer reads: [models, records, units], or x where there is no other layer."""
    values = x
    for weight, bias in hidden:
        models, units, _ = weight.shape
        if values is x:
            product = torch.addmm(bias.flatten(), x, weight.flatten(0, 1).mT)
            values = product.unflatten(1, (models, units)).transpose(0, 1)
        else:
            values = torch.baddbmm(bias[:, None, :], values, weight.mT)
        values = values.tanh_() if activation == "tanh" else values.relu_()
    return values
