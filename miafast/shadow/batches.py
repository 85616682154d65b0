"""Which records a model sees at which step, and how fast it learns there: functions of (seed, model index, step)."""

from __future__ import annotations

import numpy as np

from miafast.shadow.random import permutation, stream
from miafast.shadow.recipe import Recipe
from miafast.tables import Array


def batch_size_for(recipe: Recipe, in_count: int) -> int:
    """Records per batch: the recipe's, or all IN records where they are fewer."""
    return min(recipe.batch_size, in_count)


def steps_for(recipe: Recipe, in_count: int) -> int:
    """Batches a model with this many IN records trains on: its epochs, rounded to whole batches, at least one."""
    return max(1, round(recipe.epochs * in_count / batch_size_for(recipe, in_count)))


def learning_rates(recipe: Recipe, steps: int) -> Array:
    """The learning rate of every step, float64 [steps]."""
    done = np.arange(steps) / steps
    if recipe.schedule == "linear":
        factor = 1.0 - done
    elif recipe.schedule == "cosine":
        factor = (1.0 + np.cos(np.pi * done)) / 2.0
    elif recipe.schedule == "step":
        factor = np.where(done < 0.5, 1.0, np.where(done < 0.75, 0.1, 0.01))
    elif recipe.schedule == "triangle":
        factor = np.minimum(done / 0.2, (1.0 - done) / 0.8)
    else:
        factor = np.ones(steps)
    rates: Array = recipe.learning_rate * factor
    return rates


class Batches:
    """The endless batch order of one model: shuffled epochs of its IN records in a row, cut into batches."""

    def __init__(self, recipe: Recipe, in_indices: Array, *, seed: int, model: int) -> None:
        self.size = batch_size_for(recipe, len(in_indices))
        self.steps = steps_for(recipe, len(in_indices))
        self.rates = learning_rates(recipe, self.steps)
        self._in_indices = in_indices
        self._bits = stream(seed, model, "batches")
        self._rest = in_indices[:0]

    def draw(self, steps: int) -> Array:
        """The record indices of the next ``steps`` batches, int64 [steps, size]."""
        parts, have = [self._rest], len(self._rest)
        while have < steps * self.size:
            parts.append(self._in_indices[permutation(self._bits, len(self._in_indices))])
            have += len(self._in_indices)
        order = np.concatenate(parts)
        self._rest = order[steps * self.size :]
        return order[: steps * self.size].reshape(steps, self.size)
