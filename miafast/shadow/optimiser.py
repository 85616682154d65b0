"""SGD, Adam and AdamW over stacked parameters, every model with its own learning rate. Formulas as in PyTorch."""

from __future__ import annotations

import torch

from miafast.shadow.recipe import Recipe

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Optimiser:
    """Updates ``weights`` [models, parameters] in place; all models have taken the same number of steps."""

    def __init__(self, recipe: Recipe, weights: torch.Tensor) -> None:
        self._recipe = recipe
        self._first = torch.zeros_like(weights) if recipe.optimizer != "sgd" or recipe.momentum else None
        self._second = torch.zeros_like(weights) if recipe.optimizer != "sgd" else None
        self._steps = 0

    def step(self, weights: torch.Tensor, gradient: torch.Tensor, rates: torch.Tensor) -> None:
        """One step of the first len(weights) models; ``rates`` [models, 1]."""
        recipe, decay = self._recipe, self._recipe.weight_decay
        self._steps += 1
        if decay and recipe.optimizer != "adamw":
            gradient = gradient.add(weights, alpha=decay)
        elif decay:
            weights.mul_(1.0 - rates * decay)
        if self._second is None:
            weights.sub_(rates * self._momentum(gradient))
            return
        assert self._first is not None
        first, second = self._first[: len(weights)], self._second[: len(weights)]
        first.lerp_(gradient, 1.0 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1.0 - BETAS[1])
        size = second.sqrt().div_((1.0 - BETAS[1] ** self._steps) ** 0.5).add_(EPSILON)
        weights.sub_((rates / (1.0 - BETAS[0] ** self._steps)) * first / size)

    def _momentum(self, gradient: torch.Tensor) -> torch.Tensor:
        if self._first is None:
            return gradient
        velocity = self._first[: len(gradient)]
        velocity.mul_(self._recipe.momentum).add_(gradient)
        return gradient.add(velocity, alpha=self._recipe.momentum) if self._recipe.nesterov else velocity
