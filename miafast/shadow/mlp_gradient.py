"""The gradient of stacked multilayer perceptrons by hand: batched matrix products, and nothing kept but activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from miafast.shadow.capture import kernels_run_on
from miafast.shadow.modules import dropout_kept
from miafast.shadow.recipe import Recipe


def mlp_gradient(
    recipe: Recipe, weights: Sequence[torch.Tensor], x: torch.Tensor, y: torch.Tensor, keys: torch.Tensor
) -> list[torch.Tensor]:
    """The gradient of each model's mean loss, in the order and shapes of ``weights``.

    ``weights`` are [models, out, in] and [models, out] for every layer and ``x`` is [models, batch, ...], all of the
    recipe's dtype; ``y`` is int64 [models, batch], ``keys`` int64 [models, hidden layers]. In bfloat16, matrix products
    take and give bfloat16 and the softmax is float32.
    """
    matrices, biases = weights[::2], [each[:, None] for each in weights[1::2]]
    values, masks = [x.flatten(2)], []
    for layer, (matrix, bias) in enumerate(zip(matrices[:-1], biases[:-1], strict=True)):
        sums = torch.baddbmm(bias, values[-1], matrix.mT)
        active = sums.tanh_() if recipe.activation == "tanh" else sums.relu_()
        if recipe.dropout:
            kept = dropout_kept(keys[:, layer], active.shape[1:], recipe.dropout) / (1.0 - recipe.dropout)
            masks.append(kept.to(x.dtype))
        values.append(active * masks[-1] if recipe.dropout else active)
    logits = torch.baddbmm(biases[-1], values[-1], matrices[-1].mT)
    slope = _loss_slope_on(x.device)(logits, y, recipe.label_smoothing)
    parts: list[torch.Tensor] = []
    for layer in reversed(range(len(matrices))):
        parts += [slope.sum(1, dtype=torch.float32), torch.bmm(slope.mT, values[layer])]
        if layer:
            slope = torch.bmm(slope, matrices[layer])
            active = values[layer]
            if recipe.dropout:
                slope *= masks[layer - 1]
                active = active * (1.0 - recipe.dropout)
            if recipe.activation == "tanh":
                slope = torch.ops.aten.tanh_backward(slope, active)
            else:
                slope = torch.ops.aten.threshold_backward(slope, active, 0)
    return parts[::-1]


def loss_slope(logits: torch.Tensor, y: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """The gradient of each model's mean cross-entropy to its logits [models, batch, classes], in their dtype."""
    slope = logits.softmax(-1, dtype=torch.float32)
    slope -= label_smoothing / slope.shape[-1]
    slope.scatter_add_(-1, y[..., None], slope.new_full((), label_smoothing - 1.0).expand(*y.shape, 1))
    return (slope / y.shape[1]).to(logits.dtype)


def _loss_slope_on(device: torch.device) -> Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]:
    if kernels_run_on(device):
        from miafast.shadow.mlp_kernel import loss_slope as fused

        return fused
    return loss_slope
