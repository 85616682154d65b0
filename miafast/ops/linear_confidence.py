"""phi of a linear layer's outputs without holding them: the last layer of a classifier, or a language model's head."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from miafast.ops.dispatch import AnyArray, Array, as_float, op, result_dtype
from miafast.ops.logit_confidence import check_label_range, check_labels, check_numbers, phi_of


class Confidence(NamedTuple):
    """What is measured where logits are not kept: arrays [..., records]."""

    phi: AnyArray  #: logit-scaled confidence of the label
    correct: AnyArray  #: bool: the label is the first of the largest logits


def _contract(features: Array, weight: Array, bias: Array | None, labels: Array) -> None:
    given = {"features": features, "weight": weight} | ({} if bias is None else {"bias": bias})
    for name in given:
        check_numbers(name, given[name])
    check_labels(labels, features.shape[-2] if features.ndim > 1 else 0)
    for name, value, axes in (
        ("features", features, "[records, width]"),
        ("weight", weight, "[classes, width]"),
        ("bias", bias, "[classes]"),
    ):
        plain = 1 if name == "bias" else 2
        if value is not None and value.ndim not in (plain, plain + 1):
            raise ValueError(f"{name} has shape {value.shape}; give {axes}, or [models, {axes[1:]}.")
    classes, width = weight.shape[-2:]
    if features.shape[-1] != width or not width:
        raise ValueError(
            f"features has shape {features.shape} and weight {weight.shape}; their last axes, the width, must be equal "
            "and at least 1."
        )
    if not 0 < classes < 2**31:
        raise ValueError(f"weight has shape {weight.shape}, so {classes} classes; give between 1 and 2**31 - 1.")
    if bias is not None and bias.shape[-1] != classes:
        raise ValueError(f"bias has shape {bias.shape} for weight {weight.shape}; give one number per class.")
    if len({len(value) for value in _with_models(features, weight, bias)}) > 1:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in given.items())
        raise ValueError(f"{shapes} disagree on the number of models; give each as many, or no models axis.")


@op(_contract)
def linear_confidence(features: AnyArray, weight: AnyArray, bias: AnyArray | None, labels: AnyArray) -> Confidence:
    """phi of the logits features @ weightᵀ + bias, as `logit_confidence` gives it, without ever holding the logits.

    Only a block of the logits exists at any time, so a language model's head costs the memory of its inputs; with a
    models axis, the last layers of many models are measured at once.
    Carlini et al. 2022, "Membership Inference Attacks From First Principles", equation 6.

    Args:
        features: [records, width], or [models, records, width], float16, bfloat16, float32 or float64; any strides.
        weight: [classes, width], or [models, classes, width]; as PyTorch's Linear keeps it.
        bias: [classes], or [models, classes], or None. What has no models axis is shared by all models.
        labels: [records] class indices in [0, classes), any integer type; shared by all models.

    Returns:
        `Confidence` of arrays [records], or [models, records]: phi in nats, float64 if any input is float64, else
        float32 (sums are float32 too), and whether the label is the first of the largest logits. Infinities and NaN
        in the logits mean what they mean in `logit_confidence` and `signals`.

    Raises:
        TypeError: an argument is no array, inputs are not floating, labels are not integers.
        ValueError: shapes disagree, there are no classes or no width, a label is out of range.

    >>> import miafast as mf, numpy as np
    >>> features, weight = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [0.0, 3.0]])
    >>> mf.linear_confidence(features, weight, None, np.array([0, 0]))
    Confidence(phi=array([ 2., -3.]), correct=array([ True, False]))
    """
    check_label_range(labels, weight.shape[-2])
    classes = np.arange(weight.shape[-2])
    matrix = as_float(weight)
    offset = np.zeros(1) if bias is None else as_float(bias)[..., None, :]
    result = empty_confidence(features, weight, bias)
    step = max(1, 2**22 // max(1, len(classes) * math.prod(result.phi.shape[:-1])))
    with np.errstate(all="ignore"):
        for begin in range(0, len(labels), step):
            block = slice(begin, begin + step)
            z = as_float(features[..., block, :]) @ matrix.swapaxes(-1, -2) + offset
            result.phi[..., block], result.correct[..., block] = confidence_of(z, labels[block], classes)
    return result


def confidence_of(z: Array, labels: Array, classes: Array) -> Confidence:
    """phi and correct of float64 logits [..., records, classes]."""
    right = (np.argmax(z, axis=-1) == labels) & ~np.isnan(z).any(axis=-1)
    return Confidence(phi_of(z, classes == labels[:, None]), right)


def empty_confidence(features: Array, weight: Array, bias: Array | None) -> Confidence:
    """Room for what `linear_confidence` returns."""
    models = next((value.shape[:1] for value in _with_models(features, weight, bias)), ())
    given = [value for value in (features, weight, bias) if value is not None]
    shape = (*models, features.shape[-2])
    return Confidence(np.empty(shape, result_dtype(*given)), np.empty(shape, bool))


def _with_models(features: Array, weight: Array, bias: Array | None) -> list[Array]:
    found = [value for value in (features, weight) if value.ndim == 3]
    return found if bias is None or bias.ndim == 1 else [*found, bias]
