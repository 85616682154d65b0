"""The optimiser's step as one Triton kernel: every weight, gradient and moment is read once and written once."""

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
            *leaf, gradient.contiguous(), rates, correction, each,
            recipe.weight_decay, recipe.momentum, EPSILON,
            beta_1=BETAS[0], beta_2=BETAS[1], kind=recipe.optimizer, nesterov=recipe.nesterov,
            momentous=bool(recipe.momentum), block=_BLOCK,
        )  # fmt: skip


@triton.jit  # type: ignore[untyped-decorator]
def _step(  # type: ignore[no-untyped-def]
    weights, first, second, rounded, gradient, rates, correction, each, decay, momentum, epsilon,
    beta_1: tl.constexpr, beta_2: tl.constexpr, kind: tl.constexpr, nesterov: tl.constexpr, momentous: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    model = tl.program_id(1)
    column = tl.program_id(0) * block + tl.arange(0, block)
    inside = column < each
    place = model.to(tl.int64) * each + column
    w = tl.load(weights + place, inside)
    g = tl.load(gradient + place, inside).to(tl.float32)
    rate = tl.load(rates + model)
    if kind == "adamw":
        w *= 1.0 - rate * decay
    else:
        g += decay * w
    if kind == "sgd":
        if momentous:
            m = momentum * tl.load(first + place, inside) + g
            tl.store(first + place, m, inside)
            g = g + momentum * m if nesterov else m
        w -= rate * g
    else:
        m = tl.load(first + place, inside)
        m += (1.0 - beta_1) * (g - m)
        v = beta_2 * tl.load(second + place, inside) + (1.0 - beta_2) * g * g
        tl.store(first + place, m, inside)
        tl.store(second + place, v, inside)
        size = tl.sqrt(v) / tl.sqrt(tl.load(correction + 1)) + epsilon
        w -= rate / tl.load(correction) * m / size
    tl.store(weights + place, w, inside)
    if rounded.dtype != weights.dtype:
        tl.store(rounded + place, w.to(rounded.dtype.element_ty), inside)
