"""The optimiser's step in Triton: every weight, gradient and moment is read once and written once."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from miafast.shadow.optimiser import BETAS, EPSILON, Leaf
from miafast.shadow.recipe import Recipe

_BLOCK = 1024


def update(recipe: Recipe, leaf: Leaf, gradient: Any, rates: Any, correction: Any) -> None:
    """`plain_update` of one parameter [models, ...], in place; the gradient may be bfloat16."""
    models, each = len(leaf.weights), leaf.weights[0].numel()
    with torch.cuda.device_of(leaf.weights):
        _step[(triton.cdiv(each, _BLOCK), models)](
            *leaf, gradient.contiguous(), rates, correction, each, **rule(recipe), block=_BLOCK
        )


def rule(recipe: Recipe) -> dict[str, Any]:
    """How `stepped` moves weights, from ``decay`` on."""
    return {
        "decay": recipe.weight_decay, "momentum": recipe.momentum, "epsilon": EPSILON, "beta_1": BETAS[0],
        "beta_2": BETAS[1], "kind": recipe.optimizer, "nesterov": recipe.nesterov,
    }  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator]
def _step(  # type: ignore[no-untyped-def]
    weights, first, second, rounded, gradient, rates, correction, each,
    decay: tl.constexpr, momentum: tl.constexpr, epsilon: tl.constexpr, beta_1: tl.constexpr, beta_2: tl.constexpr,
    kind: tl.constexpr, nesterov: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    model = tl.program_id(1)
    column = tl.program_id(0) * block + tl.arange(0, block)
    inside = column < each
    place = model.to(tl.int64) * each + column
    w, m, v = held(weights, first, second, place, inside, kind, momentum)
    stepped(
        weights, first, second, rounded, place, inside, tl.load(gradient + place, inside).to(tl.float32), w, m, v,
        tl.load(rates + model), correction, decay, momentum, epsilon, beta_1, beta_2, kind, nesterov,
    )  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator]
def held(  # type: ignore[no-untyped-def]
    weights, first, second, place, inside, kind: tl.constexpr, momentum: tl.constexpr
):  # fmt: skip
    """Weights and moments at these places of a `Leaf`; what the optimiser does not use is not read."""
    w = tl.load(weights + place, inside)
    m = tl.load(first + place, inside) if kind != "sgd" or momentum > 0 else w
    v = tl.load(second + place, inside) if kind != "sgd" else w
    return w, m, v


@triton.jit  # type: ignore[untyped-decorator]
def stepped(  # type: ignore[no-untyped-def]
    weights, first, second, rounded, place, inside, g, w, m, v, rate, correction,
    decay: tl.constexpr, momentum: tl.constexpr, epsilon: tl.constexpr, beta_1: tl.constexpr, beta_2: tl.constexpr,
    kind: tl.constexpr, nesterov: tl.constexpr,
):  # fmt: skip
    """One step of one model's weights at these places, from what is `held` there and the float32 gradient ``g``."""
    if kind == "adamw":
        w *= 1.0 - rate * decay
    else:
        g += decay * w
    if kind == "sgd":
        if momentum > 0:
            m = momentum * m + g
            tl.store(first + place, m, inside)
            g = g + momentum * m if nesterov else m
        w -= rate * g
    else:
        m += (1.0 - beta_1) * (g - m)
        v = beta_2 * v + (1.0 - beta_2) * g * g
        tl.store(first + place, m, inside)
        tl.store(second + place, v, inside)
        size = tl.sqrt(v) * (1.0 / tl.sqrt(tl.load(correction + 1))) + epsilon
        w -= rate / tl.load(correction) * m / size
    tl.store(weights + place, w, inside)
    if rounded.dtype != weights.dtype:
        tl.store(rounded + place, w.to(rounded.dtype.element_ty), inside)
