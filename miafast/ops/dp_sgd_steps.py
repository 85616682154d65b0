"""Training steps of many small multilayer perceptrons with differential privacy: DP-SGD on Poisson batches.

Every draw is a hash of (the model's keys, step, purpose, place), in NumPy and C++ alike. That serves audits, where the
same run must come again anywhere; noise that protects real people must come from a cryptographic generator instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

import numpy as np

from miafast.ops.dispatch import Array, op
from miafast.ops.mlp_confidence import check_widths, layers
from miafast.ops.mlp_steps import check_whole, mix

SAMPLING, NOISE, CANARIES = range(3)  # purposes of draws


def draws(keys: Array, *, step: int, purpose: int, count: int) -> Array:
    """uint32 [count] of one model's keys uint32 [2]."""
    now = np.array([step & 0xFFFFFFFF], np.uint32)
    key = mix(keys[:1] + now)
    key2 = mix(mix(keys[1:] + np.array([purpose], np.uint32)) + now)
    return mix(mix(np.arange(count, dtype=np.uint32) ^ key) + key2)


def drawn(keys: Array, *, step: int, purpose: int, count: int, rate: float) -> Array:
    """bool [count]: each True with probability ``rate``, independently."""
    return np.asarray(draws(keys, step=step, purpose=purpose, count=count) < ceil(rate * 2.0**32))


def gaussians(keys: Array, *, step: int, count: int) -> Array:
    """float64 [count] standard normal numbers, none beyond 6.3."""
    from scipy.special import ndtri

    return np.asarray(ndtri((draws(keys, step=step, purpose=NOISE, count=count) + 0.5) * 2.0**-32))


def _contract(
    weights: Array, x: Array, y: Array, in_mask: Array, keys: Array, noise: Array, places: Array, canary_in: Array, *,
    widths: Sequence[int], taken: int, sample_rate: float, clip: float, learning_rate: float, expected_batch: float,
    activation: str, clipping: str, scale: float, shift: float,
) -> None:  # fmt: skip
    check_widths(widths)
    check_whole(y=y, places=places)
    models = len(weights)
    parameters = sum((inside + 1) * outside for inside, outside in pairwise(widths))
    if weights.ndim != 2 or weights.shape[1] != parameters:
        raise ValueError(f"weights have shape {weights.shape}; widths={tuple(widths)} need [models, {parameters}].")
    if x.ndim != 2 or x.shape[1] != widths[0] or y.shape != x.shape[:1]:
        raise ValueError(f"x {x.shape} and y {y.shape} must be [records, {widths[0]}] and [records].")
    if in_mask.shape != (models, len(x)) or in_mask.dtype != np.bool_:
        raise ValueError(f"in_mask is {in_mask.dtype} {in_mask.shape}; give bool [models, records] {(models, len(x))}.")
    if keys.shape != (models, 2) or noise.ndim != 1:
        raise ValueError(f"keys {keys.shape} and noise {noise.shape} must be [models, 2] and [steps].")
    if canary_in.shape != (models, *places.shape) or canary_in.dtype != np.bool_:
        raise ValueError(f"canary_in is {canary_in.dtype} {canary_in.shape}; give bool {(models, *places.shape)}.")
    if places.size and (places.min() < 0 or places.max() >= parameters):
        raise ValueError(f"places hold {places.min()} … {places.max()}; parameters are 0 … {parameters - 1}.")
    if len(y) and (y.min() < 0 or y.max() >= widths[-1]):
        raise ValueError(f"y holds {y.min()} … {y.max()}; labels must lie in [0, {widths[-1]}).")
    if not (0 < sample_rate <= 1 and clip > 0 and expected_batch > 0):
        raise ValueError(
            f"sample_rate={sample_rate}, clip={clip}, expected_batch={expected_batch}; give a rate in (0, 1] and "
            "positive numbers."
        )
    if activation not in ("relu", "tanh") or clipping not in ("record", "batch"):
        raise ValueError(f"activation={activation!r}, clipping={clipping!r}: choose relu, tanh; record, batch.")


@op(_contract)
def dp_sgd_steps(
    weights: Array, x: Array, y: Array, in_mask: Array, keys: Array, noise: Array, places: Array, canary_in: Array, *,
    widths: Sequence[int], taken: int, sample_rate: float, clip: float, learning_rate: float, expected_batch: float,
    activation: str, clipping: str, scale: float, shift: float,
) -> Array:  # fmt: skip
    """Trained weights [models, parameters] after ``len(noise)`` steps of DP-SGD; the arguments are left as they are.

    At every step each IN record is in the batch with probability ``sample_rate``; its cross-entropy gradient over all
    layers is scaled to a length of at most ``clip``; to their sum Gaussian noise is added, and the whole is divided by
    ``expected_batch``, whatever the batch's size was.

    Args:
        weights: float32 [models, parameters]: per layer weight [out, in] and bias [out], as in PyTorch.
        x: [records, widths[0]] float32 or uint8, seen as x · scale + shift. y: int64 [records].
        in_mask: bool [models, records]. keys: uint32 [models, 2], where the models' randomness starts.
        noise: float32 [steps] standard deviation of what is added to the sum; sensible: noise multiplier · clip.
        places: int64 [canaries] parameters; canary_in: bool [models, canaries]. Such a canary is a record whose
            gradient is ``clip`` along minus one parameter (a Dirac canary).
        taken: steps every model took before. clipping: "record"; or "batch", which clips the mean instead: a mistake
            that is no longer private, here to be audited.

    Raises ValueError for shapes that do not fit, indices or labels out of range and unknown choices.

    Source: Abadi et al. 2016, "Deep Learning with Differential Privacy", algorithm 1; lengths as in Goodfellow 2015,
    "Efficient Per-Example Gradient Computations" (the twin); Dirac canaries: Steinke et al. 2023, section 6.
    """
    result = weights.copy()
    for model, own in enumerate(result):
        for step, deviation in enumerate(noise):
            now = taken + step
            sampled = drawn(keys[model], step=now, purpose=SAMPLING, count=len(x), rate=sample_rate)
            which = np.flatnonzero(in_mask[model] & sampled)
            inputs = x[which].astype(weights.dtype) * weights.dtype.type(scale) + weights.dtype.type(shift)
            gradients = record_gradients(own, inputs, y[which], widths=widths, activation=activation)
            if clipping == "record":
                gradients *= _shrink(gradients, clip)[:, None]
            total = gradients.sum(axis=0)
            sampled = drawn(keys[model], step=now, purpose=CANARIES, count=len(places), rate=sample_rate)
            marked = places[canary_in[model] & sampled]
            np.subtract.at(total, marked, weights.dtype.type(clip))
            if clipping == "batch":
                total *= _shrink(total[None] / expected_batch, clip)
            total += deviation * gaussians(keys[model], step=now, count=len(own))
            own -= learning_rate / expected_batch * total
    return result


def record_gradients(weights: Array, x: Array, y: Array, *, widths: Sequence[int], activation: str) -> Array:
    """The cross-entropy gradient of every record by itself, [records, parameters]."""
    matrices, values = layers(weights, widths), [x]
    for place, (weight, bias) in enumerate(matrices):
        sums = values[-1] @ weight.T + bias
        if place + 1 < len(matrices):
            sums = np.tanh(sums) if activation == "tanh" else np.maximum(sums, 0.0)
        values.append(sums)
    power = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
    slope = power / power.sum(axis=1, keepdims=True)
    slope[np.arange(len(y)), y] -= 1.0
    parts = []
    for place in reversed(range(len(matrices))):
        active = values[place]
        parts += [slope, (slope[:, :, None] * active[:, None, :]).reshape(len(y), slope.shape[1] * active.shape[1])]
        if place:
            slope = slope @ matrices[place][0]
            slope = slope * (1.0 - active * active) if activation == "tanh" else np.where(active <= 0.0, 0.0, slope)
    return np.concatenate(parts[::-1], axis=1)


def _shrink(vectors: Array, clip: float) -> Array:
    """What scales vectors [n, parameters] to a length of at most ``clip``."""
    length = np.sqrt((vectors * vectors).sum(axis=1))
    return np.asarray(clip / np.maximum(length, clip))
