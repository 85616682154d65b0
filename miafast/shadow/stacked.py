"""K models at once: every parameter gets a leading axis of models, and one `torch.func.vmap` runs them all.

Perceptrons have their gradient written out. Batches of a model hold only its own IN records, so nothing is masked.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torch.func import functional_call, vmap

from miafast.progress import Progress
from miafast.shadow.batches import batch_size_for, steps_for
from miafast.shadow.capture import kernels_run_on
from miafast.shadow.mlp_gradient import mlp_gradient
from miafast.shadow.modules import DropoutKeys, flattened
from miafast.shadow.optimiser import Leaf, Optimiser
from miafast.shadow.recipe import Recipe
from miafast.shadow.resident import Resident
from miafast.shadow.steps import Step, Steps
from miafast.tables import Array

#: Modules that would be wrong (shared running statistics) or slow (grouped convolution) in a stack.
_ALONE = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.RNNBase, nn.MultiheadAttention)


class Stack:
    """Modules of one architecture as one: ``weights`` is float32 [models, parameters], buffers are stacked likewise."""

    def __init__(self, modules: Iterable[nn.Module], device: str) -> None:
        weights, named = [], []
        for module in modules:  # one after the other: none is needed once it is read
            weights.append(flattened(module))
            named.append(dict(module.named_buffers()))
        self.weights = torch.stack(weights).to(device)
        self.buffers = {name: torch.stack([each[name] for each in named]).to(device) for name in named[0]}
        self.module = module.to(device)

    def parameters(self) -> dict[str, torch.Tensor]:
        """Every parameter of all models, [models, ...]: views of ``weights``."""
        views, begin = {}, 0
        for name, each in self.module.named_parameters():
            views[name] = self.weights[:, begin : begin + each.numel()].unflatten(1, each.shape)
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
        return self(self.parameters(), self.buffers, x, x_axis=None).float()

    def alone(self, row: int) -> nn.Module:
        """One model of the stack as a module that shares nothing with it, in evaluation mode."""
        module = copy.deepcopy(self.module)
        with torch.no_grad():
            for each, values in zip(module.parameters(), self.parameters().values(), strict=True):
                each.copy_(values[row])
            for name, buffer in module.named_buffers():
                buffer.copy_(self.buffers[name][row])
        return module.eval()


def stacks(module: nn.Module, data: Resident) -> bool:
    """Whether a module runs under vmap, forwards and backwards, and gains from it."""
    if any(isinstance(each, _ALONE) for each in module.modules()):
        return False
    stack = Stack([module, module], str(data.device))
    leaves = {name: each.detach().requires_grad_() for name, each in stack.parameters().items()}
    x = data.inputs(torch.zeros(2, 2, dtype=torch.int64, device=data.device))
    try:
        torch.autograd.grad(stack(leaves, stack.buffers, x, x_axis=0).sum(), list(leaves.values()))
    except (RuntimeError, ValueError, NotImplementedError):
        return False
    return True


def train_stack(
    recipe: Recipe, data: Resident, in_rows: list[Array], stack: Stack, *, seed: int, models: list[int],
    progress: Progress,
) -> str:  # fmt: skip
    """Train all models of a stack, all with one batch size, and say what ran."""
    weights = {name: each.clone(memory_format=torch.contiguous_format) for name, each in stack.parameters().items()}
    dropout, by_hand = DropoutKeys(stack.module, seed=seed, models=models), isinstance(recipe.model, str)
    dtype = getattr(torch, recipe.dtype) if by_hand else torch.float32
    leaves = [Leaf.at(each, dtype) for each in weights.values()]
    optimiser = Optimiser(recipe, leaves)
    stack.module.train()

    def step(
        x: torch.Tensor, y: torch.Tensor, keys: torch.Tensor, rates: torch.Tensor, correction: torch.Tensor
    ) -> None:
        if by_hand:
            gradients: Sequence[torch.Tensor] = mlp_gradient(recipe, [leaf.rounded for leaf in leaves], x, y, keys)
        else:
            buffers = {**stack.buffers, **dict(zip(dropout.names, keys.unbind(1), strict=True))}
            gradients = _gradient(recipe, stack, weights, buffers, x, y)
        optimiser.step(gradients, rates, correction)

    run: Step = step
    inputs: Callable[[torch.Tensor], Any] = partial(data.inputs, dtype=dtype)
    if dtype == torch.bfloat16 and kernels_run_on(data.device):
        from miafast.shadow.mlp_kernel import mlp_step

        run = partial(mlp_step, recipe, leaves)
        inputs = data.packed if data.packs and not recipe.augment else inputs
    steps = Steps(
        recipe, data, run, inputs=inputs, models=len(models), batch=batch_size_for(recipe, len(in_rows[0])),
        steps=max(steps_for(recipe, len(rows)) for rows in in_rows), layers=len(dropout.names),
    )  # fmt: skip
    for leaf, start in zip(weights.values(), stack.parameters().values(), strict=True):
        leaf.copy_(start)
    optimiser.restart()
    for trained in steps.taken(in_rows, dropout, seed=seed, models=models):
        progress.advance(trained)
    for leaf, end in zip(weights.values(), stack.parameters().values(), strict=True):
        end.copy_(leaf)
    return steps.how


def _gradient(
    recipe: Recipe, stack: Stack, weights: dict[str, torch.Tensor], buffers: dict[str, torch.Tensor], x: torch.Tensor,
    y: torch.Tensor,
) -> Sequence[torch.Tensor]:  # fmt: skip
    """Each model's own gradient of its mean loss, by autograd, for x [models, batch, ...]."""
    tracked = {name: each.detach().requires_grad_() for name, each in weights.items()}
    with torch.autocast(x.device.type, torch.bfloat16, enabled=recipe.dtype == "bfloat16"):
        logits = stack(tracked, buffers, x, x_axis=0)
    loss = nn.functional.cross_entropy(
        logits.float().flatten(0, 1), y.flatten(), label_smoothing=recipe.label_smoothing, reduction="sum"
    )
    return cast(Sequence[torch.Tensor], torch.autograd.grad(loss / y.shape[1], list(tracked.values())))
