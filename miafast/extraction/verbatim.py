"""How much of a text stands word for word in another."""

from __future__ import annotations

from typing import Any

import numpy as np

from miafast.tables import Array

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that powers modulo 2**64 never vanish


def verbatim_share(samples: Any, training: Any, *, length: int = 50) -> Array:
    """[samples] share of each sample's tokens that lie in a run of at least ``length`` tokens also found in training.

    Args:
        samples: [samples, tokens] integers, or a sequence of such rows of any lengths.
        training: [tokens] integers: the training text in the same tokens.
        length: the shortest run that counts.

    Runs are found by a rolling hash and then compared token by token: what is reported does stand there.

    Raises ValueError for a length below 1 and for anything that is not integer tokens.

    Source: Carlini et al. 2021, "Extracting Training Data from Large Language Models", section 6 (verbatim overlap);
    Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better" (runs of 50 tokens).

    >>> verbatim_share([[1, 2, 3, 9], [3, 2, 1, 0]], [0, 1, 2, 3, 4], length=3)
    array([0.75, 0.  ])
    """
    if length < 1:
        raise ValueError(f"length={length}; give at least 1 token.")
    text = _tokens("training", training)
    codes = _hashes(text, length)
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    shares = []
    for number, sample in enumerate(samples):
        row = _tokens(f"samples[{number}]", sample)
        covered = np.zeros(len(row), bool)
        asked = _hashes(row, length)
        place = np.searchsorted(codes, asked)
        for begin in np.flatnonzero(place < len(codes)):
            where = place[begin]
            if codes[where] != asked[begin]:
                continue
            source = order[where]
            if np.array_equal(text[source : source + length], row[begin : begin + length]):
                covered[begin : begin + length] = True
        shares.append(covered.mean() if len(row) else 0.0)
    return np.array(shares)


def _hashes(tokens: Array, length: int) -> Array:
    """[tokens - length + 1] uint64: a polynomial of every run of this length."""
    count = max(0, len(tokens) - length + 1)
    mixed = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(31)
    codes = np.zeros(count, np.uint64)
    for offset in range(length if count else 0):
        codes = codes * _BASE + mixed[offset : offset + count]
    return codes


def _tokens(name: str, values: Any) -> Array:
    tokens = np.asarray(values)
    if tokens.ndim != 1 or (tokens.size and tokens.dtype.kind not in "iu"):
        raise ValueError(f"{name} has shape {tokens.shape} and dtype {tokens.dtype}; give integer tokens [tokens].")
    return tokens.astype(np.int64)
