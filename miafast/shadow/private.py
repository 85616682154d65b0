"""DP-SGD of many small models at once: `PrivateRecipe` says how, `train_private` does it. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from miafast.ops.dp_sgd_steps import dp_sgd_steps
from miafast.progress import Progress
from miafast.shadow.random import stream, uniform
from miafast.tables import Array, Records

#: Mistakes seen in real implementations, to see an audit find them.
MISTAKES = ("none", "noise over batch size", "clips after averaging", "no noise in the last batch")

_BLOCK_WORK = 1e11  # floating-point operations between two looks at the keyboard: a few seconds


@dataclass(frozen=True)
class PrivateRecipe:
    """A multilayer perceptron (or, without hidden layers, logistic regression) trained by DP-SGD on Poisson batches.

    Raises ValueError for a setting out of range, naming it.

    >>> PrivateRecipe(hidden=(), steps=10, noise_multiplier=2.0).noise(batch=100).tolist()[:2]
    [2.0, 2.0]
    """

    hidden: tuple[int, ...] = (32,)
    activation: str = "relu"
    learning_rate: float = 0.5
    steps: int = 300
    batch_size: int = 64  # expected: every record is in a batch with probability batch_size / records
    clip: float = 1.0
    noise_multiplier: float = 1.0
    same_start: bool = True  # all models start from the same weights: what an attacker may know in the worst case
    mistake: str = "none"  # one of MISTAKES

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        positive = ("learning_rate", "steps", "batch_size", "clip")
        if bad := [name for name in positive if not getattr(self, name) > 0]:
            raise ValueError(f"{bad[0]}={getattr(self, bad[0])}; give a number above 0.")
        if not self.noise_multiplier >= 0:
            raise ValueError(f"noise_multiplier={self.noise_multiplier}; give a number of at least 0.")
        if any(units < 1 for units in self.hidden):
            raise ValueError(f"hidden={self.hidden}; every hidden layer needs at least 1 unit.")
        if self.activation not in ("relu", "tanh"):
            raise ValueError(f"activation={self.activation!r} is not known; choose relu or tanh.")
        if self.mistake not in MISTAKES:
            raise ValueError(f"mistake={self.mistake!r} is not known; choose one of {', '.join(MISTAKES)}.")

    def sample_rate(self, records: int) -> float:
        """The chance of a record to be in a batch, with ``records`` in the pool. Raises ValueError for too few."""
        if self.batch_size > records:
            raise ValueError(f"batch_size={self.batch_size} of {records} records; give at most as many.")
        return self.batch_size / records

    def noise(self, *, batch: float) -> Array:
        """float32 [steps] standard deviation of the noise on the sum of gradients, mistakes included."""
        noise = np.full(self.steps, self.noise_multiplier * self.clip, np.float32)
        if self.mistake == "noise over batch size":
            noise /= np.float32(batch)
        if self.mistake == "no noise in the last batch":
            noise[-1] = 0.0
        return noise

    def widths(self, records: Records) -> tuple[int, ...]:
        """Units of every layer, inputs and classes included."""
        return (int(np.prod(records.shape)), *self.hidden, records.classes)


@dataclass(frozen=True, eq=False)
class GradientCanaries:
    """Canaries in gradient space: each pushes one parameter up by the whole clipping norm when it is sampled."""

    places: Array  # int64 [canaries] indices of parameters
    is_in: Array  # bool [models, canaries]


def start(recipe: PrivateRecipe, records: Records, *, models: Sequence[int], seed: int) -> Array:
    """float32 [models, parameters] weights before training: uniform in ± 1/√inputs of each layer, as in PyTorch."""
    widths = recipe.widths(records)
    bounds = np.concatenate([
        np.full((inside + 1) * outside, 1 / np.sqrt(inside))
        for inside, outside in pairwise(widths)
    ])  # fmt: skip
    which = [0] * len(models) if recipe.same_start else models
    rows = [uniform(stream(seed, model, "private start"), len(bounds)) for model in dict.fromkeys(which)]
    drawn = rows * len(models) if recipe.same_start else rows
    weights: Array = ((2 * np.stack(drawn) - 1) * bounds).astype(np.float32)
    return weights


def train_private(
    recipe: PrivateRecipe,
    records: Records,
    in_mask: Array,
    *,
    models: Sequence[int],
    seed: int,
    canaries: GradientCanaries | None = None,
    steps: slice = slice(None),
    weights: Array | None = None,
    progress: Progress | None = None,
) -> Array:
    """Trained weights, float32 [models, parameters]; each a function of (seed, model index) and its row of the mask.

    in_mask: bool [models, records]. models: their indices, which decide about their randomness. The chance to be
    sampled depends on the size of the pool alone, never on who is in. steps: a part of the recipe's steps, where not
    all shall be taken; ``weights`` then says where the models are.

    Raises ValueError when shapes do not fit or the batch is larger than the pool.

    >>> records = Records(np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1]), classes=2)
    >>> recipe = PrivateRecipe(hidden=(), steps=2, batch_size=2)
    >>> train_private(recipe, records, np.ones((3, 4), bool), models=[0, 1, 2], seed=0).shape
    (3, 10)
    """
    if np.shape(in_mask) != (len(models), len(records)):
        raise ValueError(
            f"in_mask has shape {np.shape(in_mask)}; give [models, records] = {(len(models), len(records))}."
        )
    rate = recipe.sample_rate(len(records))
    x, scale, shift = flat_inputs(records)
    weights = start(recipe, records, models=models, seed=seed) if weights is None else weights.copy()
    keys = private_keys(seed, models)
    places = np.zeros(0, np.int64) if canaries is None else canaries.places
    canary_in = np.zeros((len(models), 0), bool) if canaries is None else canaries.is_in
    noise = recipe.noise(batch=recipe.batch_size)[steps]
    taken = steps.indices(recipe.steps)[0]
    block = max(1, int(_BLOCK_WORK / (6 * weights.shape[1] * recipe.batch_size * max(1, len(noise)))))
    for begin in range(0, len(models), block):
        some = slice(begin, begin + block)
        weights[some] = dp_sgd_steps(
            weights[some], x, records.y, in_mask[some], keys[some], noise, places, canary_in[some],
            widths=recipe.widths(records), taken=taken, sample_rate=rate, clip=recipe.clip,
            learning_rate=recipe.learning_rate, expected_batch=float(recipe.batch_size), activation=recipe.activation,
            clipping="batch" if recipe.mistake == "clips after averaging" else "record", scale=scale, shift=shift,
        )  # fmt: skip
        if progress is not None:
            progress.advance(len(weights[some]))
    return weights


def private_keys(seed: int, models: Sequence[int]) -> Array:
    """uint32 [models, 2]: where the models' sampling and noise start."""
    raw = [int(stream(seed, model, "private").random_raw()) for model in models]
    return np.array([[each >> 32, each & 0xFFFFFFFF] for each in raw], np.uint32).reshape(-1, 2)


def flat_inputs(records: Records) -> tuple[Array, float, float]:
    """Inputs [records, features] as uint8 with their scale and shift, or as float32 ready to use."""
    if records.x.dtype in (np.uint8, np.bool_):
        flat: Any = np.ascontiguousarray(records.x).view(np.uint8).reshape(len(records), -1)
        return flat, records.scale, records.shift
    return np.ascontiguousarray(records.inputs()).reshape(len(records), -1), 1.0, 0.0
