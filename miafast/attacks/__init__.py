"""Signals in, scores out: one attack per file, every score higher = more likely a member."""

from miafast.attacks.bayes_score import BASE
from miafast.attacks.lira import LiRA, ReleasedLiRA
from miafast.attacks.quantile import FittedQuantile, Quantile
from miafast.attacks.ramia import RaMIA
from miafast.attacks.rmia import RMIA
from miafast.attacks.threshold import Threshold
from miafast.attacks.unscored import UnscoredRecordsWarning

__all__ = [
    "BASE", "RMIA", "FittedQuantile", "LiRA", "Quantile", "RaMIA", "ReleasedLiRA", "Threshold",
    "UnscoredRecordsWarning",
]  # fmt: skip
