"""Extraction in one call: generate, drop duplicates, rank by every criterion, look up in the training text."""

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

    texts: tuple[str, ...]  # distinct, without the prompt
    scores: Mapping[str, Array]  # criterion -> [texts], higher = more likely memorised
    verbatim: Array  # [texts] share that stands verbatim in the training text
    generated: int  # before duplicates were dropped

    def ranked(self, by: str) -> Array:
        """Indices of the texts, the likeliest memorised first. Raises ValueError for a criterion not measured."""
        if by not in self.scores:
            raise ValueError(f"by={by!r} was not measured; choose from {', '.join(self.scores)}.")
        return np.argsort(-self.scores[by], kind="stable")

    def verbatim_of_top(self, by: str, top: int) -> float:
        """The mean verbatim share of the ``top`` texts by a criterion."""
        return float(self.verbatim[self.ranked(by)[:top]].mean())

    def __str__(self) -> str:
        lines = [f"{self.generated:,} generated, {len(self.texts):,} distinct, {self.verbatim.mean():.1%} verbatim"]
        lines += [f"{by:<12} verbatim in the top 10: {self.verbatim_of_top(by, 10):.1%}" for by in self.scores]
        return "\n".join(lines)


def extract(
    model: Any, prompt: Sequence[int], *, training: Sequence[int], encode: Callable[[str], Sequence[int]],
    decode: Callable[[Sequence[int]], str], count: int = 1000, length: int = 256, run: int = 50, seed: int = 0,
    smaller: Any = None, other: Any = None, window: int = 50, top_k: int | None = 40, temperature: float = 1.0,
    hot: float = 10.0, decay: int = 20,
) -> Extraction:  # fmt: skip
    """Generate texts, keep distinct ones, score each by every criterion, and look them up in the training text.

    Args:
        model, prompt, count, length, seed, top_k, temperature, hot, decay: as for `generate`.
        training: the training text in tokens; a run of at least ``run`` tokens found in it is verbatim.
        encode, decode: text to tokens and back.
        smaller, other, window: as for `criteria`.

    Raises ValueError as those do.

    Source: Carlini et al. 2021, "Extracting Training Data from Large Language Models".

    >>> from miafast.extraction import Characters, SmallLanguageModel
    >>> text = "to be or not to be"
    >>> code = Characters(text)
    >>> found = extract(SmallLanguageModel(vocabulary=len(code)), [0], training=code.encode(text), encode=code.encode,
    ...                 decode=code.decode, count=4, length=8, run=4)
    >>> found.generated, sorted(found.scores)
    (4, ['lower-case', 'perplexity', 'window', 'zlib'])
    """
    start = np.asarray(prompt)
    tokens = generate(
        model, start, count=count, length=length, seed=seed, top_k=top_k, temperature=temperature, hot=hot, decay=decay
    )[:, start.shape[-1] :]
    kept = tokens[distinct(tokens.tolist())]
    texts = tuple(decode(row.tolist()) for row in kept)
    scores = criteria(model, texts, encode, smaller=smaller, other=other, window=window)
    return Extraction(texts, scores, verbatim_share(kept, training, length=run), count)
