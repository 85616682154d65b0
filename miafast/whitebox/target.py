"""A target to try white-box attacks on, where the user has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from miafast.shadow import Recipe, train_modules
from miafast.shadow.random import permutation, stream
from miafast.tables import Array, Records
from miafast.whitebox.layers import check_recipe_layers


def drawn_target(
    recipe: Recipe, records: Records, *, seed: int, model: int = 0, layers: Sequence[str] = ()
) -> tuple[Any, Array]:
    """A module trained on a random half of the records, and which half: bool [records].

    Its randomness is that of ``model``; the first shadows of an audit are 0, 1, … Raises ValueError, before training,
    for ``layers`` that the recipe's model does not have, naming those there are.

    >>> rng = np.random.default_rng(0)
    >>> records = Records(rng.normal(size=(40, 3)), rng.integers(2, size=40), classes=2)
    >>> module, is_member = drawn_target(Recipe(hidden=(4,), batch_size=8), records, seed=0)
    >>> int(is_member.sum())
    20
    """
    if layers:
        check_recipe_layers(recipe, records, layers)
    is_member = permutation(stream(seed, model, "target's members"), len(records)) < len(records) // 2
    mask = np.zeros((model + 1, len(records)), bool)
    mask[model] = is_member
    (module,) = train_modules(recipe, records, mask, models=[model], seed=seed)
    return module, is_member
