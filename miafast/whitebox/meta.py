"""A meta-model over layers: how much each layer's attack is worth is learnt on shadows of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from miafast.shadow import Recipe, train_modules
from miafast.tables import Array, Records
from miafast.whitebox.deep import against
from miafast.whitebox.displacement import solve
from miafast.whitebox.fitted import Fitted
from miafast.whitebox.heads import cut_at, proxy_heads
from miafast.whitebox.linear import halvings


@dataclass(frozen=True)
class LayerMeta:
    """bayes-wb on several layers, combined by a logistic regression (Leino & Fredrikson 2020, section 4.3).

    For each of ``partitions`` halvings of the attacker's records a shadow of the target is trained on one half, and
    every layer's attack, whose proxy is trained on the other half, is asked about both: the log odds of all layers, and
    the half, are one example. `Fitted.layers` of the result holds each layer's own attack on the target.

    Args:
        layers: paths of layers, at least one.
        recipe: how the target was trained, its ``model`` being the target's architecture.
        partitions: how often a shadow is trained; each adds as many examples as the attacker has records.

    Raises ValueError for no layers, a layer named twice or no partitions.
    """

    layers: tuple[str, ...]
    recipe: Recipe
    partitions: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.layers, tuple) or not self.layers or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers={self.layers!r}; give different layers' paths, such as ('conv1', 'fc1').")
        if self.partitions < 1:
            raise ValueError(f"partitions={self.partitions}; the meta-model learns from at least 1 shadow.")

    def fit(self, target: Any, records: Records, *, seed: int) -> Fitted:
        """Train shadows and proxies on the attacker's records and the meta-model on what they say.

        Raises what `cut` raises for a wrong layer, before training.
        """
        for layer in self.layers:
            cut_at(target, layer, records)
        halves = halvings(len(records), self.partitions, seed=seed)
        shadows = train_modules(self.recipe, records, halves, models=range(self.partitions), seed=seed)
        in_mask = np.vstack([np.ones((1, len(records)), bool), ~halves])
        on_target: dict[str, Fitted] = {}
        said: list[Array] = []  # of every layer, [partitions · records]
        for layer in self.layers:
            parts = [cut_at(model, layer, records) for model in (target, *shadows)]
            proxies = proxy_heads(parts, records, in_mask, recipe=self.recipe, seed=seed)
            on_target[layer], *on_shadows = map(against, parts, proxies)
            said.append(np.concatenate([attack.logit(records) for attack in on_shadows]))
        combine = _learn(np.stack(said, axis=1), halves.reshape(-1))
        return Fitted(
            "meta-model over " + ", ".join(self.layers),
            lambda asked: combine(np.stack([attack.logit(asked) for attack in on_target.values()], axis=1)),
            on_target,
        )


def _learn(said: Array, is_member: Array) -> Any:
    """A logistic regression of membership on the layers' log odds [examples, layers], as a function of such."""
    spread = said.std(axis=0) + 1e-12
    model = nn.Linear(said.shape[1], 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    x, y = (torch.as_tensor(each, dtype=torch.float32) for each in (said / spread, is_member))
    solve(model.parameters(), lambda: model(x)[:, 0], y)
    weight, bias = (each.detach().double().numpy() for each in (model.weight[0], model.bias))
    return lambda asked: (asked / spread) @ weight + bias
