"""Proxies of a deep model: the same head retrained on the model's own features of the attacker's records."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from miafast.ops.logit_confidence import logit_confidence
from miafast.shadow import Recipe, train_modules
from miafast.shadow.modules import architecture, torch_seeded
from miafast.shadow.random import integer
from miafast.tables import Array, Records
from miafast.whitebox.slices import Cut, cut

#: Numbers of features that are held at once where many heads are trained together.
_MOST_NUMBERS = 1 << 27
_BATCH = 2048


def cut_at(model: Any, layer: str, records: Records) -> Cut:
    """`cut`, tried on the first of these records. Raises TypeError for what is no module, and what `cut` raises."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"target is {type(model).__name__}; attacks on a layer need the nn.Module itself.")
    return cut(model, layer, torch.from_numpy(records.inputs(slice(2))))


def features_of(part: Cut, records: Records) -> torch.Tensor:
    """z [records, *features] float32."""
    blocks = (slice(start, start + _BATCH) for start in range(0, len(records), _BATCH))
    return torch.cat([part.features(torch.from_numpy(records.inputs(rows))).float() for rows in blocks])


class Centred(nn.Module):  # type: ignore[misc]
    """A head whose logits sum to 0. Softmax does not see what they share, which is left over from initialisation."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        logits = self.head(z)
        out: torch.Tensor = logits - logits.mean(dim=1, keepdim=True)
        return out


def label_logit(head: nn.Module, z: torch.Tensor, labels: Array) -> Array:
    """The head's centred logit of each record's label, float64 [records]."""
    return _logits(Centred(head), z)[np.arange(len(labels)), labels]


def label_phi(head: nn.Module, z: torch.Tensor, labels: Array) -> Array:
    """The head's logit-scaled confidence in each record's label, float64 [records]."""
    phi: Array = logit_confidence(_logits(head, z), labels)
    return phi


def _logits(head: nn.Module, z: torch.Tensor) -> Array:
    with torch.inference_mode():
        out: Array = torch.cat([head(part) for part in z.split(_BATCH)]).double().numpy()
    return out


def proxy_heads(
    parts: Sequence[Cut], records: Records, in_mask: Array, *, recipe: Recipe, seed: int, begin: int | None = None
) -> list[nn.Module]:
    """One new head for every cut model, trained on that model's features of the records IN for it.

    ``in_mask`` is bool [models, records]. The recipe is the target's: a head begins as the end of a freshly initialised
    model does, head k as that of model k of ``seed``, or all as that of model ``begin``. Heads are trained together,
    stacked where they can be.
    """
    z = {part: features_of(part, records) for part in dict.fromkeys(parts)}
    recipe = _head_recipe(recipe, parts[0].layer, records, seed=seed, begin=begin)
    at_once = max(1, _MOST_NUMBERS // (len(records) * math.prod(z[parts[0]].shape[1:])))
    made: list[nn.Module] = []
    for start in range(0, len(parts), at_once):
        models = range(start, min(start + at_once, len(parts)))
        place = {part: number for number, part in enumerate(dict.fromkeys(parts[start : models.stop]))}
        pool = Records(
            torch.cat([z[part] for part in place]).numpy(), np.tile(records.y, len(place)), classes=records.classes
        )
        mask = np.zeros((len(parts), len(place), len(records)), bool)
        mask[models, [place[parts[model]] for model in models]] = in_mask[models.start : models.stop]
        made += train_modules(recipe, pool, mask.reshape(len(parts), -1), models=models, seed=seed)
    return made


def _head_recipe(recipe: Recipe, layer: str, records: Records, *, seed: int, begin: int | None) -> Recipe:
    """The target's recipe for the part of its model that follows a layer."""

    def head() -> nn.Module:
        with nullcontext() if begin is None else torch_seeded(integer(seed, begin, "initialisation")):
            return cut_at(architecture(recipe, records.shape, records.classes), layer, records).head

    return dataclasses.replace(recipe, model=head, dropout=0.0, augment=())
