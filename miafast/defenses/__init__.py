"""Defences: what a service does to its answers, and what a trainer does against memorising.

An output defence is a function of logits that stands before everything that is measured, on the target and on every
shadow model alike: the attacker knows the defence. A training defence changes the `Recipe` that shadows train with.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from miafast.defenses.answers import ConfidenceNoise, LabelOnly, Rounding, Temperature, TopK
from miafast.defenses.training import DPSGD, L2, Dropout, EarlyStopping, LabelSmoothing
from miafast.shadow import Recipe, TrainFunction
from miafast.spelling import did_you_mean
from miafast.tables import Array

__all__ = [
    "DEFENSES", "DPSGD", "L2", "ConfidenceNoise", "Defense", "Dropout", "EarlyStopping", "LabelOnly",
    "LabelSmoothing", "OutputDefense", "Rounding", "Temperature", "TopK", "TrainingDefense", "answer_of",
    "as_defenses", "defended_recipe",
]  # fmt: skip

OutputDefense: TypeAlias = TopK | LabelOnly | Rounding | Temperature | ConfidenceNoise
TrainingDefense: TypeAlias = L2 | Dropout | LabelSmoothing | EarlyStopping | DPSGD
Defense: TypeAlias = OutputDefense | TrainingDefense

#: What the command line calls the defences, and the kind of number that follows.
DEFENSES: dict[str, tuple[type[Any], type[Any] | None]] = {
    "top-k": (TopK, int), "label-only": (LabelOnly, None), "rounding": (Rounding, int),
    "temperature": (Temperature, float), "noise": (ConfidenceNoise, float), "l2": (L2, float),
    "dropout": (Dropout, float), "label-smoothing": (LabelSmoothing, float), "early-stopping": (EarlyStopping, int),
    "dp-sgd": (DPSGD, float),
}  # fmt: skip


def as_defenses(defense: Defense | str | Sequence[Defense | str] | None) -> tuple[Defense, ...]:
    """Defences in the order in which they act, from objects or names like "top-k:3", "label-only" or "l2:0.001".

    Commas in a string stand between several. Anything with ``__call__(logits)`` or ``recipe(recipe)`` is a defence.

    Raises ValueError for a name or number that is not known, TypeError for what is no defence.

    >>> as_defenses("l2:0.001,top-k:3")
    (L2(weight_decay=0.001), TopK(k=3))
    """
    if defense is None:
        return ()
    if isinstance(defense, str):
        return tuple(_named(each.strip()) for each in defense.split(","))
    if isinstance(defense, Sequence):
        return tuple(found for each in defense for found in as_defenses(each))
    if inspect.isclass(defense) or not (callable(defense) or hasattr(defense, "recipe")):
        raise TypeError(f"defense={defense!r} is no defence; give one of miafast.defenses, such as TopK(3).")
    return (defense,)


def defended_recipe(recipe: Recipe | TrainFunction, defenses: Sequence[Defense]) -> Recipe | TrainFunction:
    """How a model is trained under these defences. Raises TypeError where there is no Recipe to change.

    >>> defended_recipe(Recipe(), (L2(0.01), TopK(3))).weight_decay
    0.01
    """
    for each in defenses:
        change = getattr(each, "recipe", None)
        if change is None:
            continue
        if not isinstance(recipe, Recipe):
            raise TypeError(
                f"defense={each!r} changes a miafast.Recipe, but training is a function here; put the defence into "
                "that function (of several, early-stopping and dp-sgd come last and exclude each other)."
            )
        recipe = change(recipe)
    return recipe


def answer_of(defenses: Sequence[Defense]) -> Callable[[Array], Array] | None:
    """What stands between a model's logits and what is seen of them; None where nothing does.

    >>> import numpy as np
    >>> answer_of((L2(0.01),)) is None, answer_of((Temperature(2.0),))(np.array([4.0, 2.0]))
    (True, array([2., 1.]))
    """
    acting = [each for each in defenses if callable(each)]
    if not acting:
        return None
    return lambda logits: functools.reduce(lambda z, each: each(z), acting, logits)


def _named(text: str) -> Defense:
    name, colon, given = text.partition(":")
    if name not in DEFENSES:
        raise ValueError(
            f"defense={text!r} is not known; {did_you_mean(name, DEFENSES)}choose one of {', '.join(DEFENSES)}, as in "
            "top-k:3."
        )
    make, number = DEFENSES[name]
    takes_one = number is not None
    if takes_one != bool(given) and not (name == "early-stopping" and not colon):
        wanted = f"give its number, as in {name}:{'3' if number is int else '0.1'}" if takes_one else "it has no number"
        raise ValueError(f"defense={text!r}: {wanted}.")
    try:
        value = number(given) if number is not None and given else None
    except ValueError:
        raise ValueError(f"defense={text!r}: {given!r} is no {'whole ' if number is int else ''}number.") from None
    try:
        made: Defense = make() if value is None else make(value)
    except ValueError as error:
        raise ValueError(f"defense={text!r}: {error}") from None
    return made
