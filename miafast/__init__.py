"""miafast measures what a trained model leaks about its training set. Start with `audit`."""

from miafast.attacks.lira import LiRA
from miafast.attacks.threshold import Threshold
from miafast.audit import audit
from miafast.audit_dp import audit_dp
from miafast.data import load
from miafast.epsilon import epsilon_lower_bound, epsilon_upper_bound
from miafast.ops.dispatch import backend, backends
from miafast.ops.linear_confidence import linear_confidence
from miafast.ops.logit_confidence import logit_confidence
from miafast.ops.signals import signals
from miafast.report import Report
from miafast.roc import Roc, roc
from miafast.shadow import PrivateRecipe, Recipe, membership
from miafast.tables import Records, Signals

__version__ = "0.1.0"
__all__ = [
    "LiRA", "PrivateRecipe", "Recipe", "Records", "Report", "Roc", "Signals", "Threshold", "audit", "audit_dp",
    "backend", "backends", "epsilon_lower_bound", "epsilon_upper_bound", "linear_confidence", "load",
    "logit_confidence", "membership", "roc", "signals",
]  # fmt: skip
