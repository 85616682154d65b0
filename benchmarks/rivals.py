"""The other ways to compute the same answers: written as well as we can write them, in each library's own idiom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
import torch
from torch.nn import functional

from miafast.tables import Array


def torch_phi(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """phi alone: the label's logit less the logsumexp of the others."""
    column = labels[:, None]
    return logits.gather(1, column)[:, 0] - logits.scatter(1, column, -torch.inf).logsumexp(1)


def torch_phi_and_loss(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy plus label-excluded logsumexp, what one writes to have loss and phi."""
    return torch_phi(logits, labels), functional.cross_entropy(logits, labels, reduction="none")


def torch_signals(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """All seven signals: phi, loss, confidence, entropy, modified entropy, margin, correct."""
    column = labels[:, None]
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    own, own_log = p.gather(1, column)[:, 0], log_p.gather(1, column)[:, 0]
    log_rest = torch.log1p(-p).scatter(1, column, 0.0)
    modified = -(1 - own) * own_log - (p * log_rest).sum(1)
    others = logits.scatter(1, column, -torch.inf)
    own_logit = logits.gather(1, column)[:, 0]
    margin = own_logit - others.max(1).values
    return (
        own_logit - others.logsumexp(1), -own_log, own, -(p * log_p).sum(1), modified, margin,
        logits.argmax(1) == labels,
    )  # fmt: skip


def torch_head_loss(
    features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """A language model's loss per token: the head's product, then cross-entropy on the logits."""
    return functional.cross_entropy(torch.addmm(bias, features, weight.T), labels, reduction="none")


@torch.inference_mode()
def torch_loop_phi(models: Sequence[torch.nn.Module], x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """phi of every model, one model after the other."""
    return torch.stack([torch_phi(model(x), labels) for model in models])


@torch.inference_mode()
def torch_stacked_phi(
    layers: Sequence[tuple[torch.Tensor, torch.Tensor]], x: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """phi of every model by batched products of weights [models, out, in] and biases [models, out]."""
    values = x.expand(len(layers[0][0]), *x.shape)
    for number, (weight, bias) in enumerate(layers):
        values = torch.baddbmm(bias[:, None], values.relu() if number else values, weight.mT)
    return torch_phi(values.flatten(0, 1), labels.repeat(len(values))).unflatten(0, values.shape[:2])


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile of a function, for the shapes it is called with."""
    return torch.compile(function, dynamic=False)


def numpy_phi(logits: Array, labels: Array) -> Array:
    """phi in float64."""
    rows = np.arange(len(labels))
    others = logits.astype(np.float64)
    own = others[rows, labels]
    others[rows, labels] = -np.inf
    top = others.max(axis=1, keepdims=True)
    others -= top
    return own - top[:, 0] - np.log(np.exp(others, out=others).sum(axis=1))


def scipy_phi(logits: Array, labels: Array) -> Array:
    """phi in float64 by scipy.special.logsumexp."""
    rows = np.arange(len(labels))
    others = logits.astype(np.float64)
    own = others[rows, labels]
    others[rows, labels] = -np.inf
    return own - scipy.special.logsumexp(others, axis=1)


def numpy_lira(target: Array, shadow: Array, in_mask: Array) -> Array:
    """Online LiRA, means and each record's own unbiased variances, in float64."""
    phi = shadow.astype(np.float64)
    score = np.zeros(phi.shape[1])
    for mask, sign in ((in_mask, 1.0), (~in_mask, -1.0)):
        weight = mask.astype(np.float64)
        count = weight.sum(axis=0)
        mean = np.einsum("mr,mr->r", weight, phi) / count
        spread = phi - mean
        variance = np.einsum("mr,mr,mr->r", weight, spread, spread) / (count - 1)
        score += sign * (-0.5 * np.log(variance) - 0.5 * (target - mean) ** 2 / variance)
    return score


def scipy_lira(target: Array, shadow: Array, in_mask: Array) -> Array:
    """The same with NumPy's masked means and SciPy's normal log-density."""
    phi = shadow.astype(np.float64)
    score = np.zeros(phi.shape[1])
    for mask, sign in ((in_mask, 1.0), (~in_mask, -1.0)):
        mean, deviation = np.mean(phi, axis=0, where=mask), np.std(phi, axis=0, where=mask, ddof=1)
        score += sign * scipy.stats.norm.logpdf(target, mean, deviation)
    return score


def released_lira(target: Array, shadow: Array, in_mask: Array) -> Array:
    """How the released code goes about it: one list entry a record, cut to the common count, medians, SciPy."""
    logs = []
    for mask in (in_mask, ~in_mask):
        own = [shadow[mask[:, record], record] for record in range(shadow.shape[1])]
        common = min(map(len, own))
        kept = np.array([each[:common] for each in own])
        logs.append(scipy.stats.norm.logpdf(target, np.median(kept, axis=1), np.std(kept, axis=1) + 1e-30))
    return logs[0] - logs[1]


def numpy_log_ratio(target: Array, shadow: Array, in_mask: Array) -> Array:
    """log(p_target / mean p) online, of probabilities in float64: no digits are left of 1 - p where phi is above 37."""
    p = scipy.special.expit(shadow.astype(np.float64))
    inside, out = (np.einsum("mr,mr->r", mask.astype(np.float64), p) / mask.sum(axis=0) for mask in (in_mask, ~in_mask))
    return np.log(scipy.special.expit(target.astype(np.float64)) / ((inside + out) / 2))


def numpy_rmia(x: Array, z: Array) -> Array:
    """Shares of log ratios z that each log ratio x is not below, from the matrix of pairs in blocks of records."""
    return np.concatenate([(rows[:, None] - z >= 0).mean(axis=1) for rows in np.array_split(x, len(x) // 250 + 1)])


def released_rmia(x: Array, z: Array) -> Array:
    """The released code's way: one matrix of quotients, compared strictly."""
    quotients = np.exp(x)[:, None] / np.exp(z)
    return np.average(quotients > 1.0, axis=1)


def searchsorted_rmia(x: Array, z: Array) -> Array:
    """What gamma = 1 allows, where x - z >= 0 exactly if x >= z."""
    return np.searchsorted(np.sort(z), x, side="right") / len(z)


def sklearn_roc(scores: Array, is_member: Array) -> tuple[Array, Array, Array]:
    """Every point of the ROC: fpr, tpr, thresholds."""
    from sklearn.metrics import roc_curve

    return roc_curve(is_member, scores, drop_intermediate=False)


def sklearn_tpr_at(scores: Array, is_member: Array, fprs: Sequence[float]) -> Array:
    """The TPR at a few FPRs, read off the ROC."""
    from sklearn.metrics import roc_curve

    fpr, tpr, _ = roc_curve(is_member, scores)
    return tpr[np.searchsorted(fpr, fprs, side="right") - 1]


def two_sorts(scores: Array, is_member: Array) -> tuple[Array, Array]:
    """Members and non-members sorted apart: less than a ROC, and the fastest NumPy can begin one."""
    return np.sort(scores[is_member]), np.sort(scores[~is_member])


def numpy_neighbours(logits: Array, radius: float, references: int) -> Array:
    """[records] the share of evenly spaced references within a cosine distance, by one product of unit vectors."""
    models, records, classes = logits.shape
    features = (logits - logits.mean(axis=-1, keepdims=True)).swapaxes(0, 1).reshape(records, models * classes)
    features /= np.sqrt((features**2).sum(axis=1, keepdims=True))
    chosen = np.unique(np.linspace(0, records - 1, min(references, records)).round().astype(np.int64))
    counts = (features @ features[chosen].T >= 1 - radius).sum(axis=1) - np.isin(np.arange(records), chosen)
    return np.asarray(counts / (len(chosen) - np.isin(np.arange(records), chosen)))
