"""miafast measures what a trained model leaks about its training set. Start with `audit`."""

from miafast.attacks.lira import LiRA
from miafast.attacks.threshold import Threshold
from miafast.ops.dispatch import backend, backends
from miafast.ops.logit_confidence import logit_confidence
from miafast.ops.signals import signals
from miafast.tables import Records, Signals

__version__ = "0.1.0"
__all__ = ["LiRA", "Records", "Signals", "Threshold", "backend", "backends", "logit_confidence", "signals"]
