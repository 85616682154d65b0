"""White-box attacks on several layers of one target among the records of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from miafast.shadow import Recipe
from miafast.shadow.modules import architecture, torch_seeded
from miafast.shadow.random import permutation, stream
from miafast.tables import Array, Records
from miafast.whitebox.calibration import calibrate, called_members
from miafast.whitebox.heads import cut_at
from miafast.whitebox.meta import LayerMeta
from miafast.whitebox.ratio import DeepRatio
from miafast.whitebox.slices import Cut

ALPHAS = (0.9, 0.99)


class LayerAttacks(NamedTuple):
    """Log odds of membership by attack. Those of the attacker's own records say where thresholds lie: they come from
    proxies that were not trained on them."""

    mine: Array  # bool [records]: the attacker's own, none of them a member
    logits: dict[str, Array]  # float64 [records] of every layer's ratio-wb and bayes-wb, the meta-model of several


def check_layers(
    target: Any, recipe: Any, records: Records, layers: Sequence[str], *, is_member: Array | None = None
) -> None:
    """Refuse, before any training, layers that the target or the recipe's model does not have, or that cannot be cut.

    Raises ValueError naming the layers there are, or for an ``is_member`` that leaves too few non-members; TypeError
    for a target that is no module or a recipe that is none.
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe is {type(recipe).__name__}; white-box attacks retrain layers and need a mf.Recipe.")
    x = torch.from_numpy(records.inputs(slice(2)))
    for layer, fresh in zip(layers, check_recipe_layers(recipe, records, layers), strict=True):
        asked, trained = (list(each.features(x).shape[1:]) for each in (cut_at(target, layer, records), fresh))
        if asked != trained:
            raise ValueError(
                f"layer={layer!r} answers {asked} in the target, {trained} in the recipe's model; give the recipe of "
                "the target's architecture: Recipe(model=...)."
            )
    others = 0 if is_member is None else int((~np.asarray(is_member)).sum())
    if is_member is not None and others // 2 < recipe.batch_size:
        raise ValueError(
            f"is_member leaves {others} non-members; half of them train proxies in batches of {recipe.batch_size}: "
            f"give at least {2 * recipe.batch_size}."
        )


def check_recipe_layers(recipe: Recipe, records: Records, layers: Sequence[str]) -> list[Cut]:
    """The recipe's model, untrained, cut at every layer. Raises ValueError for others, naming those there are."""
    LayerMeta(tuple(layers), recipe)
    with torch_seeded(0):
        fresh = architecture(recipe, records.shape, records.classes)
    return [cut_at(fresh, layer, records) for layer in layers]


def attack_layers(
    target: Any, recipe: Any, records: Records, is_member: Array, *, layers: Sequence[str], seed: int,
    partitions: int = 3,
) -> LayerAttacks:  # fmt: skip
    """Let bayes-wb and `DeepRatio` on every layer, and `LayerMeta` over all, tell members from half the non-members.

    The other half of the non-members, drawn at random, are the attacker's own: what the proxies are trained on.
    ``layers`` are paths in the target and in the recipe's model; see `check_layers` for what is refused.

    >>> rng = np.random.default_rng(0)
    >>> records = Records(rng.normal(size=(80, 20)), rng.integers(2, size=80), classes=2)
    >>> recipe, is_member = Recipe(hidden=(16,), batch_size=16), np.arange(80) < 40
    >>> from miafast.shadow import train_modules
    >>> (target,) = train_modules(recipe, records, is_member[None], models=[0], seed=0)
    >>> found = attack_layers(target, recipe, records, is_member, layers=["1", "2"], seed=1, partitions=1)
    >>> list(found.logits), int(found.mine.sum())
    (['ratio-wb, 1', 'ratio-wb, 2', 'bayes-wb, 1', 'bayes-wb, 2', 'meta-model over 1, 2'], 20)
    """
    check_layers(target, recipe, records, layers, is_member=is_member)
    others = np.flatnonzero(~is_member)
    mine = np.zeros(len(records), bool)
    mine[others[permutation(stream(seed, 0, "attacker's records"), len(others))[: len(others) // 2]]] = True
    own = records.only(mine)
    fitted = LayerMeta(tuple(layers), recipe, partitions).fit(target, own, seed=seed)
    ratios = [DeepRatio(layer, recipe).fit(target, own, seed=seed) for layer in layers]
    attacks = [*ratios, *fitted.layers.values(), *([fitted] if len(layers) > 1 else [])]
    logits = {each.name: each.logit(records) for each in attacks}
    for each in attacks:
        logits[each.name][mine] = each.held_out
    return LayerAttacks(mine, logits)


def judged(logits: Array, labels: Array, is_member: Array, mine: Array, *, classes: int) -> dict[str, Any]:
    """How right log odds [records] are about the records that are not ``mine``, if half of those asked are members.

    Returns ``accuracy`` and ``precision`` of calling a member what is likelier one than not, and ``calibrated``: the
    precision and the alarms above every class's ``alpha``-quantile of ``mine`` (`calibrate`). Precision is None where
    nobody is called a member.

    >>> is_member, mine = np.array([True, True, False, False, False]), np.array([False] * 4 + [True])
    >>> found = judged(np.array([2.0, -1, -1, 1, 0]), np.zeros(5, int), is_member, mine, classes=1)
    >>> found["accuracy"], found["precision"], found["calibrated"][0]
    (0.5, 0.5, {'alpha': 0.9, 'precision': 0.5, 'alarms': 2})
    """
    calls = {0.0: logits > 0}
    for alpha in ALPHAS:
        thresholds = calibrate(logits[mine], labels[mine], classes=classes, alpha=alpha)
        calls[alpha] = called_members(logits, labels, thresholds)
    rows = []
    for alpha, called in calls.items():
        found, accused = float(called[is_member].mean()), float(called[~is_member & ~mine].mean())
        precision = found / (found + accused) if found + accused else None
        rows.append({"alpha": alpha, "precision": precision, "alarms": int(called[~mine].sum())})
        if not alpha:
            accuracy = 0.5 + (found - accused) / 2
    return {"accuracy": accuracy, "precision": rows[0]["precision"], "calibrated": rows[1:]}
