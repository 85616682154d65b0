"""Training steps of K models at once on their device: one function on static tensors, which one CUDA graph can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from miafast.shadow.augment import Augment, augmented
from miafast.shadow.batches import Batches
from miafast.shadow.capture import WARM_UPS, captured
from miafast.shadow.modules import DropoutKeys
from miafast.shadow.optimiser import corrections
from miafast.shadow.order import Order
from miafast.shadow.recipe import Recipe
from miafast.shadow.resident import Resident
from miafast.tables import Array

#: Takes a step with x [models, batch, ...], y [models, batch], dropout keys [models, layers], rates [models] and the
#: optimiser's corrections [2].
Step = Callable[[Any, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], None]

_BLOCK_NUMBERS = {"cpu": 1 << 22, "cuda": 1 << 24}  # record indices drawn together


class Steps:
    """Calls ``step``, which trains ``models`` models in place, with ``batch`` records for each, again and again.

    What differs from step to step lies ready on the device for a block of steps, and a counter there says which is
    next: so a captured step serves all steps, and all models that are put into the same place one after the other.
    Models with fewer steps than others stay as they are at a learning rate of 0. ``inputs`` gives x for record numbers.
    """

    def __init__(
        self, recipe: Recipe, data: Resident, step: Step, *, inputs: Callable[[torch.Tensor], Any], models: int,
        batch: int, steps: int, layers: int,
    ) -> None:  # fmt: skip
        self._recipe, self._data, self._take, self._inputs, self._batch = recipe, data, step, inputs, batch
        self._block = min(steps, max(1, _BLOCK_NUMBERS[data.device.type] // (models * batch)))

        def room(*axes: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
            return torch.zeros(max(self._block, WARM_UPS), *axes, dtype=dtype, device=data.device)

        self._next = torch.zeros(1, dtype=torch.int64, device=data.device)
        self._order = room(models, batch)
        self._augmentation = room(models * batch if recipe.augment else 0, 3)
        self._keys = room(models, layers)
        self._rates = room(models, dtype=torch.float32)
        self._corrections = room(2, dtype=torch.float32) + 1.0
        self._step = captured(self._once, data.device)

    @property
    def how(self) -> str:
        """What runs: "captured CUDA graph", or "eager" and why."""
        return self._step.how

    @property
    def draws(self) -> bool:
        """Whether steps draw from torch's global generator."""
        return self._step.draws

    def taken(
        self, in_rows: Sequence[Array], dropout: DropoutKeys, *, seed: int, models: Sequence[int]
    ) -> Iterator[int]:
        """Take all steps of the models whose weights are now in place; yields after each how many models it trained."""
        rows = list(zip(in_rows, models, strict=True))
        batches = [Batches(self._recipe, own, seed=seed, model=model) for own, model in rows]
        order = Order(in_rows, size=self._batch, seed=seed, models=models, device=self._data.device)
        augments = [Augment(self._recipe.augment, seed=seed, model=model) for model in models]
        counts = np.array([each.steps for each in batches])
        rates = np.zeros((counts.max(), len(models)), np.float32)
        for column, each in enumerate(batches):
            rates[: each.steps, column] = each.rates
        for begin in range(0, len(rates), self._block):
            steps = range(begin, min(begin + self._block, len(rates)))
            self._next.zero_()
            self._order[: len(steps)] = order.at(begin, len(steps))
            _fill(self._rates, rates[begin : steps.stop])
            _fill(self._corrections, corrections(begin, len(steps)))
            if self._keys.numel():
                _fill(self._keys, np.stack([dropout.at(step) for step in steps]))
            if self._recipe.augment:
                drawn = [[each.draw(self._batch) for each in augments] for _ in steps]
                _fill(self._augmentation, np.stack(drawn).reshape(len(steps), -1, 3))
            for step in steps:
                self._step.run()
                yield int((counts > step).sum())

    def _once(self) -> None:
        which = self._now(self._order)
        x = self._inputs(which)
        if self._recipe.augment:
            x = augmented(x.flatten(0, 1), self._now(self._augmentation), self._recipe.augment).unflatten(
                0, which.shape
            )
        now = self._now(self._keys), self._now(self._rates), self._now(self._corrections)
        self._take(x, self._data.y[which], *now)
        self._next += 1

    def _now(self, buffer: torch.Tensor) -> torch.Tensor:
        return buffer.index_select(0, self._next)[0]


def _fill(buffer: torch.Tensor, values: Array) -> None:
    buffer[: len(values)] = torch.as_tensor(values)
