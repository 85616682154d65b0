"""RaMIA: was the model trained on anything in a range of records?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from miafast.attacks.lira import LiRA
from miafast.attacks.shapes import with_queries
from miafast.ops.trimmed_mean import check_quantiles, trimmed_mean


@dataclass(frozen=True)
class RaMIA:
    """Range membership inference of Tao & Shokri (2024), "Range membership inference attacks" (arXiv:2408.05131).

    The queries of a record are a range of inputs around it: augmented copies, noisy copies, guesses of missing
    features, other records of its owner. ``base`` scores every query by itself, and the range's score is the mean of
    its sorted scores between the quantiles ``low`` and ``high``: one of the range may be a member and the others not,
    so the lowest scores say nothing, and the very highest are often outliers. low = 0 and high = 1 average all;
    low = high = 1 take the largest. The defaults drop the lower half.

    ``base`` is any attack on one signal, without labels; it sees one query at a time, and its options for several
    queries make no difference.

    Raises ValueError for quantiles that are not 0 <= low <= high <= 1, and for a base that reads more.

    >>> import numpy as np
    >>> from miafast.attacks import Threshold
    >>> phi = np.array([[9.0, 0.0, -9.0], [9.0, 9.0, 9.0]])
    >>> RaMIA(Threshold()).score(phi, None, None).round(3)  # the upper two of three
    array([-0.347, -0.   ])
    """

    base: Any = field(default_factory=LiRA)
    low: float = 0.5
    high: float = 1.0

    def __post_init__(self) -> None:
        check_quantiles(self.low, self.high)
        if len(getattr(self.base, "signals", ())) != 1 or getattr(self.base, "labels", False):
            raise ValueError(f"base={self.base!r} does not read one signal alone; give LiRA(), RMIA() or Threshold().")

    @property
    def signals(self) -> tuple[str, ...]:
        """The signal that the base attack reads."""
        return tuple(self.base.signals)

    @property
    def name(self) -> str:
        """What reports call the attack."""
        kept = "" if (self.low, self.high) == (0.5, 1.0) else f", {self.low:g} to {self.high:g}"
        return f"RaMIA, {self.base.name}{kept}"

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None) -> Any:
        """Scores [records] of target [records(, queries)], shadow [models, records(, queries)]; errors as base's."""
        target = with_queries("target", target, 1)
        shadow = None if shadow is None else with_queries("shadow", shadow, 2)
        each = [
            self.base.score(target[..., query], None if shadow is None else shadow[..., query], in_mask)
            for query in range(target.shape[-1])
        ]
        return trimmed_mean(*each, low=self.low, high=self.high)

    def score_all(self, shadow: Any, in_mask: Any = None) -> Any:
        """Scores [models, records], every model in turn the target, as the base attack does it."""
        shadow = with_queries("shadow", shadow, 2)
        each = [self.base.score_all(shadow[..., query], in_mask) for query in range(shadow.shape[-1])]
        return trimmed_mean(*each, low=self.low, high=self.high)
