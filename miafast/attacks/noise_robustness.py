"""Label-only, by noise: predictions for records that were trained on survive more noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from miafast.attacks.direct import mean_query
from miafast.attacks.merlin import check_noise


@dataclass(frozen=True)
class NoiseRobustness:
    """Noise robustness of Choquette-Choo et al. (2021), "Label-only membership inference attacks".

    The score is the share of ``copies`` copies of the record, Gaussian noise of standard deviation ``sigma`` on its
    input, whose label the target predicts: labels only. The best sigma depends on the data. No shadows are needed or
    looked at.

    >>> import numpy as np
    >>> NoiseRobustness().score(np.array([[1.0, 1.0, 0.0, 1.0]]))
    array([0.75])
    """

    sigma: float = 0.1
    copies: int = 100

    def __post_init__(self) -> None:
        check_noise(self.sigma, self.copies)

    @property
    def name(self) -> str:
        """What reports call the attack, with the noise if it is not the default."""
        return "noise robustness" + (f", sigma {self.sigma:g}" if self.sigma != NoiseRobustness.sigma else "")

    @property
    def signals(self) -> tuple[str, ...]:
        """What is measured for the attack."""
        return (f"noisy_correct@{self.sigma:g}x{self.copies}",)

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None) -> Any:
        """Scores [records] in [0, 1] of noisy_correct [records, copies]. ValueError for what does not fit."""
        return mean_query("target", target, axes=1)

    def score_all(self, shadow: Any, in_mask: Any = None) -> Any:
        """Scores [models, records] of every model's noisy_correct [models, records, copies]."""
        return mean_query("shadow", shadow, axes=2)
