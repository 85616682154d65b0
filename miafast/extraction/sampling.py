"""Text from a causal language model, sampled so that it is various at first and likely after."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from miafast.shadow.random import stream, uniform
from miafast.tables import Array


def generate(
    model: Any, prompt: Any, *, count: int, length: int, seed: int = 0, top_k: int | None = 40,
    temperature: float = 1.0, hot: float = 10.0, decay: int = 20, batch: int = 64,
) -> Array:  # fmt: skip
    """Sample ``count`` continuations of a prompt: int64 [count, prompt + length].

    The temperature falls linearly from ``hot`` to ``temperature`` over the first ``decay`` tokens, so that samples
    begin differently and then follow what the model knows. A sample depends on (seed, its number) alone, not on the
    batch it is made in, up to rounding.

    Args:
        model: ``model(input_ids).logits`` [sequences, tokens, vocabulary]; put into evaluation mode. Where its answer
            has ``past_key_values``, these go back in with each new token alone; else all tokens are read again.
        prompt: [tokens] that all begin with, at least one (the token that begins a text), or [count, tokens].
        top_k: only the likeliest so many tokens are drawn from; None for all.
        hot, decay: ``decay=0`` samples at ``temperature`` throughout.

    Raises ValueError for options out of range or answers that are not finite.

    Source: Carlini et al. 2021, "Extracting Training Data from Large Language Models", section 5.1.1 (top-40 sampling
    with a decaying temperature, 10 to 1 over the first 20 tokens).

    >>> from miafast.extraction import SmallLanguageModel
    >>> generate(SmallLanguageModel(vocabulary=5, seed=0), [0], count=3, length=4).shape
    (3, 5)
    """
    for name, value, low in (("count", count, 1), ("length", length, 1), ("decay", decay, 0), ("batch", batch, 1)):
        if value < low:
            raise ValueError(f"{name}={value}; give at least {low}.")
    if not (temperature > 0 and hot > 0) or (top_k is not None and top_k < 1):
        raise ValueError(f"temperature={temperature}, hot={hot}, top_k={top_k}; give temperatures > 0 and top_k >= 1.")
    start = np.asarray(prompt)
    if (
        start.ndim not in (1, 2)
        or not start.size
        or start.dtype.kind not in "iu"
        or len(start) not in (start.size, count)
    ):
        raise ValueError(f"prompt has shape {start.shape}; give integer tokens [at least 1], or [count, tokens].")
    tokens = np.broadcast_to(start, (count, start.shape[-1])).astype(np.int64)
    model = model.eval() if isinstance(model, nn.Module) else model
    device = next((each.device for each in model.parameters()), None) if isinstance(model, nn.Module) else None
    made = []
    for begin in range(0, count, batch):
        numbers = range(begin, min(begin + batch, count))
        draws = np.stack([uniform(stream(seed, number, "generation"), length) for number in numbers])
        ids = new = torch.as_tensor(tokens[numbers.start : numbers.stop])
        past = None
        for step in range(length):
            share = min(1.0, step / decay) if decay else 1.0
            heat = hot + (temperature - hot) * share
            with torch.inference_mode():
                asked = (ids if past is None else new).to(device)
                answer = model(asked) if past is None else model(asked, past_key_values=past)
            past = getattr(answer, "past_key_values", None)
            new = _next(answer.logits[:, -1].double().cpu(), draws[:, step], heat=heat, top_k=top_k)
            ids = torch.cat([ids, new], dim=1)
        made.append(ids.numpy())
    return np.concatenate(made)


def _next(logits: torch.Tensor, draws: Array, *, heat: float, top_k: int | None) -> torch.Tensor:
    """One more token per sequence, [sequences, 1], by the inverse of the distribution over the likeliest."""
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("model answers NaN or infinite logits; did its training diverge?")
    best, which = logits.topk(min(top_k or logits.shape[1], logits.shape[1]), dim=1)
    reached = (best / heat).softmax(dim=1).cumsum(dim=1)
    place = (reached < torch.as_tensor(draws)[:, None] * reached[:, -1:]).sum(dim=1, keepdim=True)
    return which.gather(1, place)
