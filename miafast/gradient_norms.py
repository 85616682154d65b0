"""Norms of per-record gradients: a white-box signal, in one backward for a batch and without any for the last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from miafast.tables import Array

_BATCH = 256


def last_layer_gradient_norm(features: Array, logits: Array, labels: Array, *, bias: bool = True) -> Array:
    """Norm of the loss's gradient in the last, linear layer's weights and bias: no backward, the gradient has rank one.

    It is (p - e_y) ⊗ (features, 1), with p the softmax of the logits, so its norm is |p - e_y| · √(|features|² + 1).

    Args:
        features: [records, features] the layer's inputs. logits: [records, classes]. labels: [records].
        bias: whether the layer has one.

    Returns:
        norms float64 [records]. Raises ValueError for shapes that do not fit.

    >>> last_layer_gradient_norm(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0]]), np.array([0]), bias=False).round(4)
    array([3.5355])
    """
    features, logits = np.asarray(features, np.float64), np.asarray(logits, np.float64)
    if features.ndim != 2 or logits.ndim != 2 or not len(features) == len(logits) == len(labels):
        raise ValueError(
            f"features {features.shape}, logits {logits.shape}, labels {np.shape(labels)} do not fit; give "
            "[records, features], [records, classes] and [records]."
        )
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    others = odds.copy()
    others[rows, labels] = 0.0  # 1 - p_y as the others' sum: exact where the label is nearly sure
    total = odds.sum(axis=1)
    error = np.sqrt(np.square(others).sum(axis=1) + np.square(others.sum(axis=1))) / total
    out: Array = error * np.sqrt(np.square(features).sum(axis=1) + bias)
    return out


def gradient_norms(
    model: nn.Module, x: torch.Tensor, labels: torch.Tensor, *, layers: Sequence[str] | None = None
) -> dict[str, torch.Tensor]:
    """Norm of every record's own loss gradient in every layer's parameters: layer -> float32 [records].

    One forward and one backward for the batch. Linear layers and convolutions need no per-record gradients: the norm
    follows from the layer's inputs and the gradient of its outputs (ghost norms: Goodfellow 2015, arXiv:1510.01799; Li
    et al. 2022, arXiv:2110.05679), by Gram matrices over places or by the gradient itself, whichever is smaller.
    Parameters of other layers get theirs from `torch.func`. The model runs in evaluation mode and records must not
    touch each other in it.

    Raises ValueError for a layer without parameters of its own, naming those that have some.

    >>> norms = gradient_norms(nn.Linear(2, 3), torch.ones(4, 2), torch.zeros(4, dtype=torch.int64))
    >>> {layer: tuple(each.shape) for layer, each in norms.items()}
    {'': (4,)}
    """
    model = model.eval()
    owners = {name: each for name, each in model.named_modules() if list(each.parameters(recurse=False))}
    for name in layers or ():
        if name not in owners:
            raise ValueError(f"layer {name!r} has no parameters of its own; layers that have: {', '.join(owners)}.")
    asked = {name: owners[name] for name in layers or owners}
    ghosts = {name: each for name, each in asked.items() if _has_ghost(each)}
    squares = {name: torch.zeros(len(x), device=x.device) for name in asked}
    _run_ghosts(model, x, labels, ghosts, squares)
    others = [name for name in asked if name not in ghosts]
    if others:
        squares |= _plain_squares(model, x, labels, others)
    return {name: squares[name].sqrt() for name in asked}


def _has_ghost(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear or (isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros")


def _run_ghosts(
    model: nn.Module, x: torch.Tensor, labels: torch.Tensor, ghosts: dict[str, nn.Module],
    squares: dict[str, torch.Tensor],
) -> None:  # fmt: skip
    """One forward that keeps the layers' inputs and outputs, and one backward to those outputs."""
    calls: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            calls.append((name, inputs[0].detach(), output))

        return hook

    handles = [each.register_forward_hook(keep(name)) for name, each in ghosts.items()]
    try:
        loss = nn.functional.cross_entropy(model(x.requires_grad_(False)), labels, reduction="sum")
    finally:
        for handle in handles:
            handle.remove()
    names = [name for name, _, _ in calls]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"layer {twice!r} is used more than once; its gradient is a sum: leave it out of layers.")
    gradients = torch.autograd.grad(loss, [output for _, _, output in calls]) if calls else ()
    for (name, inside, _), gradient in zip(calls, gradients, strict=True):
        squares[name] = _ghost_square(ghosts[name], inside, gradient)


def _ghost_square(layer: nn.Module, inside: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """|∂loss/∂weight|² + |∂loss/∂bias|² [records], from a layer's inputs and its outputs' gradients."""
    if isinstance(layer, nn.Conv2d):
        unfolded = nn.functional.unfold(inside, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        a = unfolded.unflatten(1, (layer.groups, -1)).transpose(2, 3)  # [records, groups, places, inputs]
        g = gradient.flatten(2).unflatten(1, (layer.groups, -1)).transpose(2, 3)  # [records, groups, places, outputs]
    else:
        a = inside.reshape(len(inside), 1, -1, inside.shape[-1])
        g = gradient.reshape(len(gradient), 1, -1, gradient.shape[-1])
    places, sizes = a.shape[2], a.shape[3] * g.shape[3]
    if places**2 < sizes:
        square = ((a @ a.transpose(2, 3)) * (g @ g.transpose(2, 3))).sum(dim=(1, 2, 3))
    else:
        square = (a.transpose(2, 3) @ g).square().sum(dim=(1, 2, 3))
    if layer.bias is not None:
        square = square + g.sum(dim=2).square().sum(dim=(1, 2))
    return square


def _plain_squares(
    model: nn.Module, x: torch.Tensor, labels: torch.Tensor, layers: Sequence[str]
) -> dict[str, torch.Tensor]:
    own = {f"{layer}.{name}".lstrip("."): layer for layer in layers for name, _ in
           model.get_submodule(layer).named_parameters(recurse=False)}  # fmt: skip
    held = {name: each.detach() for name, each in model.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor], one: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = functional_call(model, {**held, **parameters}, (one[None],))
        return nn.functional.cross_entropy(logits, label[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))({name: held[name] for name in own}, x, labels)
    squares = {layer: torch.zeros(len(x), device=x.device) for layer in layers}
    for name, layer in own.items():
        squares[layer] = squares[layer] + gradients[name].flatten(1).square().sum(dim=1)
    return squares


def gradient_signal(model: nn.Module, x: Any, labels: Any, *, layers: Sequence[str] | None = None) -> torch.Tensor:
    """Minus the logarithm of the norm of every record's gradient in these layers together: float32 [records].

    ``x`` and ``labels`` are tensors where the model is, or NumPy arrays. Raises what `gradient_norms` raises.

    >>> gradient_signal(nn.Linear(2, 3), torch.ones(4, 2), torch.zeros(4, dtype=torch.int64)).shape
    torch.Size([4])
    """
    blocks = zip(torch.as_tensor(x).split(_BATCH), torch.as_tensor(labels).split(_BATCH), strict=True)
    norms = (list(gradient_norms(model, some, of, layers=layers).values()) for some, of in blocks)
    squares = torch.cat([torch.stack(each).double().square().sum(dim=0) for each in norms])
    return (-0.5 * squares.clamp_min(1e-60).log()).float()
