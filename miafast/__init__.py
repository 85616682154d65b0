"""miafast measures what a trained model leaks about its training set. Start with `audit`."""

from miafast.ops.dispatch import backend, backends
from miafast.report import Report
from miafast.shadow import Recipe, membership
from miafast.tables import Records, Signals

__version__ = "0.1.0"
__all__ = ["Recipe", "Records", "Report", "Signals", "backend", "backends", "membership"]
