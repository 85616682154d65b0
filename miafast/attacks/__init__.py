"""Signals in, scores out: one attack per file, every score higher = more likely a member."""

from miafast.attacks.attack_p import AttackP
from miafast.attacks.attack_r import AttackR
from miafast.attacks.augmentation_robustness import AugmentationRobustness
from miafast.attacks.boundary import BoundaryDistance
from miafast.attacks.gap import Gap
from miafast.attacks.lira import LiRA, ReleasedLiRA
from miafast.attacks.long import Long
from miafast.attacks.merlin import Merlin
from miafast.attacks.morgan import Morgan
from miafast.attacks.noise_robustness import NoiseRobustness
from miafast.attacks.sablayrolles import Sablayrolles
from miafast.attacks.song_mittal import Confidence, Entropy, ModifiedEntropy
from miafast.attacks.threshold import Threshold
from miafast.attacks.unscored import UnscoredRecordsWarning
from miafast.attacks.watson import Watson

__all__ = [
    "AttackP", "AttackR", "AugmentationRobustness", "BoundaryDistance", "Confidence", "Entropy", "Gap", "LiRA", "Long",
    "Merlin", "ModifiedEntropy", "Morgan", "NoiseRobustness", "ReleasedLiRA", "Sablayrolles", "Threshold",
    "UnscoredRecordsWarning", "Watson",
]  # fmt: skip
