"""K models at once: every parameter gets a leading axis of models, and one `torch.func.vmap` runs them all.

Batches of a model hold only its own IN records, so nothing is masked. Models are kept in the order of falling numbers
of steps: those that have finished drop from the end of the stack.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, vmap

from miafast.shadow.augment import Augment
from miafast.shadow.batches import Batches
from miafast.shadow.modules import DropoutKeys, flattened
from miafast.shadow.optimiser import Optimiser
from miafast.shadow.recipe import Recipe
from miafast.shadow.single import Resident

#: Modules that would be wrong (shared running statistics) or slow (grouped convolution) in a stack.
_ALONE = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.RNNBase, nn.MultiheadAttention)

_BLOCK = 32  # steps whose batches are drawn together


class Stack:
    """Modules of one architecture as one: ``weights`` is float32 [models, parameters], buffers are stacked likewise."""

    def __init__(self, modules: list[nn.Module], device: str) -> None:
        self.module = modules[0].to(device)
        rows = [flattened(each) for each in modules]
        self.weights = torch.stack(rows).to(device)
        named = [dict(each.named_buffers()) for each in modules]
        self.buffers = {name: torch.stack([each[name] for each in named]).to(device) for name in named[0]}

    def parameters(self, count: int) -> dict[str, torch.Tensor]:
        """Every parameter of the first ``count`` models, [count, ...]; the values are those of ``weights``."""
        views, begin = {}, 0
        for name, each in self.module.named_parameters():
            views[name] = self.weights[:count, begin : begin + each.numel()].detach().unflatten(1, each.shape)
            begin += each.numel()
        return views

    def __call__(self, parameters: dict[str, torch.Tensor], buffers: dict[str, torch.Tensor], x: torch.Tensor, *,
                 x_axis: int | None) -> torch.Tensor:  # fmt: skip
        """Logits [models, batch, classes]; ``x_axis`` is 0 if every model has its own batch, None if they share it."""

        def one(parameters: dict[str, torch.Tensor], buffers: dict[str, torch.Tensor], x: torch.Tensor) -> Any:
            return functional_call(self.module, {**parameters, **buffers}, (x,))

        out: torch.Tensor = vmap(one, in_dims=(0, 0, x_axis))(parameters, buffers, x)
        return out

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of all models for one shared batch, in evaluation mode."""
        self.module.eval()
        return self(self.parameters(len(self.weights)), self.buffers, x, x_axis=None).float()

    def alone(self, row: int) -> nn.Module:
        """One model of the stack as a module that shares nothing with it, in evaluation mode."""
        module = copy.deepcopy(self.module)
        with torch.no_grad():
            for each, values in zip(module.parameters(), self.parameters(len(self.weights)).values(), strict=True):
                each.copy_(values[row])
            for name, buffer in module.named_buffers():
                buffer.copy_(self.buffers[name][row])
        return module.eval()


def stacks(module: nn.Module, data: Resident) -> bool:
    """Whether a module runs under vmap, forwards and backwards, and gains from it."""
    if any(isinstance(each, _ALONE) for each in module.modules()):
        return False
    stack = Stack([module, module], str(data.x.device))
    leaves = {name: each.requires_grad_() for name, each in stack.parameters(2).items()}
    x = data.inputs(torch.zeros(4, dtype=torch.int64, device=data.x.device)).unflatten(0, (2, 2))
    try:
        torch.autograd.grad(stack(leaves, stack.buffers, x, x_axis=0).sum(), list(leaves.values()))
    except (RuntimeError, ValueError, NotImplementedError):
        return False
    return True


def train_stack(
    recipe: Recipe, data: Resident, in_rows: list[np.ndarray[Any, Any]], stack: Stack, *, seed: int, models: list[int],
    progress: Any,
) -> Stack:  # fmt: skip
    """Train all models of a stack; ``models`` come in the order of falling numbers of steps, with one batch size."""
    device = data.x.device
    batches = [Batches(recipe, rows, seed=seed, model=model) for rows, model in zip(in_rows, models, strict=True)]
    augments = [Augment(recipe.augment, seed=seed, model=model) for model in models]
    dropout = DropoutKeys(stack.module, seed=seed, models=models)
    steps = np.array([each.steps for each in batches])
    optimiser = Optimiser(recipe, stack.weights)
    stack.module.train()
    for begin in range(0, int(steps[0]), _BLOCK):
        drawn = torch.as_tensor(np.stack([each.draw(_BLOCK) for each in batches], axis=1), device=device)
        rates = torch.as_tensor(
            np.stack([np.resize(each.rates[begin : begin + _BLOCK], _BLOCK) for each in batches], axis=1),
            dtype=torch.float32, device=device,
        )  # fmt: skip
        for step in range(begin, min(begin + _BLOCK, int(steps[0]))):
            count = int((steps > step).sum())
            which = drawn[step - begin, :count]
            x = data.inputs(which)
            if recipe.augment:
                x = torch.stack([augment(each) for augment, each in zip(augments, x, strict=False)])
            gradient = _gradient(recipe, stack, x, data.y[which], dropout.at(step, count, device))
            optimiser.step(stack.weights[:count], gradient, rates[step - begin, :count, None])
            progress.advance(count)
    return stack


def _gradient(
    recipe: Recipe, stack: Stack, x: torch.Tensor, y: torch.Tensor, keys: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Each model's own gradient of its mean loss, [models, parameters], for x [models, batch, ...]."""
    leaves = {name: each.requires_grad_() for name, each in stack.parameters(len(x)).items()}
    buffers = {**{name: each[: len(x)] for name, each in stack.buffers.items()}, **keys}
    with torch.autocast(x.device.type, torch.bfloat16, enabled=recipe.dtype == "bfloat16"):
        logits = stack(leaves, buffers, x, x_axis=0)
    loss = nn.functional.cross_entropy(
        logits.float().flatten(0, 1), y.flatten(), label_smoothing=recipe.label_smoothing, reduction="sum"
    )
    gradients = torch.autograd.grad(loss / y.shape[1], list(leaves.values()))
    return torch.cat([each.flatten(1) for each in gradients], dim=1)
