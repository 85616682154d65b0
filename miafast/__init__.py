"""miafast measures what a trained model leaks about its training set. Start with `audit`."""

from miafast import whitebox
from miafast.attacks.lira import LiRA
from miafast.attacks.rmia import RMIA
from miafast.attacks.threshold import Threshold
from miafast.audit import audit
from miafast.data import load
from miafast.defense_table import defense_table
from miafast.ops.dispatch import backend, backends
from miafast.ops.linear_confidence import linear_confidence
from miafast.ops.logit_confidence import logit_confidence
from miafast.ops.signals import signals
from miafast.report import Report
from miafast.roc import Roc, roc
from miafast.shadow import Recipe, membership
from miafast.tables import Records, Signals

__version__ = "0.1.0"
__all__ = [
    "RMIA", "LiRA", "Recipe", "Records", "Report", "Roc", "Signals", "Threshold", "audit", "backend", "backends",
    "defense_table", "linear_confidence", "load", "logit_confidence", "membership", "roc", "signals", "whitebox",
]  # fmt: skip
