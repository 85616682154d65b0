"""Recipes: every bad option is refused before training, and fingerprints tell recipes apart."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest

from miafast.shadow import Recipe, describe, fingerprint_of, recipe_for
from miafast.tables import Records


def factory() -> Any:
    raise AssertionError("never called here")


def factory_of_shape(shape: tuple[int, ...], classes: int) -> Any:
    raise AssertionError("never called here")


def train(records: Records, in_indices: Any, seed: int) -> Any:
    raise AssertionError("never called here")


def table(features: int = 4, records: int = 50) -> Records:
    return Records(np.zeros((records, features), np.float32), np.zeros(records, int), classes=2, name="toy")


def images(channels: int = 3, side: int = 32) -> Records:
    return Records(np.zeros((600, channels, side, side), np.uint8), np.zeros(600, int), classes=10, name="toy")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"model": "transformer"}, "model='transformer'"),
        ({"activation": "gelu"}, "activation='gelu'"),
        ({"optimizer": "rmsprop"}, "optimizer='rmsprop'"),
        ({"schedule": "warmup"}, "schedule='warmup'"),
        ({"dtype": "float16"}, "dtype='float16'"),
        ({"hidden": ()}, "hidden=()"),
        ({"hidden": (0,)}, "hidden=0"),
        ({"augment": ("rotate",)}, "'rotate'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"epochs": 0}, "epochs=0"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"optimizer": "sgd", "momentum": 1.0}, "momentum=1.0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing=-0.1"),
        ({"momentum": 0.9}, "momentum=0.9 is for optimizer='sgd'"),
        ({"optimizer": "sgd", "nesterov": True}, "nesterov=True needs momentum"),
        ({"model": "logistic", "dropout": 0.1}, "nothing to act on"),
        ({"model": factory, "dropout": 0.1}, "nn.Dropout"),
    ],
)
def test_values_out_of_range_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**option)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"hidden": 64}, "hidden=64"),
        ({"hidden": (64.0,)}, "hidden=64.0"),
        ({"augment": "mirror"}, "augment='mirror'; give a tuple"),
        ({"batch_size": 32.0}, "batch_size=32.0"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"epochs": True}, "epochs=True"),
        ({"nesterov": 1}, "nesterov=1"),
        ({"model": 3}, "model is int"),
        ({"model": lambda width: None}, r"needs the arguments \['width'\]"),
    ],
)
def test_wrong_kinds_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Recipe(**option)


def test_a_finished_module_is_not_a_factory() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"finished Linear.*give a factory"):
        Recipe(model=torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("recipe", "records", "message"),
    [
        (Recipe(model="conv"), table(), "needs images"),
        (Recipe(model="conv"), images(side=7), "height >= 8"),
        (Recipe(augment=("mirror",)), table(), "needs images"),
        (Recipe(batch_size=64), table(records=50), "exceeds the 50 records of toy"),
    ],
)
def test_records_that_do_not_fit_are_refused(recipe: Recipe, records: Records, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe.check(records)


def test_every_option_changes_the_fingerprint() -> None:
    plain = Recipe(model="mlp", optimizer="sgd", momentum=0.5)
    changes: dict[str, Any] = {
        "model": "conv", "hidden": (129,), "activation": "tanh", "optimizer": "adam", "learning_rate": 2e-3,
        "momentum": 0.6, "nesterov": True, "weight_decay": 0.1, "epochs": 61, "batch_size": 65, "schedule": "cosine",
        "dropout": 0.1, "label_smoothing": 0.1, "augment": ("mirror",), "dtype": "bfloat16",
    }  # fmt: skip
    assert set(changes) == {each.name for each in dataclasses.fields(Recipe)}
    prints = {plain.fingerprint}
    for name, value in changes.items():
        extra = {"momentum": 0.0} if name == "optimizer" else {}
        prints.add(dataclasses.replace(plain, **{name: value}, **extra).fingerprint)
    assert len(prints) == len(changes) + 1


def test_the_fingerprint_is_stable_and_ignores_what_has_no_effect() -> None:
    assert Recipe().fingerprint == Recipe(hidden=[128], epochs=60).fingerprint  # type: ignore[arg-type]
    assert Recipe(model="logistic").fingerprint == Recipe(model="logistic", hidden=(9,)).fingerprint
    assert len(Recipe().fingerprint) == 64


def test_functions_count_with_their_name_source_and_bound_values() -> None:
    def scaled(by: float) -> Any:
        return lambda records, in_indices, seed: by

    prints = {fingerprint_of(each) for each in (train, scaled(1.0), scaled(2.0))}
    prints |= {fingerprint_of(functools.partial(lambda a, records, rows, seed: a, value)) for value in (1, 2)}
    prints |= {Recipe(model=each).fingerprint for each in (factory, factory_of_shape)}
    assert len(prints) == 7
    assert fingerprint_of(scaled(1.0)) == fingerprint_of(scaled(1.0))
    assert describe(train)["train"]["name"] == "train"
    assert describe(train)["train"]["source"] is not None


@pytest.mark.parametrize(("recipe", "message"), [(lambda records: None, "three arguments"), ("mlp", "recipe is str")])
def test_what_is_no_recipe_is_refused(recipe: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        fingerprint_of(recipe)


@pytest.mark.parametrize(
    ("records", "model", "hidden"),
    [
        (images(), "conv", (128,)),
        (images(channels=1, side=28), "mlp", (128,)),
        (table(features=446), "mlp", (128,)),
        (table(features=64), "mlp", (64,)),
        (table(features=4, records=20), "mlp", (64,)),
    ],
)
def test_default_recipes_fit_their_records(records: Records, model: str, hidden: tuple[int, ...]) -> None:
    recipe = recipe_for(records)
    recipe.check(records)
    assert (recipe.model, recipe.hidden) == (model, hidden)
