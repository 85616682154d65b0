"""Merlin of Jayaraman et al.: a trained-on record sits where the loss is lowest, so that noise raises it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from miafast.attacks.shapes import with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.higher_share import higher_share


@dataclass(frozen=True)
class Merlin:
    """Merlin of Jayaraman et al. (2021), "Revisiting membership inference under realistic assumptions".

    The score is the share of ``copies`` copies of the record, Gaussian noise of standard deviation ``sigma`` on its
    input, on which the target's loss is higher than on the record itself (100 and 0.01 in the paper). No shadows are
    needed or looked at.

    >>> import numpy as np
    >>> Merlin().score(np.array([1.0]), noisy_loss=(np.array([[0.5, 1.5, 2.0, 3.0]]), None))
    array([0.75])
    """

    sigma: float = 0.01
    copies: int = 100

    def __post_init__(self) -> None:
        check_noise(self.sigma, self.copies)

    @property
    def name(self) -> str:
        """What reports call the attack, with the noise if it is not the default."""
        return "Merlin" + (f", sigma {self.sigma:g}" if self.sigma != Merlin.sigma else "")

    @property
    def signals(self) -> tuple[str, ...]:
        """What is measured for the attack."""
        return ("loss", f"noisy_loss@{self.sigma:g}x{self.copies}")

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None, *, noisy_loss: tuple[Any, Any]) -> Any:
        """Scores [records] in [0, 1] of the loss [records(, queries)], first query, and the pair noisy_loss (the
        target's [records, copies], the shadows', which are not looked at). ValueError for what does not fit."""
        target = with_queries("target", target, 1)
        scores = higher_share(target, noisy_loss[0])
        explain_nan(scores, target=target, noisy_loss=noisy_loss[0])
        return scores

    def score_all(self, shadow: Any, in_mask: Any = None, *, noisy_loss: Any) -> Any:
        """Scores [models, records] of losses [models, records(, queries)] and noisy_loss [models, records, copies]."""
        shadow = with_queries("shadow", shadow, 2)
        scores = higher_share(shadow, noisy_loss)
        explain_nan(scores, shadow=shadow, noisy_loss=noisy_loss)
        return scores


def check_noise(sigma: float, copies: int) -> None:
    """Raises ValueError unless sigma is positive and finite, and copies at least 1."""
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma={sigma}; give the noise's standard deviation, a positive number.")
    if isinstance(copies, bool) or not isinstance(copies, int) or copies < 1:
        raise ValueError(f"copies={copies!r}; give a whole number of noisy copies, at least 1.")
