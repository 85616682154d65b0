"""miafast measures what a trained model leaks about its training set. Start with `audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miafast import whitebox
from miafast.attacks.lira import LiRA
from miafast.attacks.rmia import RMIA
from miafast.attacks.threshold import Threshold
from miafast.audit import audit
from miafast.audit_dp import audit_dp
from miafast.data import load
from miafast.defense_table import defense_table
from miafast.epsilon import epsilon_lower_bound, epsilon_upper_bound
from miafast.extraction import exposure
from miafast.lazy import lazy_names
from miafast.ops.dispatch import backend, backends
from miafast.ops.linear_confidence import linear_confidence
from miafast.ops.logit_confidence import logit_confidence
from miafast.ops.signals import signals
from miafast.poisoning import mislabel, poison, truth_serum
from miafast.report import Report
from miafast.roc import Roc, roc
from miafast.shadow import PrivateRecipe, Recipe, membership
from miafast.tables import Records, Signals

if TYPE_CHECKING:
    from miafast.extraction import extract, language_signals
    from miafast.inversion import invert

#: Names that run models: their modules, and with them torch, are imported when first asked for.
_LAZY = {
    "extract": "extraction",
    "invert": "inversion",
    "language_signals": "extraction",
}

__version__ = "0.1.0"
__all__ = [
    "RMIA", "LiRA", "PrivateRecipe", "Recipe", "Records", "Report", "Roc", "Signals", "Threshold", "audit", "audit_dp",
    "backend", "backends", "defense_table", "epsilon_lower_bound", "epsilon_upper_bound", "exposure", "extract",
    "invert", "language_signals", "linear_confidence", "load", "logit_confidence", "membership", "mislabel", "poison",
    "roc", "signals", "truth_serum", "whitebox",
]  # fmt: skip

if not TYPE_CHECKING:  # so that a type checker knows these names and no others
    __getattr__ = lazy_names(__name__, _LAZY, purpose="running models")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
