"""RMIA offline whose one constant is tuned on a shadow model, as its authors do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from miafast.attacks.rmia import RMIA


@dataclass(frozen=True)
class TunedRMIA:
    """RMIA offline (Zarifzadeh et al. 2024, "Low-cost high-power membership inference attacks") with ``offline_a``
    tuned: of 0, 0.1, …, 1 the one that finds the members of a shadow best, by AUC; ties go to the largest.

    The shadow is the first that has IN and OUT records. It is attacked with the other shadows, never with the target:
    nothing of the target's membership is used. ``attack`` holds all other options.

    Raises ValueError for an attack that is not offline.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> in_mask = rng.random((8, 500)) < 0.5
    >>> in_mask[-2:] = False  # an OUT model for every record
    >>> phi = rng.normal(size=(8, 500)) + 2 * in_mask
    >>> scores = TunedRMIA().score(phi[0], phi[1:], in_mask[1:])
    >>> bool(scores[in_mask[0]].mean() > scores[~in_mask[0]].mean())
    True
    """

    attack: RMIA = field(default_factory=lambda: RMIA(mode="offline"))

    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def __post_init__(self) -> None:
        if self.attack.mode != "offline":
            raise ValueError(f"attack={self.attack!r} has no offline_a to tune; give RMIA(mode='offline').")

    @property
    def name(self) -> str:
        """What reports call the attack."""
        return replace(self.attack, offline_a=RMIA.offline_a).name + ", a tuned"

    def score(self, target: Any, shadow: Any, in_mask: Any) -> Any:
        """Scores [records] of one target, as `RMIA.score` gives them. ValueError for what does not fit there."""
        return self._tuned(shadow, in_mask).score(target, shadow, in_mask)

    def score_all(self, shadow: Any, in_mask: Any) -> Any:
        """Scores [models, records] as `RMIA.score_all` gives them, every model tuned for without itself."""
        chosen = []
        for target in range(len(shadow)):
            others = [model for model in range(len(shadow)) if model != target]
            chosen.append(self._tuned(shadow[others], in_mask[others]))
        found = {attack: attack.score_all(shadow, in_mask) for attack in set(chosen)}
        scores = found[chosen[0]] * 1
        for target, attack in enumerate(chosen):
            scores[target] = found[attack][target]
        return scores

    def _tuned(self, shadow: Any, in_mask: Any) -> RMIA:
        members, records = in_mask.sum(-1).tolist(), in_mask.shape[-1]
        first = next((model for model, count in enumerate(members) if 0 < count < records), None)
        if first is None or len(shadow) < 2:
            raise ValueError("in_mask has no shadow with IN and OUT records to tune on; train more models.")
        return self.attack.tune_offline_a(shadow, in_mask, target=first)
