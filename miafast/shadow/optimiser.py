"""SGD, Adam and AdamW over many models' parameters, every model with its own learning rate. Formulas as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from miafast.shadow.capture import kernels_run_on
from miafast.shadow.recipe import Recipe
from miafast.tables import Array

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Leaf(NamedTuple):
    """One parameter of all models and the optimiser's moments, each float32 [models, ...] and changed in place."""

    weights: torch.Tensor
    first: torch.Tensor  # momentum, or Adam's first moment
    second: torch.Tensor
    rounded: torch.Tensor  # the weights as matrix products take them: in bfloat16, or themselves

    @classmethod
    def at(cls, weights: torch.Tensor, dtype: torch.dtype = torch.float32) -> Leaf:
        """The parameter before its first step."""
        return cls(weights, torch.zeros_like(weights), torch.zeros_like(weights), weights.to(dtype))


def corrections(begin: int, steps: int) -> Array:
    """What Adam's moments are divided by after steps begin + 1, ..., begin + steps: float32 [steps, 2]."""
    taken = np.arange(begin + 1, begin + steps + 1)[:, None]
    factors: Array = (1.0 - np.array(BETAS) ** taken).astype(np.float32)
    return factors


class Optimiser:
    """Updates parameters in place: in one kernel per parameter on a CUDA device that has Triton, else in PyTorch's."""

    def __init__(self, recipe: Recipe, leaves: Sequence[Leaf]) -> None:
        self._recipe, self._leaves = recipe, leaves
        self._update = _update_for(leaves[0].weights.device)

    def restart(self) -> None:
        """Forget all steps taken, and start from the weights that are now in place."""
        for leaf in self._leaves:
            leaf.first.zero_()
            leaf.second.zero_()
            leaf.rounded.copy_(leaf.weights)

    def step(self, gradients: Sequence[torch.Tensor], rates: torch.Tensor, correction: torch.Tensor) -> None:
        """One step of all models: ``rates`` [models], those of 0 stay where they are; ``correction`` [2]."""
        for leaf, gradient in zip(self._leaves, gradients, strict=True):
            self._update(self._recipe, leaf, gradient, rates, correction)


def _update_for(device: torch.device) -> Callable[[Recipe, Leaf, torch.Tensor, torch.Tensor, torch.Tensor], None]:
    if kernels_run_on(device):
        from miafast.shadow.optimiser_kernel import update

        return update
    return plain_update


def plain_update(
    recipe: Recipe, leaf: Leaf, gradient: torch.Tensor, rates: torch.Tensor, correction: torch.Tensor
) -> None:
    """One parameter's step of all models, in PyTorch's operations."""
    weights, first, second, rounded = leaf
    rate = rates.view(-1, *[1] * (weights.ndim - 1))
    if recipe.weight_decay and recipe.optimizer == "adamw":
        weights.mul_(1.0 - rate * recipe.weight_decay)
    elif recipe.weight_decay:
        gradient = gradient.add(weights, alpha=recipe.weight_decay)
    gradient = gradient.to(weights.dtype)
    if recipe.optimizer == "sgd":
        if recipe.momentum:
            first.mul_(recipe.momentum).add_(gradient)
            gradient = gradient.add(first, alpha=recipe.momentum) if recipe.nesterov else first
        weights.sub_(rate * gradient)
        rounded.copy_(weights)
        return
    first.lerp_(gradient, 1.0 - BETAS[0])
    second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1.0 - BETAS[1])
    size = second.sqrt().div_(correction[1].sqrt()).add_(EPSILON)
    weights.sub_((rate / correction[0]) * first / size)
    rounded.copy_(weights)
