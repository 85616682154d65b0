"""Shadow training: who is IN where, how a model is trained, and models trained many at a time.

The names that run models import torch when they are first used; the others never do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miafast.lazy import lazy_names
from miafast.shadow.membership import check_membership, membership
from miafast.shadow.private import PrivateRecipe, train_private
from miafast.shadow.recipe import Recipe, describe, fingerprint_of, recipe_for

if TYPE_CHECKING:
    from miafast.shadow.models import Models, wrap
    from miafast.shadow.opacus_training import opacus_train
    from miafast.shadow.training import check, stack_size, train, train_modules, work

_HOME = {
    **dict.fromkeys(("check", "stack_size", "train", "train_modules", "work"), "training"),
    **dict.fromkeys(("Models", "wrap"), "models"),
    "opacus_train": "opacus_training",
}

__all__ = [
    "Models", "PrivateRecipe", "Recipe", "check", "check_membership", "describe", "fingerprint_of", "membership",
    "opacus_train", "recipe_for", "stack_size", "train", "train_modules", "train_private", "work", "wrap",
]  # fmt: skip

__getattr__ = lazy_names(__name__, _HOME, purpose="training and asking models")
