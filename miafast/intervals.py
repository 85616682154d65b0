"""Confidence intervals for TPR@FPR and AUC that cover: arrays of counts in, arrays of bounds out; no resampling.

TPR@FPR has two sources of noise: which members were drawn (a proportion), and where the threshold lies, because the
non-members drawn decide it. The second dominates at low FPR, and an interval that forgets it covers about half of
what it says. Each source has an exact interval of its own; `combine` adds the two as one adds standard errors.

Scores of one record under many targets are not independent. Their counts are worth fewer independent ones: the
design effect says how many, measured on the spread of the counts per record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from miafast.ops.dispatch import Array


@dataclass(frozen=True)
class Design:
    """What dependence between the scores costs, per FPR; 1, 1 and 0 for independent scores."""

    members: Array | float = 1.0  # variance of the true positives over that of independent scores, >= 1
    non_members: Array | float = 1.0  # the same for false positives
    correlation: Array | float = 0.0  # of true and false positives over records


def tpr_interval(
    true_positives: Callable[[Array], Array],
    largest_step: Callable[[Array, Array], Array],
    members: int,
    non_members: int,
    *,
    fprs: Array,
    allowed: Array,
    confidence: float,
    design: Design,
) -> tuple[Array, Array]:
    """Bounds of the true TPR at each true FPR.

    true_positives(k) says how many members are found with at most k false positives (0 for k < 0), largest_step(j, k)
    the most that one threshold adds between j and k. The number of non-members above the true threshold is
    Binomial(non_members, fpr), whatever the scores' distribution: its quantiles bracket the threshold between two
    ranks, exactly. The members' bounds are Clopper and Pearson's. Where scores tie the TPR moves in steps, and what a
    step moves it is added in full: a bound that is one step away is a proportion with noise of its own.

    Source: Zou and Donner 2008, "Construction of confidence limits about effect measures", equations 8 and 9 (MOVER);
    Clopper and Pearson 1934; Kish 1965, "Survey Sampling", section 8.2 (design effect).
    """
    tail = (1 - confidence) / 2
    effective = np.asarray(np.maximum(1.0, np.round(non_members / design.non_members)))
    scale = non_members / effective
    fewest = np.floor(scale * _binomial_quantile(tail, effective, fprs)).astype(np.int64)
    most = np.ceil(scale * _binomial_quantile(1 - tail, effective, fprs)).astype(np.int64)
    tpr, ends = true_positives(allowed) / members, (fewest - 1, most)
    steps = largest_step(fewest - 1, allowed), largest_step(allowed, most)

    def distance(side: int) -> Array:
        """From the estimate to the lower (0) or the upper (1) bound."""
        at_end = true_positives(ends[side]) / members
        step = np.maximum(0, steps[side] - 1) / members
        noise, noise_at_end = (
            np.abs(share - clopper_pearson(share * members / design.members, members / design.members, tail)[side])
            for share in (tpr, at_end)
        )
        by_members = np.where(step > 0, np.maximum(noise, noise_at_end), noise)
        return combine(by_members, np.abs(tpr - at_end), design.correlation, step=step)

    down, up = distance(0), distance(1)
    return np.maximum(0.0, tpr - down), np.minimum(1.0, tpr + up)


def combine(one: Array, other: Array, correlation: Array | float, *, step: Array) -> Array:
    """Distance to the bound of a sum of two noises from the distances that each alone would give.

    As standard errors are added, but for the part ``step`` of the other distance, which is added in full.

    >>> float(combine(np.array(3.0), np.array(4.0), 0.0, step=np.array(0.0)))
    5.0
    >>> float(combine(np.array(3.0), np.array(4.0), 0.0, step=np.array(4.0)))
    7.0
    """
    together = np.minimum(step - correlation * other, other) * one
    distance: Array = np.sqrt(np.maximum(0.0, one**2 + other**2 + 2 * together))
    return distance


def clopper_pearson(successes: Any, trials: Any, tail: float) -> tuple[Array, Array]:
    """Exact bounds of a proportion, each missed with probability at most ``tail``; fractional counts allowed.

    >>> [bound.round(4).tolist() for bound in clopper_pearson(np.array([0, 5]), 10, 0.025)]
    [[0.0, 0.1871], [0.3085, 0.8129]]
    """
    from scipy.special import betaincinv

    successes, trials = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    failures = trials - successes
    low = np.where(successes > 0, betaincinv(np.maximum(successes, 1e-12), failures + 1, tail), 0.0)
    high = np.where(failures > 0, betaincinv(successes + 1, np.maximum(failures, 1e-12), 1 - tail), 1.0)
    return low, high


def design_effect(hits: Array, rows: Array) -> tuple[float, Array]:
    """Variance of a pooled proportion over that of independent scores, and the records' residuals, standardised.

    hits [records]: how many of a record's scores count; rows [records]: of how many. One imagined hit in a cluster of
    average size keeps the estimate honest where hits are few: without any hit the effect is that of full dependence.
    """
    records, trials = len(rows), rows.sum()
    share = hits.sum() / trials
    residuals = (hits - share * rows) * np.sqrt(records / max(1, records - 1))
    variance = residuals @ residuals + rows.mean()
    return max(1.0, float(variance / (trials * share * (1 - share) + 1))), residuals / np.sqrt(variance)


def auc_interval(auc: float, variance: float, *, scores: int, records: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval for a proportion of as many trials as have the AUC's own variance.

    scores, records: how many scores, and how many distinct records, the rarer of members and non-members has. They
    limit the trials where the variance vanishes: at perfect separation it is 0 but nothing is certain.

    Source: DeLong et al. 1988 (variance); Obuchowski 1997 (records with several scores); Newcombe 2006 (Wilson form).
    """
    from scipy.special import ndtri

    spread = auc * (1 - auc)
    trials = float(records)
    if spread > 0:
        trials = min(scores * (1 + 8 * spread), spread / variance if variance > 0 else np.inf)
    z2 = float(ndtri((1 + confidence) / 2)) ** 2
    middle = (auc + z2 / (2 * trials)) / (1 + z2 / trials)
    half = np.sqrt(z2 * (spread / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    low, high = float(middle - half), float(middle + half)  # equal to 0 or 1 only up to rounding at the ends
    return (low if auc > 0 else 0.0), (high if auc < 1 else 1.0)


def _binomial_quantile(probability: float, trials: Array, share: Array) -> Array:
    """The least count whose cumulative probability reaches ``probability``."""
    from scipy.special import bdtr, bdtrik

    count = np.ceil(bdtrik(probability, trials, share))
    one_less = np.maximum(0.0, count - 1)
    quantile: Array = np.where(bdtr(one_less, trials.astype(np.int64), share) >= probability, one_less, count)
    return quantile
