"""The naive attack: who is classified correctly is called a member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from miafast.attacks.direct import first_query


@dataclass(frozen=True)
class Gap:
    """Gap attack of Yeom et al. (2018), "Privacy risk in machine learning"; Song & Mittal's (2021) correctness attack.

    The score is 1 where the target predicts the label (first query), else 0. Called members at 1, with as many members
    as non-members, its accuracy is ½ + (train accuracy - test accuracy) / 2, its precision train / (train + test) and
    its recall the train accuracy. No shadow models are needed or looked at.

    >>> import numpy as np
    >>> Gap().score(np.array([1.0, 0.0, 1.0]))
    array([1., 0., 1.])
    """

    name: ClassVar[str] = "gap"
    signals: ClassVar[tuple[str, ...]] = ("correct",)

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None) -> Any:
        """[records] of correct [records(, queries)], 1 or 0. ValueError for other shapes, NaN or infinity."""
        return first_query("target", target, axes=1)

    def score_all(self, shadow: Any, in_mask: Any = None) -> Any:
        """[models, records] of every model's correct [models, records(, queries)]."""
        return first_query("shadow", shadow, axes=2)
