"""Six ways to tell memorised text from likely text, each a score: higher = more likely memorised."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from miafast.extraction.losses import sequence_losses, token_losses
from miafast.tables import Array

#: perplexity alone; its ratio to a smaller and to another model's; to zlib's bits; to the lower-cased text's; the best
#: window's perplexity.
CRITERIA = ("perplexity", "smaller", "other", "zlib", "lower-case", "window")


def criteria(
    model: Any, texts: Sequence[str], encode: Callable[[str], Sequence[int]], *, smaller: Any = None, other: Any = None,
    window: int = 50, head: Any = "auto",
) -> dict[str, Array]:  # fmt: skip
    """The scores of every criterion that can be measured: name -> float64 [texts], higher = more likely memorised.

    With L the mean loss of a text's tokens: "perplexity" -L; "smaller" and "other" L of that model / L; "zlib" the bits
    that zlib needs / L; "lower-case" L of the lower-cased text / L; "window" minus the lowest mean loss of ``window``
    tokens in a row.

    Args:
        texts: each of at least two tokens.
        encode: text -> tokens.
        smaller: a smaller model trained on the same kind of text, in the same tokens; other: one more. Criteria of
            models not given are left out.
        window: tokens; a text shorter than that is its own window.

    Raises ValueError for a window below 1 and texts of fewer than two tokens.

    Source: Carlini et al. 2021, "Extracting Training Data from Large Language Models", section 5.2.

    >>> from miafast.extraction import Characters, SmallLanguageModel
    >>> code = Characters("abc Abc")
    >>> sorted(criteria(SmallLanguageModel(vocabulary=len(code), seed=0), ["abc", "Abc abc"], code.encode))
    ['lower-case', 'perplexity', 'window', 'zlib']
    """
    if window < 1:
        raise ValueError(f"window={window}; give at least 1 token.")
    tokens, lengths = padded([encode(text) for text in texts])
    losses = token_losses(model, tokens, lengths=lengths, head=head).astype(np.float64)
    mean = np.maximum(np.nanmean(losses, axis=1), 1e-12)
    lowered, lower_lengths = padded([encode(text.lower()) for text in texts])
    scores = {
        "perplexity": -mean,
        "zlib": np.array([8 * len(zlib.compress(text.encode())) for text in texts]) / mean,
        "lower-case": sequence_losses(model, lowered, lengths=lower_lengths, head=head) / mean,
        "window": -_best_window(losses, window),
    }
    for name, against in (("smaller", smaller), ("other", other)):
        if against is not None:
            scores[name] = sequence_losses(against, tokens, lengths=lengths, head=head) / mean
    return {name: scores[name] for name in CRITERIA if name in scores}


def padded(rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """Rows of any lengths as one array [rows, longest], repeating a row's last token, and their lengths.

    >>> padded([[1, 2], [3, 4, 5]])[0].tolist()
    [[1, 2, 2], [3, 4, 5]]
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    if not len(rows) or lengths.min() < 2:
        raise ValueError("texts must be one or more, each of at least two tokens.")
    table = np.stack([np.pad(np.asarray(row, np.int64), (0, lengths.max() - len(row)), "edge") for row in rows])
    return table, lengths


def _best_window(losses: Array, window: int) -> Array:
    """The lowest mean of ``window`` losses in a row, [texts]."""
    best = []
    for row in losses:
        sums = np.concatenate([[0.0], np.cumsum(row[~np.isnan(row)])])
        width = min(window, len(sums) - 1)
        best.append((sums[width:] - sums[:-width]).min() / width)
    return np.array(best)
