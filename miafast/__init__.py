"""miafast measures what a trained model leaks about its training set. Start with `audit`."""

from miafast.ops.dispatch import backend, backends
from miafast.roc import Roc, roc
from miafast.tables import Records, Signals

__version__ = "0.1.0"
__all__ = ["Records", "Roc", "Signals", "backend", "backends", "roc"]
