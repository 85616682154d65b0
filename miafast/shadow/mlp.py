"""Multilayer perceptrons and logistic regression on the processor: `miafast.ops.mlp_steps`, block after block."""

from __future__ import annotations

import os

import numpy as np
import torch

from miafast.ops.mlp_steps import MlpState, mlp_steps
from miafast.progress import Progress
from miafast.shadow.batches import Batches
from miafast.shadow.modules import widths
from miafast.shadow.private import flat_inputs
from miafast.shadow.random import dropout_bases
from miafast.shadow.recipe import Recipe
from miafast.tables import Array, Records

_BLOCK_WORK = 2e10  # floating-point operations per model at a time: well below a second, so that Ctrl-C is heard


def train_mlps(
    recipe: Recipe, records: Records, in_rows: list[Array], weights: torch.Tensor, *, seed: int, models: list[int],
    progress: Progress,
) -> torch.Tensor:  # fmt: skip
    """Trained weights [models, parameters]; models come by falling number of steps, with one batch size."""
    x, scale, shift = flat_inputs(records)
    batches = [Batches(recipe, rows, seed=seed, model=model) for rows, model in zip(in_rows, models, strict=True)]
    steps = np.array([each.steps for each in batches])
    keys = dropout_bases(seed, models)
    state = MlpState(weights.numpy().copy(), *(np.zeros(weights.shape, np.float32) for _ in range(2)))
    rounds = -(-len(models) // (os.cpu_count() or 1))
    block = int(np.clip(_BLOCK_WORK / (6 * weights.shape[1] * batches[0].size * rounds), 1, 1024))
    for taken in range(0, int(steps[0]), block):
        count = int((steps > taken).sum())
        now = min(block, int(steps[0]) - taken)
        rates = np.zeros((count, now))
        for row, each in zip(rates, batches, strict=False):
            row[: each.steps - taken] = each.rates[taken : taken + now]
        after = mlp_steps(
            state.weights[:count], state.first[:count], state.second[:count], x, records.y,
            np.stack([each.draw(now) for each in batches[:count]]), np.minimum(steps[:count] - taken, now), rates,
            keys[:count],
            widths=widths(recipe, records.shape, records.classes), taken=taken, activation=recipe.activation,
            optimizer=recipe.optimizer, momentum=recipe.momentum, nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay, dropout=recipe.dropout, label_smoothing=recipe.label_smoothing,
            bfloat16=recipe.dtype == "bfloat16", scale=scale, shift=shift,
        )  # fmt: skip
        for old, new in zip(state, after, strict=True):
            old[:count] = new
        progress.advance(int(np.minimum(steps[:count] - taken, now).sum()))
    return torch.from_numpy(state.weights)
