"""`Fitted`: a white-box attack that has learnt all it needs about one target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from miafast.tables import Array, Records


@dataclass(frozen=True, eq=False)
class Fitted:
    """What ``attack.fit(target, records)`` answers. ``logit`` maps records to log odds of membership, [records].

    ``held_out`` are the log odds float64 [records] of the attacker's own records, by proxies that were not trained on
    them: what `calibrate` needs to know, where ``logit`` of the same records would mislead it.

    >>> import numpy as np
    >>> records = Records(np.array([[-2.0], [0.0], [2.0]]), np.array([0, 0, 1]), classes=2)
    >>> Fitted("first feature", lambda records: records.inputs()[:, 0]).score(records).round(3)
    array([0.119, 0.5  , 0.881])
    """

    name: str
    logit: Callable[[Records], Array]
    held_out: Array | None = None
    layers: Mapping[str, Fitted] = field(default_factory=dict)  # what a meta-model combines, by layer

    def score(self, records: Records) -> Array:
        """Probability float64 [records] that each record is a member of the target's training set: > ½ says yes."""
        return sigmoid(self.logit(records))


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-logits)), float64."""
    from scipy.special import expit  # here, so that `import miafast` stays light

    out: Array = expit(np.asarray(logits, np.float64))
    return out
