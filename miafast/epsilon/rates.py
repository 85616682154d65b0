"""Lower bounds from the two error rates of one test: Clopper–Pearson, Gaussian DP and Bayesian.

All take counts as arrays [audits]: how many of the runs without the canary were called "with" (false positives), and
how many of those with it (true positives).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from miafast.epsilon.gaussian import epsilon_of_mu
from miafast.epsilon.search import largest_rejected
from miafast.intervals import clopper_pearson as proportion_bounds
from miafast.tables import Array


@dataclass(frozen=True, eq=False)
class Counts:
    """What one test found, or many; arrays [audits] or numbers.

    Raises ValueError when a count lies outside 0 … its runs.

    >>> Counts(false_positives=0, non_members=500, true_positives=500, members=500).rates(0.01)
    (array([0.0105...]), array([0.0105...]))
    """

    false_positives: Any
    non_members: Any
    true_positives: Any
    members: Any

    def __post_init__(self) -> None:
        for name, count, of in (
            ("false_positives", self.false_positives, self.non_members),
            ("true_positives", self.true_positives, self.members),
        ):
            count, of = np.atleast_1d(count), np.atleast_1d(of)
            if np.any((count < 0) | (count > of)) or np.any(of < 1):
                raise ValueError(
                    f"{name} holds {count.min()} … {count.max()} of {of.min()} runs; give 0 … all of them."
                )

    def rates(self, alpha: float) -> tuple[Array, Array]:
        """Upper bounds of FPR and FNR, each missed with probability at most alpha / 2."""
        misses = np.atleast_1d(self.members) - np.atleast_1d(self.true_positives)
        false_positive = proportion_bounds(np.atleast_1d(self.false_positives), self.non_members, alpha / 2)[1]
        return false_positive, proportion_bounds(misses, self.members, alpha / 2)[1]


def clopper_pearson(counts: Counts, *, delta: float, alpha: float, copies: int = 1) -> Array:
    """[audits] epsilon ≥ ln((1 − δ − FNR) / FPR) and ln((1 − δ − FPR) / FNR), at the rates' exact upper bounds.

    The larger of the two counts: both follow from the same two bounds, which hold together with probability 1 − alpha.

    Source: Jagielski et al. 2020, "Auditing Differentially Private Machine Learning", section 3 (k copies included);
    Nasr et al. 2021, "Adversary Instantiation", section III.

    >>> clopper_pearson(Counts(0, 500, 500, 500), delta=0.0, alpha=0.01)
    array([4.5419158...])
    """
    fpr, fnr = counts.rates(alpha)

    def rejects(epsilon: Array, within: Array) -> Array:
        grown = np.exp(epsilon)
        return np.asarray((1 - within - fnr > grown * fpr) | (1 - within - fpr > grown * fnr))

    return largest_rejected(rejects, delta=delta, audits=len(fpr), copies=copies)


def gaussian(counts: Counts, *, delta: float, alpha: float, copies: int = 1) -> Array:
    """[audits] epsilon of the mu of Gaussian DP that the rates' upper bounds reject.

    mu ≥ Φ⁻¹(1 − FPR) − Φ⁻¹(FNR); k copies divide mu by k. Valid only for mechanisms whose privacy is that of some
    Gaussian mechanism (noise added at every step to what one record can change). ``delta`` must be above 0.

    Source: Nasr et al. 2023, "Tight Auditing of Differentially Private Machine Learning", section 4; Dong, Roth and Su
    2022, "Gaussian Differential Privacy", corollary 2.13.

    >>> gaussian(Counts(0, 500, 500, 500), delta=1e-5, alpha=0.01)
    array([29.6...])
    """
    return epsilon_of_mu(gaussian_mu(counts, alpha=alpha) / copies, delta=delta)


def gaussian_mu(counts: Counts, *, alpha: float) -> Array:
    """[audits] the lower bound of mu, at least 0."""
    from scipy.special import ndtri

    fpr, fnr = counts.rates(alpha)
    return np.asarray(np.maximum(0.0, -ndtri(fpr) - ndtri(fnr)))


def bayesian(counts: Counts, *, delta: float, alpha: float, copies: int = 1) -> Array:
    """[audits] the epsilon that lies, a posteriori, below the attacked algorithm's with probability 1 − alpha.

    FPR and FNR have independent Jeffreys priors. A credible bound, not a frequentist one: tighter than
    `clopper_pearson`, with no promise about how often it is wrong.

    Source: Zanella-Béguelin et al. 2023, "Bayesian Estimation of Differential Privacy", section 4.

    >>> bayesian(Counts(0, 500, 500, 500), delta=0.0, alpha=0.05)
    array([6.5...])
    """
    return largest_rejected(
        lambda epsilon, within: posterior_within(counts, epsilon, within) < alpha,
        delta=delta, audits=np.size(counts.false_positives), copies=copies,
    )  # fmt: skip


def posterior_within(counts: Counts, epsilon: Array, delta: Array) -> Array:
    """[audits] the posterior probability that the rates are those of an (epsilon, delta)-DP algorithm.

    ∫ density of FPR · P[FNR ≥ what the FPR allows] over the normal quantile of FPR, where the trapezoid rule is exact
    but for the kink.
    """
    from scipy.special import betainc, betaincinv, ndtr

    false_positives, misses = (
        np.atleast_1d(each).astype(float)[:, None]
        for each in (counts.false_positives, np.subtract(counts.members, counts.true_positives))
    )
    correct = np.atleast_1d(counts.non_members)[:, None] - false_positives
    found = np.atleast_1d(counts.members)[:, None] - misses
    z = np.linspace(-8.3, 8.3, 2001)
    weight = np.exp(-z * z / 2)
    fpr = betaincinv(false_positives + 0.5, correct + 0.5, ndtr(z))
    grown, room = np.exp(epsilon)[:, None], 1 - delta[:, None]
    least = np.clip(np.maximum((room - fpr) / grown, room - grown * fpr), 0.0, 1.0)
    above = betainc(found + 0.5, misses + 0.5, 1 - least)
    return np.asarray((above * weight).sum(axis=1) / weight.sum())
