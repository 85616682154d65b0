"""Quantile regression: how high is a record's phi for a non-member that looks like it? No shadow models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from miafast.attacks.shapes import find_not_finite, with_queries
from miafast.ops.lira import check_choice
from miafast.tables import Array

HEADS = ("gaussian", "pinball")
LEARNERS = ("boosting", "linear")
#: E log χ² with one degree of freedom, -(Euler's constant + log 2): log of a squared residual lies this much too low.
_MEAN_LOG_SQUARE = -(np.euler_gamma + np.log(2.0))
#: Fewer known non-members than this cannot be fitted and cross-validated.
FEWEST = 20
_FOLDS = 5


@dataclass(frozen=True)
class Quantile:
    """Quantile regression of Bertran et al. (2023), "Scalable membership inference attacks via quantile regression".

    The target's phi is regressed on the inputs x over records known not to be members; a record scores how far its phi
    lies above what a non-member like it would have. Where an audit of one target has a validation or test set that it
    was surely not trained on, this attack needs no shadow models and nothing about the training but that set:

        fitted = Quantile().fit(x, phi, is_non_member=known)     # the target's phi on all records, known ones marked
        scores = fitted.score(x[~known], phi[~known])            # of records whose membership is asked about

    Score only records that were not fitted: residuals on fitted ones are too small, and would look like a leak the
    wrong way round. As it needs inputs, it is fitted beside an audit, not by `audit` itself.

    * ``head="gaussian"``: (phi - mean(x)) / sd(x), the mean by least squares, the log variance by least squares on the
      log squared residuals of cross-validation, corrected for their mean under a normal distribution.
    * ``head="pinball"``: a regression per level of ``levels`` with the pinball loss; a record's score is the normal
      quantile of the level at which its phi stands among its own quantiles (sorted, so that they cannot cross), in a
      straight line between levels and beyond them. So both heads score standard normal deviates of a non-member's phi.
    * ``learner``: ``"boosting"``, scikit-learn's HistGradientBoostingRegressor; or ``"linear"``, Ridge and
      QuantileRegressor (slow above some thousand records) on standardised features.

    Raises ValueError for unknown options and for levels that are not at least two ascending numbers inside (0, 1).

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 1))
    >>> phi = 3 * x[:, 0] + rng.normal(size=400)
    >>> fitted = Quantile(learner="linear").fit(x, phi, is_non_member=np.arange(400) < 300)
    >>> bool(abs(fitted.score(x[300:], phi[300:]).std() - 1) < 0.2)
    True
    """

    head: str = "gaussian"
    learner: str = "boosting"
    levels: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
    seed: int = 0

    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def __post_init__(self) -> None:
        check_choice("head", self.head, HEADS)
        check_choice("learner", self.learner, LEARNERS)
        ladder = (0.0, *self.levels, 1.0)
        if len(self.levels) < 2 or not all(below < above for below, above in pairwise(ladder)):
            raise ValueError(f"levels={self.levels!r}; give at least two ascending quantile levels inside (0, 1).")

    @property
    def name(self) -> str:
        """What reports call the attack."""
        return f"quantile regression, {self.head}" + (", linear" if self.learner == "linear" else "")

    def fit(self, x: Array, phi: Array, *, is_non_member: Array) -> FittedQuantile:
        """Learn what non-members' phi looks like.

        Args:
            x: [records, ...] inputs, numbers; flattened to features. Append the label's one-hot columns if it matters.
            phi: the target's phi [records] or [records, queries] (averaged), floating.
            is_non_member: [records] bool, True for records known not to be members; the others are not looked at.

        Raises:
            ValueError: shapes that do not fit, inputs or phi that are not finite, fewer than 20 known non-members.
        """
        features, values = _features(x), _mean_phi(phi)
        known = np.asarray(is_non_member)
        if known.dtype != np.bool_ or known.shape != values.shape or len(features) != len(values):
            raise ValueError(
                f"x holds {len(features)} records, phi {len(values)}, is_non_member is {known.dtype} of shape "
                f"{known.shape}; give all three for the same records, is_non_member as bool [records]."
            )
        if known.sum() < FEWEST:
            raise ValueError(f"is_non_member marks {known.sum()} records; give at least {FEWEST} known non-members.")
        features, values = features[known], values[known]
        if self.head == "pinball":
            models = [self._learner(level).fit(features, values) for level in self.levels]
        else:
            models = self._mean_and_log_variance(features, values)
        return FittedQuantile(self, models, features.shape[1])

    def _mean_and_log_variance(self, features: Array, values: Array) -> list[Any]:
        from sklearn.model_selection import KFold, cross_val_predict

        folds = KFold(_FOLDS, shuffle=True, random_state=self.seed)
        residual = values - cross_val_predict(self._learner(None), features, values, cv=folds)
        floor = 1e-6 * max(float(np.mean(residual**2)), 1e-12)
        log_square = np.log(residual**2 + floor) - _MEAN_LOG_SQUARE
        return [self._learner(None).fit(features, values), self._learner(None).fit(features, log_square)]

    def _learner(self, level: float | None) -> Any:
        """A regressor of the mean, or of a quantile."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.linear_model import QuantileRegressor, Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if self.learner == "linear":
            plain = Ridge(1.0) if level is None else QuantileRegressor(quantile=level, alpha=1e-4, solver="highs")
            return make_pipeline(StandardScaler(), plain)
        loss: dict[str, Any] = {"loss": "squared_error"} if level is None else {"loss": "quantile", "quantile": level}
        return HistGradientBoostingRegressor(
            max_iter=100, learning_rate=0.05, max_leaf_nodes=8, early_stopping=False, random_state=self.seed, **loss
        )


@dataclass(frozen=True, eq=False)
class FittedQuantile:
    """What `Quantile.fit` learnt about one target."""

    attack: Quantile
    models: Sequence[Any]  # Gaussian: mean, log variance; pinball: one per level
    features: int

    def score(self, x: Array, phi: Array) -> Array:
        """Scores [records] float64 of records that were not fitted; x and phi as for `Quantile.fit`.

        Raises ValueError for shapes that do not fit and values that are not finite.
        """
        features, values = _features(x), _mean_phi(phi)
        if len(features) != len(values) or features.shape[1] != self.features:
            raise ValueError(
                f"x is [{len(features)}, {features.shape[1]} features], phi has {len(values)} records; give the same "
                f"records, with the {self.features} features that were fitted."
            )
        if len(values) == 0:
            return np.empty(0)
        predicted = np.stack([model.predict(features) for model in self.models], axis=1)
        if self.attack.head == "gaussian":
            return np.asarray((values - predicted[:, 0]) / np.exp(predicted[:, 1] / 2))
        from scipy import special

        return deviates(values, np.sort(predicted, axis=1), special.ndtri(np.asarray(self.attack.levels)))


def deviates(values: Array, quantiles: Array, scale: Array) -> Array:
    """Where values [records] stand among their quantiles [records, levels], on the scale [levels], linearly.

    Beyond the outermost levels the line through them and the middle one goes on: those next to each other may coincide.

    >>> deviates(np.array([0.5, 3.0, -1.0]), np.array([[0.0, 1.0, 2.0]] * 3), np.array([-1.0, 0.0, 2.0]))
    array([-0.5,  4. , -2. ])
    """
    levels, rows = quantiles.shape[1], np.arange(len(values))
    whole = np.maximum(quantiles[:, -1] - quantiles[:, 0], 1e-9)
    place = (quantiles < values[:, None]).sum(axis=1)  # 0: below all, levels: above all
    right = np.select([place == 0, place == levels], [max(levels // 2, 1), levels - 1], place)
    left = np.select([place == 0, place == levels], [0, min(levels // 2, levels - 2)], place - 1)
    start = np.where(place == levels, right, left)
    width = quantiles[rows, right] - quantiles[rows, left]
    width = np.where((place == 0) | (place == levels), np.maximum(width, whole / 10), np.maximum(width, whole * 1e-9))
    along = (values - quantiles[rows, start]) / width
    return np.asarray(scale[start] + along * (scale[right] - scale[left]))


def _features(x: Array) -> Array:
    """[records, features] float64."""
    array = np.asarray(x)
    if array.ndim < 2 or array.dtype.kind not in "biuf":
        raise ValueError(f"x is {array.dtype} of shape {array.shape}; give numbers [records, ...] with features.")
    features = array.reshape(len(array), math.prod(array.shape[1:])).astype(np.float64)
    find_not_finite("x", features)
    return features


def _mean_phi(phi: Array) -> Array:
    """[records] float64, the mean over queries."""
    values = np.asarray(with_queries("phi", phi, 1), np.float64)
    find_not_finite("phi", values)
    return np.asarray(values.mean(axis=1))
