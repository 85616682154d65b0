"""The logit-scaled confidence phi, from which a record's loss and confidence follow without loss of digits."""

from __future__ import annotations

import math

import numpy as np

from miafast.ops.dispatch import BFLOAT16, AnyArray, Array, as_float, op, result_dtype


def check_logits_and_labels(logits: Array, labels: Array) -> None:
    """The contract of every op on (logits, labels) but for the labels' range, which costs a pass over them."""
    check_numbers("logits", logits)
    if logits.ndim < 2:
        raise ValueError(f"logits has shape {logits.shape}; give [..., records, classes].")
    records, classes = logits.shape[-2:]
    if not 0 < classes < 2**31:
        raise ValueError(f"logits has shape {logits.shape}, so {classes} classes; give between 1 and 2**31 - 1.")
    check_labels(labels, records)


def check_numbers(name: str, value: Array) -> None:
    """Raise TypeError unless the value is an array of one of the four floating types."""
    _check_array(name, value)
    if not (value.dtype == BFLOAT16 or value.dtype in (np.float16, np.float32, np.float64)):
        raise TypeError(
            f"{name} has dtype {value.dtype}; give float16, bfloat16, float32 or float64 in the machine's byte order."
        )


def check_labels(labels: Array, records: int) -> None:
    """Raise TypeError unless labels are an array of integers, ValueError unless there is one for each record."""
    _check_array("labels", labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"labels has dtype {labels.dtype}; give integer class indices, for example labels.astype(np.int64)."
        )
    if labels.shape != (records,):
        raise ValueError(
            f"labels has shape {labels.shape} for {records} records; give one label per record, shape {(records,)}: "
            "models and all other leading axes share them."
        )


def _check_array(name: str, value: Array) -> None:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} is a {type(value).__name__}; give a NumPy array or a torch tensor.")


def check_label_range(labels: Array, classes: int) -> None:
    """Raise ValueError naming the first label outside [0, classes)."""
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        raise ValueError(
            f"labels[{bad[0]}] = {labels[bad[0]]} is not one of the {classes} classes of logits; "
            f"labels must lie in [0, {classes})."
        )


def record_blocks(logits: Array) -> list[slice]:
    """Slices of the record axis, so small that a float64 copy of one takes some 8 MB."""
    per_record = math.prod(logits.shape[:-2]) * logits.shape[-1]
    step = max(1, 2**20 // max(1, per_record))
    return [slice(begin, begin + step) for begin in range(0, logits.shape[-2], step)]


@op(check_logits_and_labels)
def logit_confidence(logits: AnyArray, labels: AnyArray) -> AnyArray:
    """Logit-scaled confidence phi = log p_y - log(1 - p_y) = z_y - logsumexp(z_others), without saturation.

    It says how sure a model is of the label: loss = softplus(-phi), p_y = sigmoid(phi). Computing it from p_y loses
    everything beyond about 16 in float32; here it is exact to rounding for logits of any size.
    Carlini et al. 2022, "Membership Inference Attacks From First Principles", equation 6.

    Args:
        logits: [..., records, classes] float16, bfloat16, float32 or float64; any strides. Leading axes are models,
            queries or whatever else shares the labels.
        labels: [records] class indices in [0, classes), any integer type.

    Returns:
        [..., records], float64 for float64 logits, else float32; in [-inf, inf], in nats.

        One class gives +inf, for nothing else can be predicted. Infinite logits give the limit where there is one:
        +inf for z_y alone +inf or all others -inf, -inf for the opposite, NaN for inf - inf. NaN in a record gives
        NaN for that record only.

    Raises:
        TypeError: an argument is no array, logits are not floating, labels are not integers.
        ValueError: shapes disagree, there are no classes, a label is out of range (on a device: NaN for its record).

    >>> import miafast as mf, numpy as np
    >>> mf.logit_confidence(np.array([[120.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([0, 1]))
    array([119.30685282,  -1.31326169])
    """
    check_label_range(labels, logits.shape[-1])
    phi = np.empty(logits.shape[:-1], result_dtype(logits))
    classes = np.arange(logits.shape[-1])
    with np.errstate(all="ignore"):
        for block in record_blocks(logits):
            z = as_float(logits[..., block, :])
            is_label = classes == labels[block, None]
            phi[..., block] = phi_of(z, is_label)
    return phi


def phi_of(z: Array, is_label: Array) -> Array:
    """phi of float64 logits [..., records, classes] for the one class per record that is marked."""
    others = np.where(is_label, -np.inf, z)
    largest = np.max(others, axis=-1)
    offset = np.where(np.isfinite(largest), largest, 0.0)
    total = np.sum(np.exp(others - offset[..., None]), axis=-1)
    difference = of_label(z, is_label) - largest
    phi: Array = np.where(np.isfinite(largest), difference - np.log(total), difference)
    return phi


def of_label(z: Array, is_label: Array) -> Array:
    """The marked logit of each record."""
    marked: Array = np.sum(np.where(is_label, z, 0.0), axis=-1)
    return marked
