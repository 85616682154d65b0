"""Sablayrolles et al.: a loss threshold per record, midway between the record's usual losses IN and OUT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from miafast.attacks.shapes import with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.difficulty import difficulty


@dataclass(frozen=True)
class Sablayrolles:
    """MAT of Sablayrolles et al. (2019), "White-box vs black-box: Bayes optimal strategies for membership inference".

    The score is (mean loss of IN models + mean loss of OUT models) / 2 - loss: -loss + tau(z),
    with a threshold per record. The loss is softplus(-phi); several queries are averaged.

    >>> import numpy as np
    >>> shadow = -np.log(np.expm1([[1.0], [3.0]]))  # losses 1 and 3
    >>> Sablayrolles().score(shadow[0], shadow, np.array([[True], [False]])).round(4)
    array([1.])
    """

    name: ClassVar[str] = "Sablayrolles"
    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def score(self, target: Any, shadow: Any, in_mask: Any) -> Any:
        """Scores [records] of target phi [records(, queries)] by shadow phi [models, records(, queries)] and in_mask
        [models, records]. NaN with a warning where a side has no model; ValueError for what does not fit."""
        target, shadow = with_queries("target", target, 1), with_queries("shadow", shadow, 2)
        scores = difficulty(target, shadow, in_mask, mode="online")
        explain_nan(scores, remedy="Watson, which needs OUT models only", target=target, shadow=shadow)
        return scores

    def score_all(self, shadow: Any, in_mask: Any) -> Any:
        """Scores [models, records], every model in turn the target; balanced masks are kept balanced as in LiRA."""
        shadow = with_queries("shadow", shadow, 2)
        scores = difficulty(None, shadow, in_mask, mode="online")
        explain_nan(scores, remedy="Watson, which needs OUT models only", shadow=shadow)
        return scores
