"""The gradient of stacked multilayer perceptrons by hand: batched matrix products, and nothing kept but activations."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from miafast.shadow.modules import dropout_kept
from miafast.shadow.recipe import Recipe


def mlp_gradient(
    recipe: Recipe, weights: Sequence[torch.Tensor], x: torch.Tensor, y: torch.Tensor, keys: torch.Tensor
) -> list[torch.Tensor]:
    """The gradient of each model's mean loss, in the order and shapes of ``weights``.

    ``weights`` are [models, out, in] and [models, out] for every layer; ``x`` is [models, batch, ...], ``y`` int64
    [models, batch], ``keys`` int64 [models, hidden layers]. In bfloat16, matrix products take and give bfloat16 and
    the softmax is float32.
    """
    dtype = getattr(torch, recipe.dtype)
    matrices = [each.to(dtype) for each in weights[::2]]
    biases = [each.to(dtype)[:, None] for each in weights[1::2]]
    values, masks = [x.flatten(2).to(dtype)], []
    for layer, (matrix, bias) in enumerate(zip(matrices[:-1], biases[:-1], strict=True)):
        sums = torch.baddbmm(bias, values[-1], matrix.mT)
        active = sums.tanh_() if recipe.activation == "tanh" else sums.relu_()
        if recipe.dropout:
            masks.append(dropout_kept(keys[:, layer], active.shape[1:], recipe.dropout) / (1.0 - recipe.dropout))
        values.append(active * masks[-1].to(dtype) if recipe.dropout else active)
    slope = torch.baddbmm(biases[-1], values[-1], matrices[-1].mT).softmax(-1, dtype=torch.float32)
    slope -= recipe.label_smoothing / slope.shape[-1]
    slope.scatter_add_(-1, y[..., None], slope.new_full((), recipe.label_smoothing - 1.0).expand(*y.shape, 1))
    slope = (slope / y.shape[1]).to(dtype)
    parts: list[torch.Tensor] = []
    for layer in reversed(range(len(matrices))):
        parts += [slope.sum(1, dtype=torch.float32), torch.bmm(slope.mT, values[layer])]
        if layer:
            slope = torch.bmm(slope, matrices[layer])
            active = values[layer]
            if recipe.dropout:
                slope *= masks[layer - 1].to(dtype)
                active = active * (1.0 - recipe.dropout)
            slope = slope * (1.0 - active * active) if recipe.activation == "tanh" else slope * (active > 0)
    return parts[::-1]
