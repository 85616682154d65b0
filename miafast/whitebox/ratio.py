"""A likelihood ratio on a layer: every record is compared with what chance does to it, and what membership would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from miafast.shadow import Recipe
from miafast.shadow.random import stream, uniform
from miafast.tables import Array, Records
from miafast.whitebox.fitted import Fitted, sigmoid
from miafast.whitebox.heads import cut_at, features_of, label_phi, proxy_heads
from miafast.whitebox.linear import halvings


@dataclass(frozen=True)
class DeepRatio:
    """How much likelier a record's phi at the target's head is for a member, by what proxy heads make of this record.

    Of ``splits`` halvings of the attacker's records both halves train a head on the target's features, as bayes-wb's
    proxy is trained. Heads that were not trained on a record say that its phi is N(μ, s²) for a non-member. To first
    order, training on it adds (1 - p) gᵀH⁻¹g / n to phi (g: phi's gradient; the loss's is -(1 - p) g, its Hessian H;
    Koh & Liang 2017), and gᵀH⁻¹g / n is also phi's variance over training sets, where the model is right (Fisher). So
    members are expected at μ + δ with δ = β (1 - p) s², and the log odds of two equal Gaussians, as LiRA's (Carlini et
    al. 2022), are (β / c) (1 - p) (phi - μ - δ / 2): what the target is surer of than half of δ, weighted by how wrong
    the proxies are. β is half of what the heads show, whose halves contain one record in half as many; c s² is how far
    the target's phi is from μ on the attacker's records.

    Scores do not grow with the length of a record's features, as bayes-wb's do. And a record asked is scored by heads
    that were not trained on one of the attacker's records, drawn at random, as that one is in ``held_out``. Both
    scores have one distribution if the record is no member, so that above the alpha-quantile (`calibrate`, without
    labels: one for all classes) lie 1 - alpha of the non-members (conformal prediction: Vovk et al. 2005; with models
    of resampled records Kim et al. 2020).

    Args: as `DeepBayes`. Raises ValueError for less than 2 splits, which have no variance.

    >>> from miafast.shadow import train_modules
    >>> rng = np.random.default_rng(0)
    >>> records = Records(rng.normal(size=(60, 20)), rng.integers(2, size=60), classes=2)
    >>> recipe, mask = Recipe(hidden=(16,), batch_size=32), np.arange(60)[None] < 30
    >>> (target,) = train_modules(recipe, records, mask, models=[0], seed=0)
    >>> mine = Records(rng.normal(size=(60, 20)), rng.integers(2, size=60), classes=2)
    >>> scores = DeepRatio("2", recipe).fit(target, mine, seed=1).score(records)
    >>> bool(scores[:30].mean() > scores[30:].mean())
    True
    """

    layer: str
    recipe: Recipe
    splits: int = 8

    def __post_init__(self) -> None:
        if self.splits < 2:
            raise ValueError(f"splits={self.splits}; a variance takes at least 2 heads not trained on a record.")

    def fit(self, target: Any, records: Records, *, seed: int) -> Fitted:
        """Retrain heads on halves of the attacker's records. Raises as `DeepBayes.fit`."""
        part = cut_at(target, self.layer, records)
        halves = halvings(len(records), self.splits, seed=seed)
        in_mask = np.vstack([halves, ~halves])
        heads = proxy_heads([part] * len(in_mask), records, in_mask, recipe=self.recipe, seed=seed, begin=0)

        def phi(asked: Records) -> Array:
            z = features_of(part, asked)
            return np.stack([label_phi(head, z, asked.y) for head in (part.head, *heads)])

        own = phi(records)
        rate, scale = rates(own[0], own[1:], in_mask)

        def logit(asked: Records) -> Array:
            drawn = (uniform(stream(seed, 0, "stands for"), len(asked)) * len(records)).astype(np.int64)
            found = phi(asked)
            return scale * log_ratio(found[0], found[1:], in_mask[:, drawn], rate=rate)

        held_out = scale * log_ratio(own[0], own[1:], in_mask, rate=rate)
        return Fitted(f"ratio-wb, {self.layer}", logit, held_out)


def log_ratio(target: Array, proxies: Array, in_mask: Array, *, rate: float) -> Array:
    """(1 - p) (phi - μ - δ / 2) [records], for ``target`` phi [records] and ``proxies`` [heads, records].

    μ and s² are those of heads OUT of ``in_mask`` [heads, records], p is sigmoid(μ), δ = ``rate`` (1 - p) s².

    >>> log_ratio(np.array([2.0]), np.array([[-1.0], [1.0], [9.0]]), np.array([[False], [False], [True]]), rate=1.0)
    array([0.75])
    """
    mean, variance = _moments(proxies, ~in_mask)
    wrong = sigmoid(-mean)
    out: Array = wrong * (target - mean - 0.5 * rate * wrong * variance)
    return out


def rates(target: Array, proxies: Array, in_mask: Array) -> tuple[float, float]:
    """β, at least Fisher's 1, and β / c, from records that are not members; arguments as of `log_ratio`."""
    mean, variance = _moments(proxies, ~in_mask)
    wrong = sigmoid(-mean)
    chance = (np.square(wrong) * variance).sum() + 1e-12
    of_halves = (wrong * (_moments(proxies, in_mask)[0] - mean)).sum() / chance
    rate = max(1.0, 0.5 * float(of_halves))
    return rate, rate * float(chance / (np.square(wrong * (target - mean)).sum() + 1e-12))


def _moments(proxies: Array, counted: Array) -> tuple[Array, Array]:
    """Mean and unbiased variance [records] over the heads that count."""
    count = counted.sum(axis=0)
    mean = np.where(counted, proxies, 0.0).sum(axis=0) / count
    return mean, np.where(counted, np.square(proxies - mean), 0.0).sum(axis=0) / (count - 1)
