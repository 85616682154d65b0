"""Shadow training: who is IN where, how a model is trained, and models trained many at a time.

The names that run models import torch when they are first used; the others never do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miafast.lazy import lazy_names
from miafast.shadow.membership import check_membership, membership
from miafast.shadow.private import PrivateRecipe, train_private
from miafast.shadow.recipe import Recipe, TrainFunction, describe, fingerprint_of, recipe_for

if TYPE_CHECKING:
    from miafast.shadow.distillation import distilled, is_distilled
    from miafast.shadow.models import Models, wrap
    from miafast.shadow.private_module import train_privately
    from miafast.shadow.training import stack_size, train, train_modules, work

_HOME = {
    **dict.fromkeys(("stack_size", "train", "train_modules", "work"), "training"),
    **dict.fromkeys(("Models", "wrap"), "models"),
    **dict.fromkeys(("distilled", "is_distilled"), "distillation"),
    "train_privately": "private_module",
}

__all__ = [
    "Models", "PrivateRecipe", "Recipe", "TrainFunction", "check_membership", "describe", "distilled",
    "fingerprint_of", "is_distilled", "membership", "recipe_for", "stack_size", "train", "train_modules",
    "train_private", "train_privately", "work", "wrap",
]  # fmt: skip

if not TYPE_CHECKING:  # so that a type checker knows these names and no others
    __getattr__ = lazy_names(__name__, _HOME, purpose="training and asking models")
