"""Losses of sequences under causal language models, without ever holding the logits of a large vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from miafast.ops.linear_confidence import linear_confidence
from miafast.ops.logit_confidence import logit_confidence
from miafast.tables import Array, Signals

#: Tokens whose hidden states are held at once.
BATCH_TOKENS = 4096


def token_losses(model: Any, tokens: Any, *, lengths: Any = None, head: Any = "auto") -> Array:
    """The loss of every token given those before it, in nats: float32 [sequences, tokens - 1], NaN beyond a length.

    Args:
        model: a causal language model of Hugging Face's interface: ``model(input_ids)`` answers an object with
            ``logits`` [sequences, tokens, vocabulary]. It is put into evaluation mode.
        tokens: [sequences, tokens] integers, padded behind with any valid token.
        lengths: [sequences] how many tokens of each count, at least 2; by default all.
        head: the last nn.Linear, from hidden states to logits. "auto" takes ``model.get_output_embeddings()``; with
            it the logits are never held: memory grows with hidden states and a block of logits only
            (`miafast.linear_confidence`). None uses the logits, for models that change them after the head.

    Raises ValueError for tokens or lengths that do not fit, answers that are not finite, and a head whose outputs are
    not the model's logits (scaled or soft-capped ones, say): measured on a few tokens beforehand.

    >>> from miafast.extraction import SmallLanguageModel
    >>> token_losses(SmallLanguageModel(vocabulary=7, seed=0), [[1, 2, 3], [4, 5, 6]], lengths=[3, 2]).shape
    (2, 2)
    """
    rows, counts = _checked(tokens, lengths)
    model = model.eval() if isinstance(model, nn.Module) else model
    head = _head(model, head)
    device = _device(model)
    if head is not None:
        _check_head(model, head, rows[:1, : min(8, counts[0])], device)
    found = np.full((len(rows), rows.shape[1] - 1), np.nan, np.float32)
    by_length = np.argsort(-counts, kind="stable")
    step = max(1, BATCH_TOKENS // rows.shape[1])
    for begin in range(0, len(rows), step):
        which = by_length[begin : begin + step]
        longest = int(counts[which[0]])
        block = rows[which, :longest]
        phi = _phi(model, head, torch.as_tensor(block, device=device))
        loss = np.logaddexp(0, -phi.astype(np.float64))
        beyond = np.arange(1, longest)[None] >= counts[which, None]
        if not np.isfinite(loss[~beyond]).all():
            raise ValueError("model answers NaN or infinite logits; did its training diverge?")
        found[which, : longest - 1] = np.where(beyond, np.nan, loss)
    return found


def sequence_losses(model: Any, tokens: Any, *, lengths: Any = None, head: Any = "auto") -> Array:
    """The mean loss of every sequence's tokens, log perplexity: float32 [sequences]. See `token_losses`.

    >>> from miafast.extraction import SmallLanguageModel
    >>> sequence_losses(SmallLanguageModel(vocabulary=7, seed=0), [[1, 2, 3], [4, 5, 6]]).shape
    (2,)
    """
    found = np.nanmean(token_losses(model, tokens, lengths=lengths, head=head), axis=1, dtype=np.float64)
    return np.asarray(found, np.float32)


def language_signals(
    models: Iterable[Any], tokens: Any, in_mask: Array, *, lengths: Any = None, has_target: bool = False,
    head: Any = "auto",
) -> Signals:  # fmt: skip
    """Signals of sequences under many language models, for LiRA, RMIA, the loss threshold and all other attacks.

    p = exp(-mean token loss), the inverse of the perplexity, stands for the confidence of a classifier's label, and
    phi = log p - log(1 - p), so that loss = softplus(-phi) holds here too.

    Args:
        models: asked one after the other, so they may be trained (or loaded) as they are asked for.
        tokens, lengths, head: as for `token_losses`.
        in_mask: bool [models, sequences], whether the model trained on the sequence.
        has_target: whether the last model is the target and the others its shadows.

    Raises ValueError where models and mask disagree, and as `token_losses`.

    Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles", section VI.E (language models).

    >>> from miafast.extraction import SmallLanguageModel
    >>> models = [SmallLanguageModel(vocabulary=5, seed=seed) for seed in range(2)]
    >>> language_signals(models, [[1, 2, 3], [3, 2, 1]], np.eye(2, dtype=bool)).phi.shape
    (2, 2, 1)
    """
    rows, _ = _checked(tokens, lengths)
    if in_mask.dtype != np.bool_ or in_mask.ndim != 2 or in_mask.shape[1] != len(rows):
        raise ValueError(f"in_mask is {in_mask.dtype} {in_mask.shape}; give bool [models, {len(rows)} sequences].")
    phi = [phi_of_loss(sequence_losses(model, rows, lengths=lengths, head=head)) for model in models]
    if len(phi) != len(in_mask):
        raise ValueError(f"models has {len(phi)} models, in_mask {len(in_mask)} rows; give one row per model.")
    labels = np.zeros(len(rows), np.int64)
    return Signals(phi=np.stack(phi)[:, :, None], in_mask=in_mask, labels=labels, has_target=has_target)


def phi_of_loss(loss: Array) -> Array:
    """phi with softplus(-phi) = loss: float32.

    >>> phi_of_loss(np.array([np.log(2), 1e-3])).round(3).tolist()
    [0.0, 6.9070000648498535]
    """
    exact = np.maximum(loss.astype(np.float64), 1e-30)
    phi: Array = -exact - np.log(-np.expm1(-exact))
    return phi.astype(np.float32)


class _SeenError(Exception):
    """Carries the head's input out of the model, so that the head does not run."""

    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.features = features


def _features(model: Any, head: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Hidden states [sequences, tokens, width] that enter the head."""

    def stop(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        raise _SeenError(inputs[0])

    hook = head.register_forward_pre_hook(stop)
    try:
        model(ids)
    except _SeenError as seen:
        return seen.features
    finally:
        hook.remove()
    raise ValueError("head never ran when the model was asked; give the last nn.Linear, or head=None.")


def _phi(model: Any, head: nn.Module | None, ids: torch.Tensor) -> Array:
    """phi [sequences, tokens - 1] of every token given those before it."""
    shape, labels = (len(ids), ids.shape[1] - 1), ids[:, 1:].reshape(-1)
    with torch.inference_mode():
        if head is None:
            logits = model(ids).logits[:, :-1]
            return _numpy(logit_confidence(logits.reshape(len(labels), -1), labels)).reshape(shape)
        features = _features(model, head, ids)[:, :-1]
        bias = None if head.bias is None else head.bias.detach()
        flat = features.reshape(len(labels), -1)
        return _numpy(linear_confidence(flat, head.weight.detach(), bias, labels).phi).reshape(shape)


def _check_head(model: Any, head: nn.Module, few: Array, device: torch.device) -> None:
    ids = torch.as_tensor(few, device=device)
    with torch.inference_mode():
        told, measured = model(ids).logits.float(), head(_features(model, head, ids)).float()
    if told.shape != measured.shape or not torch.allclose(told, measured, rtol=1e-2, atol=1e-2):
        raise ValueError("head's outputs are not the model's logits (scaled or capped after it?); give head=None.")


def _head(model: Any, head: Any) -> nn.Module | None:
    if isinstance(head, str) and head == "auto":
        found = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        return found if isinstance(found, nn.Linear) else None
    if head is not None and not isinstance(head, nn.Linear):
        raise ValueError(f"head is {type(head).__name__}; give an nn.Linear, 'auto', or None for the model's logits.")
    return head


def _device(model: Any) -> torch.device:
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next((each.device for each in parameters), torch.device("cpu"))


def _numpy(values: Any) -> Array:
    return np.asarray(values.cpu() if isinstance(values, torch.Tensor) else values)


def _checked(tokens: Any, lengths: Any) -> tuple[Array, Array]:
    rows = np.asarray(tokens)
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or len(rows) < 1 or rows.shape[1] < 2:
        raise ValueError(
            f"tokens has shape {rows.shape} and dtype {rows.dtype}; give integers [sequences, at least 2 tokens]."
        )
    counts = np.full(len(rows), rows.shape[1]) if lengths is None else np.asarray(lengths)
    if (
        counts.shape != (len(rows),)
        or counts.dtype.kind not in "iu"
        or counts.min() < 2
        or counts.max() > rows.shape[1]
    ):
        raise ValueError(f"lengths must be one integer per sequence, 2 … {rows.shape[1]}; got {counts[:10].tolist()}.")
    return rows.astype(np.int64), counts
