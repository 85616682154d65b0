"""phi of many small multilayer perceptrons on the same records: from inputs to phi, no layer's outputs are kept."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.linear_confidence import Confidence, confidence_of
from miafast.ops.logit_confidence import check_label_range, check_labels, check_numbers


def check_widths(widths: Sequence[int]) -> None:
    """Raise ValueError unless there are layers, and units in each."""
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths={tuple(widths)}; give the units of every layer, inputs and classes included.")


def _contract(x: Array, weights: Array, labels: Array, *, widths: Sequence[int], activation: str) -> None:
    check_numbers("x", x)
    check_numbers("weights", weights)
    check_widths(widths)
    if x.ndim != 2 or x.shape[1] != widths[0]:
        raise ValueError(f"x has shape {x.shape}; widths={tuple(widths)} need [records, {widths[0]}].")
    parameters = sum((inside + 1) * outside for inside, outside in pairwise(widths))
    if weights.ndim != 2 or weights.shape[1] != parameters:
        raise ValueError(f"weights has shape {weights.shape}; widths={tuple(widths)} need [models, {parameters}].")
    if activation not in ("relu", "tanh"):
        raise ValueError(f"activation={activation!r}: choose relu, tanh.")
    check_labels(labels, len(x))


@op(_contract)
def mlp_confidence(x: Array, weights: Array, labels: Array, *, widths: Sequence[int], activation: str) -> Confidence:
    """phi of every model for every record, and who is right, as `linear_confidence` gives it for a last layer.

    Args:
        x: [records, widths[0]] inputs, shared by all models; float16, bfloat16, float32 or float64.
        weights: [models, parameters]: per layer weight [out, in] and bias [out], as in PyTorch and `mlp_steps`.
        labels: [records] class indices in [0, widths[-1]), any integer type.
        widths: units of every layer, inputs and classes included.
        activation: "relu" or "tanh", after every layer but the last.

    Returns:
        `Confidence` of arrays [models, records]; float64 if an input is float64, else float32.

    Raises:
        TypeError: an argument is no array, inputs are not floating, labels are not integers.
        ValueError: shapes disagree with the widths, a label is out of range, an activation is not known.

    >>> import numpy as np
    >>> weights = np.array([[2.0, 0.0, 0.0, 3.0, 0.0, 0.0], [0.0] * 6])
    >>> mlp_confidence(np.eye(2), weights, np.array([0, 0]), widths=(2, 2), activation="relu").phi
    array([[ 2., -3.],
           [ 0.,  0.]])
    """
    check_label_range(labels, widths[-1])
    shape = (len(weights), len(x))
    result = Confidence(np.empty(shape, result_dtype(x, weights)), np.empty(shape, bool))
    step = max(1, 2**20 // max(widths))
    with np.errstate(all="ignore"):
        for begin in range(0, len(x), step):
            block = slice(begin, begin + step)
            inputs = as_float(x[block])
            for model, own in enumerate(weights):
                values = inputs
                for weight, bias in layers(as_float(own), widths):
                    if values is not inputs:
                        values = np.tanh(values) if activation == "tanh" else np.maximum(values, 0.0)
                    values = values @ weight.T + bias
                found = confidence_of(values, labels[block], np.arange(widths[-1]))
                result.phi[model, block], result.correct[model, block] = found
    return result


def layers(weights: Array, widths: Sequence[int]) -> list[tuple[Array, Array]]:
    """Views of every layer's weight [..., out, in] and bias [..., out] in weights [..., parameters]."""
    found, begin = [], 0
    for inside, outside in pairwise(widths):
        end = begin + inside * outside
        matrix = weights[..., begin:end].reshape(*weights.shape[:-1], outside, inside)
        found.append((matrix, weights[..., end : end + outside]))
        begin = end + outside
    return found
