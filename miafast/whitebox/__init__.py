"""White-box attacks: the target's weights and internal features are known (Leino & Fredrikson, "Stolen Memories").

Every attack is fitted to one target with records that the attacker has, and answers a `Fitted`, whose ``score``
gives the probability that a record is a member. The names that run models import torch when they are first used.

>>> round(bayes_optimal_accuracy(features=75, records_per_class=100), 4)
0.6675
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miafast.lazy import lazy_names
from miafast.whitebox.bayes_optimal import BayesOptimal, bayes_optimal_accuracy
from miafast.whitebox.calibration import calibrate, called_members
from miafast.whitebox.fitted import Fitted

if TYPE_CHECKING:
    from miafast.whitebox.deep import DeepBayes, DeepGeneral
    from miafast.whitebox.gradients import GradientNorm, gradient_norms, last_layer_gradient_norm
    from miafast.whitebox.influence import Influence, internal_influence
    from miafast.whitebox.linear import Linear, LinearBayes, LinearGeneral
    from miafast.whitebox.meta import LayerMeta
    from miafast.whitebox.slices import Cut, cut

_HOME = {
    **dict.fromkeys(("DeepBayes", "DeepGeneral"), "deep"),
    **dict.fromkeys(("GradientNorm", "gradient_norms", "last_layer_gradient_norm"), "gradients"),
    **dict.fromkeys(("Influence", "internal_influence"), "influence"),
    **dict.fromkeys(("Linear", "LinearBayes", "LinearGeneral"), "linear"),
    **dict.fromkeys(("Cut", "cut"), "slices"),
    "LayerMeta": "meta",
}

__all__ = [
    "BayesOptimal", "Cut", "DeepBayes", "DeepGeneral", "Fitted", "GradientNorm", "Influence", "LayerMeta", "Linear",
    "LinearBayes", "LinearGeneral", "bayes_optimal_accuracy", "calibrate", "called_members", "cut", "gradient_norms",
    "internal_influence", "last_layer_gradient_norm",
]  # fmt: skip

__getattr__ = lazy_names(__name__, _HOME, purpose="running white-box attacks")
