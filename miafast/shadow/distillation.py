"""Models distilled from a target: trained on its answers in place of the labels."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from miafast.progress import Silent
from miafast.shadow.models import wrap
from miafast.shadow.modules import flattened
from miafast.shadow.recipe import Recipe, TrainFunction
from miafast.shadow.resident import Resident
from miafast.shadow.single import train_singly
from miafast.tables import Array, Records


def distilled(recipe: Recipe, target: Any) -> TrainFunction:
    """How models that mimic ``target`` are trained: a train function for `miafast.audit`'s ``recipe``.

    Each trains by ``recipe`` on its IN records, with the target's probabilities as soft labels. ``target`` is what
    `miafast.shadow.wrap` takes. One model at a time: see `miafast.attacks.AttackD`.

    Raises TypeError unless recipe is a `Recipe`, and for a target of no known kind.

    Source: Ye et al. 2022, "Enhanced membership inference attacks against machine learning models", section 4.4;
    Hinton et al. 2015, "Distilling the knowledge in a neural network" (at temperature 1).
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe is {type(recipe).__name__}; give the miafast.Recipe to train mimics by.")
    wrap(target)
    return partial(_distil, recipe=recipe, target=target)


def is_distilled(recipe: Any) -> bool:
    """Whether this is what `distilled` made."""
    return isinstance(recipe, partial) and recipe.func is _distil


def _distil(records: Records, in_indices: Array, seed: int, *, recipe: Recipe, target: Any) -> nn.Module:
    recipe.check(records)
    data = Resident(records, "cpu")
    answers = wrap(target, classes=records.classes).logits(records.inputs(in_indices))[0].softmax(dim=-1)
    data.y = torch.zeros(len(records), records.classes)
    data.y[torch.as_tensor(in_indices)] = answers
    (module,), _ = train_singly(recipe, records, data, {0: in_indices}, seed=seed, progress=Silent())
    if not bool(torch.isfinite(flattened(module)).all()):
        raise ValueError("a mimic's weights are not finite: its training diverged. Lower learning_rate.")
    return module
