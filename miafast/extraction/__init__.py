"""What a language model gives away of its training text: exposure of canaries, extraction, losses of sequences.

Models have Hugging Face's interface, ``model(input_ids).logits``. `exposure` works on losses from anywhere; the names
that run models import torch when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from miafast.extraction.duplicates import distinct
from miafast.extraction.exposure import exposure
from miafast.extraction.verbatim import verbatim_share
from miafast.lazy import lazy_names

if TYPE_CHECKING:
    from miafast.extraction.extracting import Extraction, extract
    from miafast.extraction.losses import language_signals, sequence_losses, token_losses
    from miafast.extraction.ranking import CRITERIA, criteria
    from miafast.extraction.sampling import generate
    from miafast.extraction.small import Characters, SmallLanguageModel, train_small

_HOME = {
    "Characters": "small", "CRITERIA": "ranking", "Extraction": "extracting", "SmallLanguageModel": "small",
    "criteria": "ranking", "extract": "extracting", "generate": "sampling", "language_signals": "losses",
    "sequence_losses": "losses", "token_losses": "losses", "train_small": "small",
}  # fmt: skip

__all__ = [
    "CRITERIA", "Characters", "Extraction", "SmallLanguageModel", "criteria", "distinct", "exposure", "extract",
    "generate", "language_signals", "sequence_losses", "token_losses", "train_small", "verbatim_share",
]  # fmt: skip

if not TYPE_CHECKING:  # so that a type checker knows these names and no others
    __getattr__ = lazy_names(__name__, _HOME, purpose="asking language models")
