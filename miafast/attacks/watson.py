"""Watson et al.: the loss calibrated by how difficult the record is for models that did not train on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from miafast.attacks.shapes import with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.difficulty import difficulty


@dataclass(frozen=True)
class Watson:
    """Watson et al. (2022), "On the importance of difficulty calibration in membership inference attacks".

    The score is the mean loss of OUT models - loss, their calibrated score of minus the loss. The
    loss is softplus(-phi); several queries are averaged.

    >>> import numpy as np
    >>> shadow = -np.log(np.expm1([[1.0], [3.0]]))  # losses 1 and 3
    >>> Watson().score(shadow[0], shadow, np.array([[True], [False]])).round(4)
    array([2.])
    """

    name: ClassVar[str] = "Watson"
    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def score(self, target: Any, shadow: Any, in_mask: Any) -> Any:
        """Scores [records] of target phi [records(, queries)] by shadow phi [models, records(, queries)] and in_mask
        [models, records]. NaN with a warning where there is no OUT model; ValueError for what does not fit."""
        target, shadow = with_queries("target", target, 1), with_queries("shadow", shadow, 2)
        scores = difficulty(target, shadow, in_mask, mode="offline")
        explain_nan(scores, target=target, shadow=shadow)
        return scores

    def score_all(self, shadow: Any, in_mask: Any) -> Any:
        """Scores [models, records], every model in turn the target; balanced masks are kept balanced as in LiRA."""
        shadow = with_queries("shadow", shadow, 2)
        scores = difficulty(None, shadow, in_mask, mode="offline")
        explain_nan(scores, shadow=shadow)
        return scores
