"""The attacks on a layer of a deep model: what follows the layer is compared with proxies trained on its features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from miafast.shadow import Recipe, train_modules
from miafast.tables import Array, Records
from miafast.whitebox.displacement import Evidence, learn
from miafast.whitebox.fitted import Fitted
from miafast.whitebox.heads import Centred, cut_at, features_of, label_logit, proxy_heads
from miafast.whitebox.held_out import folds, held_out
from miafast.whitebox.influence import internal_influence
from miafast.whitebox.linear import check_capacity, drawn_pairs, halvings
from miafast.whitebox.slices import Cut

WAYS = ("completeness", "influence")


@dataclass(frozen=True)
class DeepBayes:
    """bayes-wb on a layer: f = g ∘ h, and only g̃ is retrained, on the target's features h(x) of the attacker's records.

    w_y(z) = χ(ĝ)_y - χ(g̃)_y, b_y = ĝ(0)_y - g̃(0)_y, and a record with features z is a member with probability
    S(w_y(z)ᵀ z + b_y) (Leino & Fredrikson 2020, section 4). Along the segment from 0 to z influence is complete, so
    that is S(ĝ(z)_y - g̃(z)_y), which ``by="completeness"`` computes; ``"influence"`` integrates, see
    `internal_influence`. Logits of both heads are centred over classes, as softmax does not see what they share.

    Args:
        layer: path of the layer in the target and in the recipe's model, such as "conv2" or "2".
        recipe: how the target was trained, its ``model`` being the target's architecture.

    Raises ValueError for another ``by``.

    >>> rng = np.random.default_rng(0)
    >>> records = Records(rng.normal(size=(60, 20)), rng.integers(2, size=60), classes=2)
    >>> recipe, mask = Recipe(hidden=(16,), batch_size=32), np.arange(60)[None] < 30
    >>> (target,) = train_modules(recipe, records, mask, models=[0], seed=0)
    >>> mine = Records(rng.normal(size=(60, 20)), rng.integers(2, size=60), classes=2)
    >>> scores = DeepBayes("2", recipe).fit(target, mine, seed=1).score(records)
    >>> bool(scores[:30].mean() > scores[30:].mean())
    True
    """

    layer: str
    recipe: Recipe
    by: str = "completeness"

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise ValueError(f"by={self.by!r} is not known; choose one of {', '.join(WAYS)}.")

    def fit(self, target: Any, records: Records, *, seed: int) -> Fitted:
        """Retrain the head on the attacker's records. Raises what `cut` raises for a wrong layer, before training.

        The proxy begins as model 0 of ``seed`` does: with the target's own seed the two began alike, as in the paper.
        """
        part = cut_at(target, self.layer, records)
        everything = np.ones((1, len(records)), bool)
        (proxy,) = proxy_heads([part], records, everything, recipe=self.recipe, seed=seed)

        def attack(proxy: nn.Module) -> Fitted:
            return against(part, proxy, by=self.by)

        return calibrated(attack, part, proxy, records, recipe=self.recipe, seed=seed)


@dataclass(frozen=True)
class DeepGeneral:
    """general-wb on a layer: D is learnt on pairs of influences, shared by all features (channels, places) of a layer.

    For each of ``splits`` halvings of the attacker's records a shadow of the target is trained on one half and a
    proxy head, on the shadow's features, on the other half; D tells the halves apart by Σ_j D(χ(ǧ)_j, χ(g̃)_j) z_j +
    D(ǧ(0), g̃(0)) + c (Leino & Fredrikson 2020, section 4, algorithm 2). ``hidden=0`` is a weighted sum, for which no
    influence need be computed; otherwise influences are computed to ``tolerance``, on at most 2,000 pairs.

    Args: as `DeepBayes`. Raises ValueError for no splits or a negative number of hidden units.
    """

    layer: str
    recipe: Recipe
    splits: int = 5
    hidden: int = 0
    tolerance: float = 1e-2

    def __post_init__(self) -> None:
        check_capacity(self.splits, self.hidden)

    def fit(self, target: Any, records: Records, *, seed: int) -> Fitted:
        """Train shadows and proxies on the attacker's records and learn D. Raises as `DeepBayes.fit`."""
        part = cut_at(target, self.layer, records)
        halves = halvings(len(records), self.splits, seed=seed)
        parts = [part, *(cut_at(each, self.layer, records) for each in shadows_of(halves, self.recipe, records, seed))]
        in_mask = np.vstack([np.ones((1, len(records)), bool), ~halves])
        proxies = proxy_heads(parts, records, in_mask, recipe=self.recipe, seed=seed)
        rows = drawn_pairs(halves.size, most=2000 if self.hidden else halves.size, seed=seed)
        split, record = np.divmod(rows, len(records))
        evidence, is_member = [], []
        for each in range(self.splits):
            which = record[split == each]
            asked = Records(records.inputs(which), records.y[which], classes=records.classes)
            evidence.append(self._evidence(parts[each + 1], proxies[each + 1], asked))
            is_member.append(halves[each, which])
        pairs, values = (np.concatenate(each) for each in zip(*evidence, strict=True))
        learnt = learn(Evidence(pairs, values), np.concatenate(is_member), hidden=self.hidden, seed=seed)

        def attack(proxy: nn.Module) -> Fitted:
            name = f"general-wb, {self.layer}"
            return Fitted(name, lambda asked: learnt.logit(self._evidence(part, proxy, asked)))

        return calibrated(attack, part, proxies[0], records, recipe=self.recipe, seed=seed)

    def _evidence(self, part: Cut, proxy: nn.Module, asked: Records) -> Evidence:
        z = features_of(part, asked)
        if self.hidden:
            return influence_pairs(part.head, proxy, z, asked.y, tolerance=self.tolerance)
        both = [label_logit(head, z, asked.y) for head in (part.head, proxy)]
        return Evidence(np.stack(both, axis=-1)[:, None], np.ones((len(z), 1)))


def shadows_of(halves: Array, recipe: Recipe, records: Records, seed: int) -> list[nn.Module]:
    """A shadow of the target for every half of the records: models 1, 2, … of the seed, as their proxies are."""
    in_mask = np.vstack([np.zeros_like(halves[:1]), halves])
    return train_modules(recipe, records, in_mask, models=range(1, len(in_mask)), seed=seed)


def calibrated(
    attack: Callable[[nn.Module], Fitted], part: Cut, proxy: nn.Module, records: Records, *, recipe: Recipe, seed: int
) -> Fitted:
    """The attack with this proxy, and what it says of its own records with proxies that have not seen them.

    These begin as the proxy does and are trained for as many epochs, so that they are, if anything, less sure of what
    they have not seen than the proxy is: thresholds err to the safe side.
    """
    in_mask = folds(len(records), seed=seed)
    others = proxy_heads([part] * len(in_mask), records, in_mask, recipe=recipe, seed=seed, begin=0)
    return replace(attack(proxy), held_out=held_out([attack(each).logit for each in others], in_mask, records))


def against(part: Cut, proxy: nn.Module, *, by: str = "completeness") -> Fitted:
    """bayes-wb on a layer with a given proxy head."""

    def logit(asked: Records) -> Array:
        z = features_of(part, asked)
        if by == "completeness":
            return label_logit(part.head, z, asked.y) - label_logit(proxy, z, asked.y)
        pairs, values = influence_pairs(part.head, proxy, z, asked.y, tolerance=1e-4)
        out: Array = np.einsum("rp,rp->r", pairs[..., 0] - pairs[..., 1], values, dtype=np.float64)
        return out

    return Fitted(f"bayes-wb, {part.layer}", logit)


def influence_pairs(head: nn.Module, proxy: nn.Module, z: torch.Tensor, labels: Array, *, tolerance: float) -> Evidence:
    """Influences on each record's own label under both heads, [records, features + 1, 2]; the last place is g(0)."""
    flat = z.flatten(1)
    pairs = np.empty((len(z), flat.shape[1] + 1, 2), np.float32)
    for side, each in enumerate((head, proxy)):
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            found = internal_influence(
                Centred(each), z[torch.as_tensor(rows)], classes=[int(label)], tolerance=tolerance
            )
            pairs[rows, :-1, side] = found.chi[:, 0].flatten(1).numpy()
            pairs[rows, -1, side] = found.at_baseline[:, 0].numpy()
    return Evidence(pairs, np.concatenate([flat.numpy(), np.ones((len(z), 1), np.float32)], axis=1))
