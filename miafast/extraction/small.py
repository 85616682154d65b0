"""A small recurrent language model over characters: to try the attacks on, and to stand as the smaller model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from miafast.shadow.modules import torch_seeded
from miafast.shadow.random import integer, permutation, stream
from miafast.tables import Array


class Answer(NamedTuple):
    """As Hugging Face's models answer."""

    logits: torch.Tensor  #: [sequences, tokens, vocabulary]
    past_key_values: torch.Tensor | None = None  #: [1, sequences, width]: the state after the last token


class Characters:
    """Text to tokens and back, one per character; 0 stands for any character not known.

    >>> code = Characters("hello")
    >>> code.encode("hole?"), code.decode(code.encode("hole?"))
    ([2, 4, 3, 1, 0], 'hole\N{REPLACEMENT CHARACTER}')
    """

    def __init__(self, text: str) -> None:
        self._known = "\N{REPLACEMENT CHARACTER}" + "".join(sorted(set(text) - {"\N{REPLACEMENT CHARACTER}"}))
        self._number = {each: number for number, each in enumerate(self._known)}

    def __len__(self) -> int:
        return len(self._known)

    def encode(self, text: str) -> list[int]:
        return [self._number.get(each, 0) for each in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self._known[token] for token in tokens)


class SmallLanguageModel(nn.Module):  # type: ignore[misc]
    """Embedding, a gated recurrent unit, a linear head; ``model(input_ids).logits`` [sequences, tokens, vocabulary]."""

    def __init__(self, vocabulary: int, *, width: int = 64, seed: int = 0) -> None:
        super().__init__()
        with torch_seeded(integer(seed, 0, "language model")):
            self.embedding = nn.Embedding(vocabulary, width)
            self.recurrent = nn.GRU(width, width, batch_first=True)
            self.head = nn.Linear(width, vocabulary)

    def get_output_embeddings(self) -> nn.Linear:
        return self.head

    def forward(self, input_ids: torch.Tensor, past_key_values: torch.Tensor | None = None) -> Answer:
        hidden, state = self.recurrent(self.embedding(input_ids), past_key_values)
        return Answer(self.head(hidden), state)


def train_small(
    tokens: Array, *, vocabulary: int, width: int = 64, epochs: int = 10, batch: int = 32, context: int = 64,
    rate: float = 3e-3, seed: int = 0,
) -> SmallLanguageModel:  # fmt: skip
    """Train a `SmallLanguageModel` with Adam on a text, or on sequences; the result is a function of the arguments.

    Args:
        tokens: one text [tokens], cut into rows of ``context`` + 1 at a place that moves from epoch to epoch; or
            sequences [sequences, tokens], each a row.
        vocabulary: tokens lie in [0, vocabulary).

    Raises ValueError for tokens out of range or too few for one row, and for a size that is not positive.

    >>> model = train_small(np.tile([1, 2, 3], 30), vocabulary=4, width=16, epochs=40, context=8)
    >>> model(torch.tensor([[1, 2, 3, 1]])).logits[0, -1].argmax().item()
    2
    """
    for name, size in {"width": width, "epochs": epochs, "batch": batch, "context": context}.items():
        if size < 1:
            raise ValueError(f"{name}={size}; give at least 1.")
    text = np.asarray(tokens)
    least = context + 1 if text.ndim == 1 else 1
    if text.ndim not in (1, 2) or text.dtype.kind not in "iu" or len(text) < least or text.shape[-1] < 2:
        raise ValueError(
            f"tokens has shape {text.shape}; give a text of at least {context + 1} tokens (integers), or [sequences, "
            "tokens]."
        )
    if text.min() < 0 or text.max() >= vocabulary:
        raise ValueError(f"tokens lie in {text.min()} … {text.max()}, outside [0, vocabulary={vocabulary}).")
    model = SmallLanguageModel(vocabulary, width=width, seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    bits = stream(seed, 0, "batches")
    for _ in range(epochs):
        rows = text if text.ndim == 2 else _rows(text, context + 1, int(bits.random_raw() % (context + 1)))
        order = permutation(bits, len(rows))
        for begin in range(0, len(rows), batch):
            part = torch.as_tensor(rows[order[begin : begin + batch]].astype(np.int64))
            logits = model(part[:, :-1]).logits
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    model.eval()
    return model


def _rows(text: Array, length: int, offset: int) -> Array:
    """The text from ``offset`` on (from the start where it is too short for that) in rows of this length."""
    begin = offset if len(text) - offset >= length else 0
    count = (len(text) - begin) // length
    return text[begin : begin + count * length].reshape(count, length)
