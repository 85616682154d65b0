"""Samples that say the same, once each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from miafast.tables import Array


def distinct(samples: Sequence[Any]) -> Array:
    """Indices, ascending, of the samples that are no duplicates of an earlier one that was kept.

    A sample is a duplicate where at least half of its trigrams, counted with multiplicity, are in the earlier one.
    Samples of fewer than three tokens are compared whole.

    Source: Carlini et al. 2021, "Extracting Training Data from Large Language Models", appendix B.

    >>> distinct([[1, 2, 3, 4, 5], [9, 1, 2, 3, 4], [5, 4, 3, 2, 1]])
    array([0, 2])
    """
    kept: list[int] = []
    bags: list[Counter[Any]] = []
    for number, sample in enumerate(samples):
        tokens = list(sample)
        bag = Counter(zip(tokens, tokens[1:], tokens[2:], strict=False)) or Counter([tuple(tokens)])
        if any(2 * (bag & earlier).total() >= bag.total() for earlier in bags):
            continue
        kept.append(number)
        bags.append(bag)
    return np.array(kept, np.int64)
