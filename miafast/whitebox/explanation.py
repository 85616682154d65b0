"""Why a record looks like a member: what its features do in the target, and in proxies that have not seen it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from miafast.shadow import Recipe
from miafast.tables import Array, Records
from miafast.whitebox.fitted import sigmoid
from miafast.whitebox.heads import Centred, cut_at, features_of, proxy_heads
from miafast.whitebox.influence import internal_influence
from miafast.whitebox.slices import Cut, output_of


@dataclass(frozen=True, eq=False)
class Explanation:
    """What every input feature, and every unit of a layer, adds to the logit of the record's label. Made by `explain`.

    On the way from a baseline of 0 the inputs' shares add up to g(x) - g(0); the logit is centred over classes.
    ``target - proxies.mean(axis=0)`` is large where the target alone makes much of a feature: what it has memorised.
    """

    record: int
    label: int
    layer: str
    x: Array  # [*shape] float32, as the model is fed
    target: Array  # [*shape] shares x_j · χ_j under the target
    proxies: Array  # [proxies, *shape] the same with what follows the layer retrained without the record
    units: Array  # [units] z_j (χ̂_j - χ̃_j) of the layer, the proxies' mean; a channel's places are added up
    logit: float  # log odds of membership by bayes-wb, the proxies' mean

    @property
    def score(self) -> float:
        """The probability of membership that bayes-wb gives."""
        return float(sigmoid(np.asarray(self.logit)))

    @property
    def excess(self) -> Array:
        """[*shape] what each input adds in the target beyond what it adds in the proxies on average."""
        out: Array = self.target - self.proxies.mean(axis=0)
        return out


def explain(
    target: Any, records: Records, record: int, *, recipe: Recipe, layer: str, mine: Array, seed: int,
    proxies: int = 3, tolerance: float = 1e-2,
) -> Explanation:  # fmt: skip
    """The influence map of one record under the target and under proxies (Leino & Fredrikson 2020, section 2).

    Args:
        target: the module under audit. recipe: how it was trained, of the same architecture.
        record: which of the records. layer: where the model is cut, see `cut`; what follows it is retrained.
        mine: bool [records], the attacker's own records, which train the proxies and do not hold ``record``.
        proxies: how many, each from a start of its own. tolerance: of the integrals, see `internal_influence`.

    Raises ValueError for a record that is not there or is in ``mine``, and what `cut` raises, before training.

    >>> rng = np.random.default_rng(0)
    >>> records = Records(rng.normal(size=(60, 8)), rng.integers(2, size=60), classes=2)
    >>> recipe, is_member = Recipe(hidden=(16,), batch_size=16), np.arange(60) < 30
    >>> from miafast.shadow import train_modules
    >>> (target,) = train_modules(recipe, records, is_member[None], models=[0], seed=0)
    >>> found = explain(target, records, 3, recipe=recipe, layer="2", mine=~is_member, seed=1)
    >>> found.target.shape, found.proxies.shape, found.units.shape
    ((8,), (3, 8), (16,))
    """
    mine = np.asarray(mine)
    if not 0 <= record < len(records):
        raise ValueError(f"record={record}; there are records 0 … {len(records) - 1}.")
    if mine.shape != (len(records),) or mine.dtype != np.bool_ or mine[record]:
        raise ValueError(f"mine is {mine.dtype} {list(mine.shape)}; give bool [records], without record {record}.")
    if proxies < 1:
        raise ValueError(f"proxies={proxies}; compare with at least 1.")
    own, asked = (records.only(rows) for rows in (mine, [record]))
    part, label = cut_at(target, layer, records), int(records.y[record])
    heads = proxy_heads([part] * proxies, own, np.ones((proxies, len(own)), bool), recipe=recipe, seed=seed)
    x, z = torch.from_numpy(asked.inputs()), features_of(part, asked)

    def shares(head: Any, at: torch.Tensor) -> tuple[Array, float]:
        found = internal_influence(Centred(head), at, classes=[label], tolerance=tolerance)
        out: Array = (at[0] * found.chi[0, 0]).numpy()
        return out, float(found.at_z[0, 0])

    in_target, of_target = shares(part.model, x)
    in_proxies = np.stack([shares(Joined(part, head), x)[0] for head in heads])
    units_of_target, _ = shares(part.head, z)
    of_proxies = [shares(head, z) for head in heads]
    excess = units_of_target - np.mean([units for units, _ in of_proxies], axis=0)
    logit = of_target - float(np.mean([value for _, value in of_proxies]))
    return Explanation(
        record, label, layer, x[0].numpy(), in_target, in_proxies, excess.reshape(len(excess), -1).sum(axis=1), logit
    )


class Joined(nn.Module):  # type: ignore[misc]
    """g̃ ∘ h: a model up to a layer, and another head from there on."""

    def __init__(self, part: Cut, head: nn.Module) -> None:
        super().__init__()
        self.part, self.head = part, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(output_of(self.part.model, self.part.layer, x))
        return out
