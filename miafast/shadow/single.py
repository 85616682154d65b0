"""One model at a time: what does not stack (convolutions, batch normalisation, a user's own train function)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from torch import nn

from miafast.shadow.augment import Augment
from miafast.shadow.batches import Batches
from miafast.shadow.models import Models, wrap
from miafast.shadow.modules import DropoutKeys, build, torch_seeded
from miafast.shadow.random import Array, integer
from miafast.shadow.recipe import Recipe, TrainFunction
from miafast.tables import Records


class Resident:
    """Inputs and labels kept on the device in their stored type; batches become float32 when they are used."""

    def __init__(self, records: Records, device: str) -> None:
        x = records.x if records.x.dtype == np.uint8 else records.inputs()
        scaled = x is records.x
        self.x = torch.as_tensor(np.ascontiguousarray(x), device=device)
        self.y = torch.as_tensor(records.y, device=device)
        self._scale, self._shift = (records.scale, records.shift) if scaled else (1.0, 0.0)
        if self.x.ndim == 4:
            self.x = self.x.contiguous(memory_format=torch.channels_last)

    def inputs(self, which: torch.Tensor) -> torch.Tensor:
        return self.x[which].float().mul_(self._scale).add_(self._shift)


def train_module(
    recipe: Recipe, data: Resident, in_indices: Array, module: nn.Module, *, seed: int, model: int, progress: Any
) -> nn.Module:
    """Train one module on its IN records and put it into evaluation mode."""
    module = module.to(data.x.device)
    for _ in training_steps(
        recipe, data, Batches(recipe, in_indices, seed=seed, model=model), module, seed=seed, model=model
    ):
        progress.advance(1)
    return module.eval()


def training_steps(
    recipe: Recipe, data: Resident, batches: Batches, module: nn.Module, *, seed: int, model: int
) -> Generator[int, None, None]:
    """Train a module in training mode, yielding the number of each step when it is taken."""
    device = data.x.device
    order = torch.as_tensor(batches.draw(batches.steps), device=device)
    augment = Augment(recipe.augment, seed=seed, model=model)
    optimizer = make_optimizer(recipe, module)
    buffers, keys = dict(module.named_buffers()), DropoutKeys(module, seed=seed, models=[model])
    with torch_seeded(integer(seed, model, "training")):
        for step in range(batches.steps):
            for name, key in keys.at(step, 1, device).items():
                buffers[name].copy_(key[0])
            x, y = augment(data.inputs(order[step])), data.y[order[step]]
            for group in optimizer.param_groups:
                group["lr"] = batches.rates[step]
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.dtype == "bfloat16"):
                logits = module(x)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits.float(), y, label_smoothing=recipe.label_smoothing).backward()
            optimizer.step()
            yield step


def train_with(train: TrainFunction, records: Records, in_indices: Array, *, seed: int, model: int) -> Models:
    """One model by the user's function, which is given its own seed."""
    made = train(records, in_indices, integer(seed, model, "train function"))
    return wrap(made, name=f"model {model} (from your train function)", classes=records.classes)


def fresh(recipe: Recipe, records: Records, *, seed: int, model: int) -> nn.Module:
    return build(recipe, records.shape, records.classes, seed=seed, model=model)


def make_optimizer(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    parameters, rate, decay = list(module.parameters()), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, rate, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov, fused=True
        )
    which = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return which(parameters, rate, weight_decay=decay, fused=True)
