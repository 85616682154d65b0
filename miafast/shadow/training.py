"""train(): every model of a chunk by one recipe, stacked where that works. The models do not depend on the chunk."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import nn

from miafast.ops.dispatch import Op
from miafast.ops.linear_confidence import Confidence
from miafast.ops.mlp_confidence import mlp_confidence
from miafast.progress import Progress, Silent
from miafast.shadow.answers import Answers
from miafast.shadow.batches import batch_size_for, steps_for
from miafast.shadow.mlp import train_mlps
from miafast.shadow.models import Models, join, wrap
from miafast.shadow.modules import flattened, widths
from miafast.shadow.recipe import IMAGE_MODELS, Recipe, TrainFunction, check_train_function
from miafast.shadow.resident import Resident
from miafast.shadow.single import fresh, train_singly, train_with
from miafast.shadow.stacked import Stack, stacks, train_stack
from miafast.tables import Array, Records

_STACK_BYTES = 16 << 30  # that weights, gradients, moments and batches of a stack may take on a device


def train(
    recipe: Recipe | TrainFunction, records: Records, in_mask: Array, *, models: Sequence[int], seed: int,
    device: str = "cpu", progress: Progress | None = None,
) -> Models:  # fmt: skip
    """Train the given models, each on its IN records only.

    ``in_mask`` is bool [models, records]; ``models`` are row numbers of it. Initialisation, batch order, dropout and
    augmentation of a model depend on (seed, model index) alone: the same model comes out whatever is trained with it.
    ``progress.advance(n)`` is told about finished units of `work`.

    Raises ValueError or TypeError before any training for a bad mask, model index, seed or recipe; after it, naming the
    model, when weights are not finite.
    """
    check(recipe, records)
    chosen = _chosen(in_mask, len(records), models)
    if operator.index(seed) < 0:
        raise ValueError(f"seed={seed} is negative; give an integer of at least 0.")
    progress = progress or Silent()
    in_rows = {model: np.flatnonzero(in_mask[model]) for model in chosen}
    if not isinstance(recipe, Recipe):
        made = []
        for model in chosen:
            made.append(train_with(recipe, records, in_rows[model], seed=seed, model=model))
            progress.advance(1)
        return join(made, how="one at a time, by a train function")
    data = Resident(records, device)
    if _stackable(recipe, records, device):
        return _train_stacked(recipe, records, data, in_rows, seed=seed, progress=progress)
    modules, how = _train_singly(recipe, records, data, in_rows, seed=seed, progress=progress)
    names = tuple(f"model {model}" for model in in_rows)
    if data.device.type != "cpu":
        answers = Answers(recipe, modules, names=names, classes=records.classes)
        return Models(len(names), how, names, records.classes, answers, str(data.device), modules=lambda: modules)
    made = [
        wrap(each, name=name, classes=records.classes, dtype=recipe.dtype)
        for each, name in zip(modules, names, strict=True)
    ]
    return join(made, how=how)


def train_modules(
    recipe: Recipe, records: Records, in_mask: Array, *, models: Sequence[int], seed: int
) -> list[nn.Module]:  # fmt: skip
    """The models of `train` on the processor as modules of their own, in evaluation mode: for what looks inside them.

    Raises as `train` does, and TypeError for a train function, whose models may not be modules.
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe is {type(recipe).__name__}; what looks inside models needs a miafast.Recipe.")
    recipe.check(records)
    in_rows = {model: np.flatnonzero(in_mask[model]) for model in _chosen(in_mask, len(records), models)}
    data = Resident(records, "cpu")
    if not _stackable(recipe, records, "cpu"):
        return _train_singly(recipe, records, data, in_rows, seed=seed, progress=Silent())[0]
    stacks_made, place, _ = _train_stacks(recipe, records, data, in_rows, seed=seed, progress=Silent())
    return _alone(stacks_made, [place[model] for model in in_rows])


def _alone(stacks_made: Sequence[Stack], order: Sequence[int]) -> list[nn.Module]:
    """Models of these stacks as modules of their own, by their places in all of them together."""
    rows = [(stack, row) for stack in stacks_made for row in range(len(stack.weights))]
    return [stack.alone(row) for stack, row in (rows[place] for place in order)]


def work(recipe: Recipe | TrainFunction, in_mask: Array, models: Sequence[int]) -> int:
    """How much there is to do: training steps of a Recipe, models of a train function.

    >>> work(Recipe(batch_size=2, epochs=3), np.array([[True, True, True, False]]), [0])
    4
    """
    if not isinstance(recipe, Recipe):
        return len(models)
    return sum(steps_for(recipe, int(in_mask[model].sum())) for model in models)


def stack_size(recipe: Recipe | TrainFunction, records: Records, *, device: str = "cpu") -> int:
    """How many models are best trained in one call of `train`: 1 for what does not stack on the processor.

    On a CUDA device, those that do not stack take turns on one captured step, and stacks are as large as a few
    gigabytes allow. A function of recipe and records alone, so that a run resumes with the same chunks.
    """
    check(recipe, records)
    if not isinstance(recipe, Recipe):
        return 1
    on_cpu = device == "cpu"
    if not _stackable(recipe, records, device):
        return 1 if on_cpu else 16
    if on_cpu:
        return max(16, 2 * (os.cpu_count() or 1))
    parameters = flattened(fresh(recipe, records, seed=0, model=0)).numel()
    each = 4 * (6 * parameters + 4 * recipe.batch_size * math.prod(records.shape))
    return int(np.clip(_STACK_BYTES // each, 16, 256))


def check(recipe: Recipe | TrainFunction, records: Records) -> None:
    """Refuse a recipe that cannot train on these records, or something that is no recipe."""
    if isinstance(recipe, Recipe):
        recipe.check(records)
    else:
        check_train_function(recipe)


def _train_stacked(
    recipe: Recipe, records: Records, data: Resident, in_rows: dict[int, Array], *, seed: int, progress: Progress
) -> Models:
    """Stacks that answer as one, in the order of ``in_rows``."""
    stacks_made, place, ran = _train_stacks(recipe, records, data, in_rows, seed=seed, progress=progress)
    order = torch.tensor([place[model] for model in in_rows], device=data.device)
    fused = None
    if isinstance(recipe.model, str) and _has_twin(mlp_confidence, str(data.device)):
        weights = torch.cat([stack.weights for stack in stacks_made])[order]
        sizes, activation = widths(recipe, records.shape, records.classes), recipe.activation

        def fused(x: Any, labels: Any) -> Confidence:
            return mlp_confidence(x.reshape(len(x), -1), weights, labels, widths=sizes, activation=activation)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([stack.answer(x) for stack in stacks_made])[order]

    names = tuple(f"model {model}" for model in in_rows)
    how = f"stacked ({max(len(each.weights) for each in stacks_made)} at once)"
    how += f", {ran}" if data.device.type != "cpu" else ""
    return Models(
        len(names), how, names, records.classes, forward, str(data.device), fused,
        modules=lambda: _alone(stacks_made, order.tolist()),
    )  # fmt: skip


def _train_stacks(
    recipe: Recipe, records: Records, data: Resident, in_rows: dict[int, Array], *, seed: int, progress: Progress
) -> tuple[list[Stack], dict[int, int], str]:
    """One stack for every batch size (they differ only where a model has fewer IN records than a batch); what ran."""
    native = isinstance(recipe.model, str) and not recipe.augment and data.device.type == "cpu"
    stacks_made: list[Stack] = []
    ran = "native"
    place: dict[int, int] = {}  # of a model in all stacks, one after the other
    by_work = sorted(in_rows, key=lambda model: (-len(in_rows[model]), model))
    for _, group in groupby(by_work, key=lambda model: batch_size_for(recipe, len(in_rows[model]))):
        models = sorted(group, key=lambda model: (-steps_for(recipe, len(in_rows[model])), model))
        stack = Stack((fresh(recipe, records, seed=seed, model=model) for model in models), str(data.device))
        rows = [in_rows[model] for model in models]
        if native:
            stack.weights = train_mlps(
                recipe, records, rows, stack.weights, seed=seed, models=models, progress=progress
            )
        else:
            ran = train_stack(recipe, data, rows, stack, seed=seed, models=models, progress=progress)
        _check_finite(stack.weights, models)
        stacks_made.append(stack)
        place |= {model: len(place) + number for number, model in enumerate(models)}
    return stacks_made, place, ran


def _train_singly(
    recipe: Recipe, records: Records, data: Resident, in_rows: dict[int, Array], *, seed: int, progress: Progress
) -> tuple[list[nn.Module], str]:
    modules, how = train_singly(recipe, records, data, in_rows, seed=seed, progress=progress)
    for model, module in zip(in_rows, modules, strict=True):
        _check_finite(flattened(module)[None], [model])
    return modules, how


def _stackable(recipe: Recipe, records: Records, device: str) -> bool:
    if isinstance(recipe.model, str):
        return recipe.model not in IMAGE_MODELS
    few = records.only(slice(1))
    return stacks(fresh(recipe, records, seed=0, model=0), Resident(few, device))


def _has_twin(op: Op[..., Any], place: str) -> bool:
    try:
        op.twin(place)
    except ValueError:
        return False
    return True


def _chosen(in_mask: Any, records: int, models: Sequence[int]) -> list[int]:
    if getattr(in_mask, "dtype", None) != np.bool_:
        raise TypeError(f"in_mask has dtype {getattr(in_mask, 'dtype', None)}; give bool [models, records].")
    if in_mask.ndim != 2 or in_mask.shape[1] != records:
        raise ValueError(f"in_mask has shape {in_mask.shape}; give [models, records] with {records} records.")
    chosen = [operator.index(model) for model in models]
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= model < len(in_mask) for model in chosen):
        raise ValueError(f"models={chosen}; give different rows of in_mask, 0 … {len(in_mask) - 1}.")
    for model in chosen:
        if not in_mask[model].any():
            raise ValueError(f"in_mask gives model {model} no IN record to train on; use another mask.")
    return chosen


def _check_finite(weights: torch.Tensor, models: Sequence[int]) -> None:
    finite = torch.isfinite(weights).all(dim=1)
    if not bool(finite.all()):
        model = models[int(finite.to(torch.int8).argmin())]
        raise ValueError(
            f"model {model} has weights that are not finite: its training diverged. Lower learning_rate, or "
            "scale the inputs."
        )
