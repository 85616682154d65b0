"""Everything that a record's logits say about membership, measured in one pass over them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from miafast.ops.dispatch import AnyArray, Array, as_float, op, result_dtype
from miafast.ops.logit_confidence import (
    check_label_range,
    check_logits_and_labels,
    of_label,
    phi_of,
    record_blocks,
)


class LogitSignals(NamedTuple):
    """What `signals` returns: arrays [..., records]."""

    phi: AnyArray  #: logit-scaled confidence of the label
    loss: AnyArray  #: cross-entropy -log p_y = softplus(-phi), nats, >= 0
    confidence: AnyArray  #: p_y = sigmoid(phi), in [0, 1]
    entropy: AnyArray  #: -sum p log p, nats, in [0, log(classes)]
    modified_entropy: AnyArray  #: Song & Mittal's: small when sure and right, large when sure and wrong, >= 0
    margin: AnyArray  #: z_y - max z_others
    correct: AnyArray  #: bool: the label is the first of the largest logits


@op(check_logits_and_labels)
def signals(logits: AnyArray, labels: AnyArray) -> LogitSignals:
    """Every per-record signal of the logits at once: phi, loss, confidence, both entropies, margin, correct.

    With p = softmax(z), modified_entropy = -(1 - p_y) log p_y - sum over j != y of p_j log(1 - p_j), from
    Song & Mittal 2021, "Systematic Evaluation of Privacy Risks of Machine Learning Models", equation 8.
    Relative accuracy holds for p near 0 and near 1: entropies fall to 1e-38 in float32, not to 0 or NaN.

    Args:
        logits: [..., records, classes] float16, bfloat16, float32 or float64; any strides.
        labels: [records] class indices in [0, classes), any integer type; shared by all leading axes.

    Returns:
        `LogitSignals` of arrays [..., records], float64 for float64 logits, else float32; ``correct`` is bool.

        Infinite logits give limits where there are any: one +inf is certainty (entropy 0), several leave the
        entropies NaN, as do logits that are all -inf. NaN in a record gives NaN, and not correct, for it only.

    Raises:
        TypeError: an argument is no array, logits are not floating, labels are not integers.
        ValueError: shapes disagree, there are no classes, a label is out of range (on a device: NaN for its record).

    >>> import miafast as mf, numpy as np
    >>> found = mf.signals(np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([0, 0]))
    >>> found.loss.round(4), found.margin, found.correct
    (array([0.1269, 3.0486]), array([ 2., -3.]), array([ True, False]))
    """
    classes = np.arange(logits.shape[-1])
    check_label_range(labels, len(classes))
    result = empty_signals(logits)
    with np.errstate(all="ignore"):
        for block in record_blocks(logits):
            found = _signals(as_float(logits[..., block, :]), classes == labels[block, None])
            for to, values in zip(result, found, strict=True):
                to[..., block] = values
    return result


def empty_signals(logits: Array) -> LogitSignals:
    """Room for the signals of these logits, in the order of their names."""
    dtypes = [result_dtype(logits)] * 6 + [np.dtype(np.bool_)]
    return LogitSignals._make(np.empty(logits.shape[:-1], dtype) for dtype in dtypes)


def _signals(z: Array, is_label: Array) -> LogitSignals:
    phi = phi_of(z, is_label)
    loss = np.logaddexp(0.0, -phi)
    other_mass = np.exp(-np.logaddexp(0.0, phi))
    first = np.argmax(z, axis=-1)[..., None]
    is_top = np.arange(z.shape[-1]) == first
    log_p, log_not_p = _log_probabilities(z, is_top)
    p = np.exp(log_p)
    entropy = np.sum(np.where(p == 0, 0.0, -p * log_p), axis=-1)
    modified = other_mass * loss + np.sum(np.where((p == 0) | is_label, 0.0, -p * log_not_p), axis=-1)
    broken = np.isnan(z).any(axis=-1)
    undefined = broken | np.isnan(entropy)
    return LogitSignals(
        phi=phi,
        loss=loss,
        confidence=np.exp(-loss),
        entropy=np.where(undefined, np.nan, entropy),
        modified_entropy=np.where(undefined | np.isnan(phi), np.nan, modified),
        margin=np.where(broken, np.nan, of_label(z, is_label) - np.max(np.where(is_label, -np.inf, z), axis=-1)),
        correct=~broken & (is_top & is_label).any(axis=-1),
    )


def _log_probabilities(z: Array, is_top: Array) -> tuple[Array, Array]:
    """log p_j and log(1 - p_j) per class, both with relative accuracy: only the top class can have p above 1/2."""
    log_rest = -phi_of(z, is_top)[..., None]  # of the summed odds against the top class
    log_sum = np.logaddexp(0.0, log_rest)
    log_p = np.where(is_top, -log_sum, z - of_label(z, is_top)[..., None] - log_sum)
    return log_p, np.where(is_top, log_rest - log_sum, np.log1p(-np.exp(log_p)))
