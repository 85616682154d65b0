"""The omniscient attack on Gaussian naive Bayes data, which no attack on its class means can beat, and its accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from miafast.tables import Array
from miafast.whitebox.fitted import sigmoid


@dataclass(frozen=True, eq=False)
class BayesOptimal:
    """Knows the data's true distribution: x given y is N(means[y], diag(variances)).

    Leino & Fredrikson (2020), section 3.1, theorem 1: with the training set's class means m, w_y = (m_y - means_y) /
    variances and b_y = Σ_j (means_yj² - m_yj²) / (2 variances_j), a record is a member with probability
    S(w_yᵀ x + b_y) where half of the records asked about are members.

    Args:
        means: [classes, features] true class means.
        variances: [features] true variances, positive.

    Raises ValueError for shapes that do not fit or variances that are not positive.

    >>> attack = BayesOptimal(np.zeros((1, 2)), np.ones(2))
    >>> attack.score(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([0, 0]), train_means=np.array([[0.5, 0.0]])).round(3)
    array([0.593, 0.349])
    """

    means: Array
    variances: Array

    def __post_init__(self) -> None:
        means, variances = np.asarray(self.means), np.asarray(self.variances)
        if means.ndim != 2 or variances.shape != means.shape[1:]:
            raise ValueError(
                f"means has shape {means.shape}, variances {variances.shape}; give [classes, features] and [features]."
            )
        if not (variances > 0).all():
            raise ValueError(f"variances holds {variances.min()}; they must be positive.")

    def logit(self, x: Array, labels: Array, *, train_means: Array) -> Array:
        """Log odds float64 [records] of membership; arguments as for `score`."""
        x, labels, train_means = np.asarray(x, np.float64), np.asarray(labels), np.asarray(train_means, np.float64)
        if train_means.shape != np.shape(self.means):
            raise ValueError(f"train_means has shape {train_means.shape}; give [classes, features] like means.")
        weights = (train_means - self.means) / self.variances
        bias = ((np.square(self.means) - np.square(train_means)) / (2.0 * self.variances)).sum(axis=1)
        out: Array = np.einsum("rf,rf->r", x, weights[labels]) + bias[labels]
        return out

    def score(self, x: Array, labels: Array, *, train_means: Array) -> Array:
        """Probability float64 [records] of membership, for x [records, features] and labels [records].

        ``train_means`` [classes, features] are the class means of the target's training set.
        """
        return sigmoid(self.logit(x, labels, train_means=train_means))


def bayes_optimal_accuracy(features: int, records_per_class: float) -> float:
    """Φ(½ √(features / records_per_class)): what `BayesOptimal` reaches where half of the records are members.

    Measure in units of the standard deviation, from the true mean: the training mean lies at δ ~ N(0, I / n), a
    non-member u at N(0, I), and a member, given δ, at N(δ, (1 - 1/n) I). The log odds are δᵀu - |δ|²/2, which for a
    non-member is N(-|δ|²/2, |δ|²) and for a member N(+|δ|²/2, (1 - 1/n) |δ|²). Their sign is right with probability
    Φ(|δ|/2) and Φ(|δ| / (2 √(1 - 1/n))), and |δ|² concentrates at features / n. The 1/n is dropped, as in the paper.

    Raises ValueError unless both are positive.

    >>> round(bayes_optimal_accuracy(75, 100), 4)
    0.6675
    """
    if not (features > 0 and records_per_class > 0):
        raise ValueError(f"features={features}, records_per_class={records_per_class}; both must be positive.")
    return 0.5 * (1.0 + math.erf(0.5 * math.sqrt(features / records_per_class) / math.sqrt(2.0)))
