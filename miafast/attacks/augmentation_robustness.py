"""Label-only, by augmentation: a model that trained on a record (and its mirror image) knows more of its variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from miafast.attacks.direct import mean_query


@dataclass(frozen=True)
class AugmentationRobustness:
    """Augmentation attack of Choquette-Choo et al. (2021), "Label-only membership inference attacks".

    The score is the share of queries (see `miafast.queries`: mirrored and shifted inputs) whose label the target
    predicts: labels only. The paper trains a model on which queries are right; the share treats them alike and needs no
    shadows. With one query it is `Gap`.

    >>> import numpy as np
    >>> AugmentationRobustness().score(np.array([[1.0, 0.0], [1.0, 1.0]]))
    array([0.5, 1. ])
    """

    name: ClassVar[str] = "augmentation robustness"
    signals: ClassVar[tuple[str, ...]] = ("correct",)

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None) -> Any:
        """Scores [records] in [0, 1] of correct [records(, queries)]. ValueError for what does not fit."""
        return mean_query("target", target, axes=1)

    def score_all(self, shadow: Any, in_mask: Any = None) -> Any:
        """Scores [models, records] of every model's correct [models, records(, queries)]."""
        return mean_query("shadow", shadow, axes=2)
