"""Samples that say the same, once each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from miafast.tables import Array


def distinct(samples: Sequence[Any]) -> Array:
    """Indices, ascending, of the samples that are no duplicates of an earlier one that was kept.

    A sample is a duplicate where at least half of its trigrams, counted with multiplicity, are in the earlier one.
    Samples of fewer than three tokens are compared whole. The first of its kind stays: give the best first.

    Source: Carlini et al. 2021, "Extracting Training Data from Large Language Models", appendix B.

    >>> distinct([[1, 2, 3, 4, 5], [9, 1, 2, 3, 4], [5, 4, 3, 2, 1]])
    array([0, 2])
    """
    kept: list[int] = []
    holders: defaultdict[Hashable, list[int]] = defaultdict(list)  # numbered trigram -> which kept samples have it
    for number, sample in enumerate(samples):
        trigrams = _numbered(list(sample))
        shared = np.bincount([place for each in trigrams for place in holders[each]], minlength=1)
        if 2 * shared.max() >= len(trigrams):
            continue
        for each in trigrams:
            holders[each].append(len(kept))
        kept.append(number)
    return np.array(kept, np.int64)


def _numbered(tokens: list[Any]) -> list[Hashable]:
    """Trigrams, each with how often it came before: two samples share as many of these as of their trigrams."""
    before: Counter[Hashable] = Counter()
    found: list[Hashable] = []
    for trigram in list(zip(tokens, tokens[1:], tokens[2:], strict=False)) or [tuple(tokens)]:
        found.append((trigram, before[trigram]))
        before[trigram] += 1
    return found
