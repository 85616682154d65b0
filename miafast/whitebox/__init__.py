"""White-box attacks: the target's weights and internal features are known (Leino & Fredrikson, "Stolen Memories").

Every attack is fitted to one target with records that the attacker has, and answers a `Fitted`, whose ``score``
gives the probability that a record is a member. The names that run models import torch when they are first used.

>>> round(bayes_optimal_accuracy(features=75, records_per_class=100), 4)
0.6675
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miafast.attacks.gradient_norm import GradientNorm
from miafast.lazy import lazy_names
from miafast.whitebox.bayes_optimal import BayesOptimal, bayes_optimal_accuracy
from miafast.whitebox.calibration import calibrate, called_members
from miafast.whitebox.fitted import Fitted

if TYPE_CHECKING:
    from miafast.gradient_norms import gradient_norms, last_layer_gradient_norm
    from miafast.whitebox.deep import DeepBayes, DeepGeneral
    from miafast.whitebox.explanation import Explanation, explain
    from miafast.whitebox.influence import Influence, internal_influence
    from miafast.whitebox.layers import attack_layers
    from miafast.whitebox.linear import Linear, LinearBayes, LinearGeneral
    from miafast.whitebox.meta import LayerMeta
    from miafast.whitebox.ratio import DeepRatio
    from miafast.whitebox.slices import Cut, cut
    from miafast.whitebox.target import drawn_target

_HOME = {
    **dict.fromkeys(("DeepBayes", "DeepGeneral"), "deep"),
    **dict.fromkeys(("Explanation", "explain"), "explanation"),
    **dict.fromkeys(("gradient_norms", "last_layer_gradient_norm"), ".gradient_norms"),
    **dict.fromkeys(("Influence", "internal_influence"), "influence"),
    "DeepRatio": "ratio",
    "attack_layers": "layers",
    **dict.fromkeys(("Linear", "LinearBayes", "LinearGeneral"), "linear"),
    **dict.fromkeys(("Cut", "cut"), "slices"),
    "LayerMeta": "meta",
    "drawn_target": "target",
}

__all__ = [
    "BayesOptimal", "Cut", "DeepBayes", "DeepGeneral", "DeepRatio", "Explanation", "Fitted", "GradientNorm",
    "Influence", "LayerMeta", "Linear", "LinearBayes", "LinearGeneral", "attack_layers", "bayes_optimal_accuracy",
    "calibrate", "called_members", "cut", "drawn_target", "explain", "gradient_norms", "internal_influence",
    "last_layer_gradient_norm",
]  # fmt: skip

if not TYPE_CHECKING:  # so that a type checker knows these names and no others
    __getattr__ = lazy_names(__name__, _HOME, purpose="running white-box attacks")
