"""A meta-model over layers: how much each layer's attack is worth is learnt on shadows of the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import minimize

from miafast.shadow import Recipe
from miafast.tables import Array, Records
from miafast.whitebox.deep import against, calibrated, shadows_of
from miafast.whitebox.fitted import Fitted, sigmoid
from miafast.whitebox.heads import cut_at, proxy_heads
from miafast.whitebox.linear import halvings


@dataclass(frozen=True)
class LayerMeta:
    """bayes-wb on several layers, combined by a logistic regression (Leino & Fredrikson 2020, section 4.3).

    For each of ``partitions`` halvings of the attacker's records a shadow of the target is trained on one half, and
    every layer's attack, whose proxy is trained on the other half, is asked about both: the log odds of all layers, and
    the half, are one example; no layer has a weight below 0. `Fitted.layers` of the result holds each layer's own
    attack on the target.

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
        shadows = shadows_of(halves, self.recipe, records, seed)
        in_mask = np.vstack([np.ones((1, len(records)), bool), ~halves])
        on_target: dict[str, Fitted] = {}
        said: list[Array] = []  # of every layer, [partitions · records]
        for layer in self.layers:
            part, *others = (cut_at(model, layer, records) for model in (target, *shadows))
            proxy, *proxies = proxy_heads([part, *others], records, in_mask, recipe=self.recipe, seed=seed)
            attack = partial(against, part)
            on_target[layer] = calibrated(attack, part, proxy, records, recipe=self.recipe, seed=seed)
            on_shadows = map(against, others, proxies)
            said.append(np.concatenate([attack.logit(records) for attack in on_shadows]))
        combine = _learn(np.stack(said, axis=1), halves.reshape(-1))
        return Fitted(
            "meta-model over " + ", ".join(self.layers),
            lambda asked: combine(np.stack([attack.logit(asked) for attack in on_target.values()], axis=1)),
            combine(np.stack([np.asarray(attack.held_out) for attack in on_target.values()], axis=1)),
            on_target,
        )


def _learn(said: Array, is_member: Array) -> Callable[[Array], Array]:
    """A logistic regression of membership on the layers' log odds [examples, layers], as a function of such.

    Layers say much the same, so that free weights, learnt on shadows smaller than the target, may be negative without
    reason: no layer's word may count for its opposite. A touch of L2 keeps separable examples finite.
    """
    spread, side = said.std(axis=0) + 1e-12, np.where(is_member, 1.0, -1.0)
    x = np.concatenate([said / spread, np.ones((len(said), 1))], axis=1)

    def loss(weights: Array) -> tuple[float, Array]:
        odds = side * (x @ weights)
        slope = -(side * sigmoid(-odds)) @ x / len(x) + 2e-4 * weights
        return float(np.logaddexp(0.0, -odds).mean() + 1e-4 * np.square(weights).sum()), slope

    bounds = [(0.0, None)] * said.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return lambda asked: np.asarray((asked / spread) @ found[:-1] + found[-1])
