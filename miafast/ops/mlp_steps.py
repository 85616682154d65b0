"""Training steps of many small multilayer perceptrons, each on batches of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from miafast.ops.dispatch import Array, op
from miafast.ops.mlp_confidence import check_widths


class MlpState(NamedTuple):
    """Weights and the optimiser's moments (momentum in ``first``), each [models, parameters]."""

    weights: Array
    first: Array
    second: Array


def mix(values: Array) -> Array:
    """A bijective 32-bit hash with low bias (Wellons, "Hash Prospector", lowbias32); uint32 in, uint32 out."""
    values = np.asarray(values, np.uint32)
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x7FEB352D)
    values = (values ^ (values >> np.uint32(15))) * np.uint32(0x846CA68B)
    mixed: Array = values ^ (values >> np.uint32(16))
    return mixed


def dropout_keys(base: Array, step: int, layer: int) -> Array:
    """The uint32 keys [models] of one layer's dropout at one step; ``base`` [models] are the models' own keys."""
    return mix(mix(np.asarray(base, np.uint32) + np.uint32(step & 0xFFFFFFFF)) + np.uint32(layer + 1))


def kept(key: Any, rows: int, units: int, share: float) -> Array:
    """Which activations [rows, units] dropout keeps: a hash of key and position is at least ``share`` of its range."""
    place = np.arange(rows * units, dtype=np.uint32).reshape(rows, units)
    hashed = mix(place * np.uint32(0x9E3779B1) + np.asarray(key, np.uint32))
    return np.asarray(hashed >= np.uint32(np.float32(share) * 2.0**32))


def check_whole(**arrays: Array) -> None:
    """Raise ValueError for other numbers than integers: NaN is within any bounds that it is compared with."""
    for name, array in arrays.items():
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} has dtype {array.dtype}; give integers.")


def _contract(
    weights: Array, first: Array, second: Array, x: Array, y: Array, batches: Array, counts: Array, rates: Array,
    keys: Array, *, widths: Sequence[int], taken: int, activation: str, optimizer: str, momentum: float, nesterov: bool,
    weight_decay: float, dropout: float, label_smoothing: float, bfloat16: bool, scale: float, shift: float,
) -> None:  # fmt: skip
    check_widths(widths)
    check_whole(y=y, batches=batches, counts=counts)
    parameters = sum((inside + 1) * outside for inside, outside in pairwise(widths))
    if not weights.shape == first.shape == second.shape == (len(weights), parameters):
        raise ValueError(f"weights have shape {weights.shape}; widths={tuple(widths)} need [models, {parameters}].")
    if x.ndim != 2 or x.shape[1] != widths[0] or y.shape != x.shape[:1]:
        raise ValueError(f"x {x.shape} and y {y.shape} must be [records, {widths[0]}] and [records].")
    if batches.ndim != 3 or len(batches) != len(weights) or rates.shape != batches.shape[:2]:
        raise ValueError(
            f"batches {batches.shape} and rates {rates.shape} must be [models, steps, batch], [models, steps]."
        )
    if counts.shape != keys.shape or counts.shape != (len(weights),):
        raise ValueError(f"counts {counts.shape} and keys {keys.shape} must be [models] = [{len(weights)}].")
    if batches.size and (batches.min() < 0 or batches.max() >= len(x)):
        raise ValueError(f"batches hold indices {batches.min()} … {batches.max()}; records are 0 … {len(x) - 1}.")
    if counts.size and (counts.min() < 0 or counts.max() > batches.shape[1]):
        raise ValueError(f"counts hold {counts.min()} … {counts.max()}; batches have {batches.shape[1]} steps.")
    if len(y) and (y.min() < 0 or y.max() >= widths[-1]):
        raise ValueError(f"y holds {y.min()} … {y.max()}; labels must lie in [0, {widths[-1]}).")
    if optimizer not in ("sgd", "adam", "adamw") or activation not in ("relu", "tanh"):
        raise ValueError(f"optimizer={optimizer!r}, activation={activation!r}: choose sgd, adam, adamw; relu, tanh.")


@op(_contract)
def mlp_steps(
    weights: Array, first: Array, second: Array, x: Array, y: Array, batches: Array, counts: Array, rates: Array,
    keys: Array, *, widths: Sequence[int], taken: int, activation: str, optimizer: str, momentum: float, nesterov: bool,
    weight_decay: float, dropout: float, label_smoothing: float, bfloat16: bool, scale: float, shift: float,
) -> MlpState:  # fmt: skip
    """Take the next steps of every model and return its new state; the arguments are left as they are.

    ``weights``, ``first`` and ``second`` are float32 [models, parameters]: per layer weight [out, in] and bias [out],
    as in PyTorch. ``x`` [records, widths[0]] is float32 or uint8 and seen as x · scale + shift; ``y`` int64 [records].
    ``batches`` int64 [models, steps, batch] are record indices, ``rates`` float64 [models, steps] learning rates,
    ``counts`` int64 [models] how many of these steps a model takes, ``keys`` uint32 [models] its dropout key; ``taken``
    is the number of steps every model took before. The loss is the batch's mean cross-entropy (Szegedy et al.'s label
    smoothing); optimisers are PyTorch's with its default constants. ``bfloat16`` rounds the operands of every matrix
    product and sums in float32.

    Raises ValueError for shapes that do not fit, indices or labels out of range and unknown choices.
    """
    state = MlpState(weights.copy(), first.copy(), second.copy())
    options = _Options(momentum, nesterov, weight_decay, optimizer)
    for model in range(len(weights)):
        own = MlpState(*(each[model] for each in state))
        for step in range(int(counts[model])):
            which = batches[model, step]
            inputs = x[which].astype(weights.dtype) * weights.dtype.type(scale) + weights.dtype.type(shift)
            layer_keys = [
                dropout_keys(keys[model : model + 1], taken + step, layer) for layer in range(len(widths) - 2)
            ]
            slope = _gradient(
                own.weights, inputs, y[which], layer_keys, widths=widths, activation=activation, dropout=dropout,
                label_smoothing=label_smoothing, bfloat16=bfloat16,
            )  # fmt: skip
            _update(own, slope, rate=float(rates[model, step]), step=taken + step + 1, options=options)
    return state


class _Options(NamedTuple):
    momentum: float
    nesterov: bool
    weight_decay: float
    optimizer: str


def _gradient(
    weights: Array, x: Array, y: Array, layer_keys: list[Array], *, widths: Sequence[int], activation: str,
    dropout: float, label_smoothing: float, bfloat16: bool,
) -> Array:  # fmt: skip
    """The gradient [parameters] of one batch's mean loss, by hand."""
    rounded = _round_bfloat16 if bfloat16 else np.asarray
    matrices, begin = [], 0
    for inside, outside in pairwise(widths):
        weight = weights[begin : begin + inside * outside].reshape(outside, inside)
        bias = weights[begin + inside * outside : begin + (inside + 1) * outside]
        matrices.append(rounded(np.concatenate([weight, bias[:, None]], axis=1)))
        begin += (inside + 1) * outside
    inputs, masks = [rounded(_with_ones(x))], []
    for matrix, key in zip(matrices[:-1], layer_keys, strict=True):
        sums = inputs[-1] @ matrix.T
        active = np.tanh(sums) if activation == "tanh" else np.maximum(sums, 0.0)
        masks.append(kept(key, len(sums), sums.shape[1], dropout) / (1.0 - dropout) if dropout else np.ones(sums.shape))
        inputs.append(rounded(_with_ones(active * masks[-1])))
    logits = inputs[-1] @ matrices[-1].T
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    slope = power / power.sum(axis=1, keepdims=True) - label_smoothing / widths[-1]
    slope[np.arange(len(y)), y] -= 1.0 - label_smoothing
    slope /= len(y)
    parts = []
    for layer in reversed(range(len(matrices))):
        slope = rounded(slope)
        both = slope.T @ inputs[layer]
        parts += [both[:, -1], both[:, :-1].reshape(-1)]
        if layer:
            slope = (slope @ matrices[layer])[:, :-1] * masks[layer - 1]
            active = inputs[layer][:, :-1] * (1.0 - dropout)
            slope = slope * (1.0 - active * active) if activation == "tanh" else np.where(active <= 0.0, 0.0, slope)
    return np.concatenate(parts[::-1])


def _update(state: MlpState, slope: Array, *, rate: float, step: int, options: _Options) -> None:
    if options.optimizer == "adamw":
        state.weights[:] *= 1.0 - rate * options.weight_decay
    else:
        slope = slope + options.weight_decay * state.weights
    if options.optimizer == "sgd":
        if options.momentum:
            state.first[:] = options.momentum * state.first + slope
            slope = slope + options.momentum * state.first if options.nesterov else state.first
        state.weights[:] -= rate * slope
        return
    state.first[:] = 0.9 * state.first + 0.1 * slope
    state.second[:] = 0.999 * state.second + 0.001 * slope * slope
    size = np.sqrt(state.second / (1.0 - 0.999**step)) + 1e-8
    state.weights[:] -= rate / (1.0 - 0.9**step) * state.first / size


def _with_ones(values: Array) -> Array:
    return np.concatenate([values, np.ones((len(values), 1), values.dtype)], axis=1)


def _round_bfloat16(values: Array) -> Array:
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(values.dtype)
