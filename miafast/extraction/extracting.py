"""Extraction in one call: generate, rank by every criterion without duplicates, look up in the training text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from miafast.extraction.duplicates import distinct
from miafast.extraction.ranking import criteria
from miafast.extraction.sampling import generate
from miafast.extraction.verbatim import verbatim_share
from miafast.tables import Array


@dataclass(frozen=True, eq=False)
class Extraction:
    """What came out of a language model, and how much of it is its training text. Made by `extract`."""

    texts: tuple[str, ...]  # every generated one, without the prompt
    scores: Mapping[str, Array]  # criterion -> [texts], higher = more likely memorised
    verbatim: Array  # [texts] share that stands verbatim in the training text
    ranks: Mapping[str, Array]  # criterion -> indices of its distinct texts, the likeliest memorised first

    def ranked(self, by: str) -> Array:
        """Indices of distinct texts, the likeliest memorised first: of texts alike, the one that scores highest.

        Raises ValueError for a criterion not measured.
        """
        if by not in self.ranks:
            raise ValueError(f"by={by!r} was not measured; choose from {', '.join(self.ranks)}.")
        return self.ranks[by]

    def precision(self, by: str, top: int | None = None) -> float:
        """The share of the ``top`` distinct texts by a criterion, or of all, that hold any verbatim run."""
        return float((self.verbatim[self.ranked(by)[:top]] > 0).mean())

    def first(self, by: str) -> int | None:
        """The rank, from 1, of the first distinct text by a criterion that holds a verbatim run; None where none."""
        return next(iter((np.flatnonzero(self.verbatim[self.ranked(by)] > 0) + 1).tolist()), None)

    def __str__(self) -> str:
        lines = [f"{len(self.texts):,} generated, {(self.verbatim > 0).mean():.1%} of them with a verbatim run", ""]
        lines += [f"{'distinct texts by':<18}{'first':>6}{'top 10':>8}{'top 100':>8}{'all':>8}"]
        for by in self.ranks:
            shares = "".join(f"{self.precision(by, top):>8.1%}" for top in (10, 100, None))
            lines += [f"{by:<18}{self.first(by) or 'none':>6}{shares}"]
        return "\n".join(lines)


def extract(
    model: Any, prompt: Sequence[int], *, training: Sequence[int], encode: Callable[[str], Sequence[int]],
    decode: Callable[[Sequence[int]], str], count: int = 1000, length: int = 256, run: int = 50, seed: int = 0,
    smaller: Any = None, other: Any = None, window: int = 50, top_k: int | None = 40, temperature: float = 1.0,
    hot: float = 10.0, decay: int = 20,
) -> Extraction:  # fmt: skip
    """Generate texts, score them by every criterion, and look them up in the training text.

    Duplicates are dropped from each criterion's ranking, not before it: of texts alike, the one that scores highest is
    kept, so that a garbled copy that was generated earlier does not hide the verbatim one.

    Args:
        model, prompt, count, length, seed, top_k, temperature, hot, decay: as for `generate`.
        training: the training text in tokens; a run of at least ``run`` tokens found in it is verbatim.
        encode, decode: text to tokens and back.
        smaller, other, window: as for `criteria`.

    Raises ValueError as those do, and for a ``run`` longer than the texts, which would find nothing.

    Source: Carlini et al. 2021, "Extracting Training Data from Large Language Models".

    >>> from miafast.extraction import Characters, SmallLanguageModel
    >>> text = "to be or not to be"
    >>> code = Characters(text)
    >>> found = extract(SmallLanguageModel(vocabulary=len(code)), [0], training=code.encode(text), encode=code.encode,
    ...                 decode=code.decode, count=4, length=8, run=4)
    >>> len(found.texts), sorted(found.scores)
    (4, ['lower-case', 'perplexity', 'window', 'zlib'])
    """
    check_run(run, length)
    start = np.asarray(prompt)
    tokens = generate(
        model, start, count=count, length=length, seed=seed, top_k=top_k, temperature=temperature, hot=hot, decay=decay
    )[:, start.shape[-1] :]
    texts = tuple(decode(row.tolist()) for row in tokens)
    scores = criteria(model, texts, encode, smaller=smaller, other=other, window=window)
    orders = {by: np.argsort(-each, kind="stable") for by, each in scores.items()}
    ranks = {by: order[distinct(tokens[order].tolist())] for by, order in orders.items()}
    return Extraction(texts, scores, verbatim_share(tokens, training, length=run), ranks)


def check_run(run: int, length: int) -> None:
    """Refuse runs that texts of this length cannot hold; raises ValueError."""
    if not 1 <= run <= length:
        raise ValueError(f"run={run} in texts of length={length}; give at least 1 and at most the length.")
