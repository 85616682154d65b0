"""The loss threshold: members have a lower loss. The simplest attack, and the one every other must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from miafast.attacks.shapes import find_not_finite, with_queries
from miafast.ops.dispatch import device_of
from miafast.ops.negative_loss import negative_loss


@dataclass(frozen=True)
class Threshold:
    """Loss threshold of Yeom et al. (2018), "Privacy risk in machine learning": the score is minus the mean loss.

    The loss is softplus(-phi), the cross-entropy of the true label. No shadow models are needed: ``shadow`` and
    ``in_mask`` may be given, so that every attack is called alike, and are not looked at.

    >>> import numpy as np
    >>> Threshold().score(np.array([0.0, 5.0])).round(4)
    array([-0.6931, -0.0067])
    """

    name: ClassVar[str] = "loss threshold"
    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None) -> Any:
        """Scores [records] of a target's phi [records] or [records, queries]. Raises ValueError for NaN or infinity."""
        return _finite_scores("target", with_queries("target", target, 1))

    def score_all(self, shadow: Any, in_mask: Any = None) -> Any:
        """Scores [models, records] of every model's phi [models, records] or [models, records, queries]."""
        return _finite_scores("shadow", with_queries("shadow", shadow, 2))


def _finite_scores(name: str, phi: Any) -> Any:
    scores = negative_loss(phi)
    if device_of(scores) == "cpu" and not bool(np.isfinite(float(scores.sum()))):
        find_not_finite(name, phi)
    return scores
