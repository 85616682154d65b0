"""Label-only, by distance: records that were trained on lie farther from the decision boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from miafast.attacks.direct import first_query


@dataclass(frozen=True)
class BoundaryDistance:
    """Decision-boundary attack of Choquette-Choo et al. (2021), "Label-only membership inference attacks".

    The score is the distance (L2, on inputs as the model sees them) from the record to where the target's answer
    changes, as `miafast.boundary_distance` finds it within ``queries`` questions by HopSkipJump; 0 for a record that is
    misclassified. Labels only; no shadows are needed or looked at. Li & Zhang (2021), "Membership leakage in label-only
    exposures", is the same attack.

    >>> import numpy as np
    >>> BoundaryDistance().score(np.array([[0.0], [1.5]]))
    array([0. , 1.5])
    """

    queries: int = 1000

    name: ClassVar[str] = "boundary distance"

    def __post_init__(self) -> None:
        if isinstance(self.queries, bool) or not isinstance(self.queries, int) or self.queries < 50:
            raise ValueError(f"queries={self.queries!r}; give a whole number of questions per record, at least 50.")

    @property
    def signals(self) -> tuple[str, ...]:
        """What is measured for the attack."""
        return (f"boundary_distance@{self.queries}",)

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None) -> Any:
        """Scores [records] of boundary_distance [records, 1]. ValueError for what does not fit."""
        return first_query("target", target, axes=1)

    def score_all(self, shadow: Any, in_mask: Any = None) -> Any:
        """Scores [models, records] of every model's boundary_distance [models, records, 1]."""
        return first_query("shadow", shadow, axes=2)
