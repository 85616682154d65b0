"""Signals in, scores out: one attack per file, every score higher = more likely a member."""

from miafast.attacks.lira import LiRA, ReleasedLiRA, UnscoredRecordsWarning
from miafast.attacks.shokri import PooledClassesWarning, Shokri
from miafast.attacks.threshold import Threshold

__all__ = ["LiRA", "PooledClassesWarning", "ReleasedLiRA", "Shokri", "Threshold", "UnscoredRecordsWarning"]
