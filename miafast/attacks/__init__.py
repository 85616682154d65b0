"""Signals in, scores out: one attack per file, every score higher = more likely a member."""

from collections.abc import Callable
from typing import Any

from miafast.attacks import thresholds
from miafast.attacks.attack_d import AttackD
from miafast.attacks.attack_p import AttackP
from miafast.attacks.attack_r import AttackR
from miafast.attacks.augmentation_robustness import AugmentationRobustness
from miafast.attacks.bayes_score import BASE
from miafast.attacks.boundary import BoundaryDistance
from miafast.attacks.gap import Gap
from miafast.attacks.gradient_norm import GradientNorm
from miafast.attacks.lira import LiRA, ReleasedLiRA
from miafast.attacks.long import Long
from miafast.attacks.merlin import Merlin
from miafast.attacks.morgan import Morgan
from miafast.attacks.noise_robustness import NoiseRobustness
from miafast.attacks.quantile import FittedQuantile, Quantile
from miafast.attacks.ramia import RaMIA
from miafast.attacks.rmia import RMIA
from miafast.attacks.rmia_tuned import TunedRMIA
from miafast.attacks.sablayrolles import Sablayrolles
from miafast.attacks.shokri import PooledClassesWarning, Shokri
from miafast.attacks.song_mittal import Confidence, Entropy, ModifiedEntropy
from miafast.attacks.threshold import Threshold
from miafast.attacks.unscored import UnscoredRecordsWarning
from miafast.attacks.watson import Watson

#: What the command line calls the attacks; `--attacks all` runs them in this order.
ATTACKS: dict[str, Callable[[], Any]] = {
    "lira-online": LiRA,
    "lira-offline": lambda: LiRA(mode="offline"),
    "rmia-online": RMIA,
    "rmia-offline": lambda: RMIA(mode="offline"),
    "rmia-tuned": TunedRMIA,
    "base": BASE,
    "watson": Watson,
    "sablayrolles": Sablayrolles,
    "attack-r": AttackR,
    "attack-p": AttackP,
    "long": Long,
    "shokri": Shokri,
    "confidence": lambda: Confidence(thresholds="class-wise"),
    "entropy": lambda: Entropy(thresholds="class-wise"),
    "modified-entropy": lambda: ModifiedEntropy(thresholds="class-wise"),
    "merlin": Merlin,
    "morgan": Morgan,
    "noise-robustness": NoiseRobustness,
    "augmentation-robustness": AugmentationRobustness,
    "ramia": RaMIA,
    "boundary-distance": BoundaryDistance,
    "gradient-norm": GradientNorm,
    "loss-threshold": Threshold,
    "gap": Gap,
}

#: Only on demand, and why. `Quantile` and `AttackD` have no name here: one is fitted to inputs beside an audit, the
#: other needs shadows that mimic the target.
ON_DEMAND = {
    "boundary-distance": "asks every model a thousand times or more about every record",
    "gradient-norm": "looks inside the models",
    "augmentation-robustness": "is gap, where a record has one query",
    "ramia": "is lira-online, where a record has one query",
}

__all__ = [
    "ATTACKS", "BASE", "ON_DEMAND", "RMIA", "AttackD", "AttackP", "AttackR", "AugmentationRobustness",
    "BoundaryDistance", "Confidence", "Entropy", "FittedQuantile", "Gap", "GradientNorm", "LiRA", "Long", "Merlin",
    "ModifiedEntropy", "Morgan", "NoiseRobustness", "PooledClassesWarning", "Quantile", "RaMIA", "ReleasedLiRA",
    "Sablayrolles", "Shokri", "Threshold", "TunedRMIA", "UnscoredRecordsWarning", "Watson",
    "thresholds",
]  # fmt: skip
