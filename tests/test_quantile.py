"""Quantile regression: its heads against the normal that made the data, no leak on noise, a planted one found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

pytest.importorskip("sklearn")

from miafast.attacks import Quantile, Threshold
from miafast.attacks.quantile import _MEAN_LOG_SQUARE, deviates
from tests.test_lira import auc, departure

EVERY = [Quantile(head, learner) for head in ("gaussian", "pinball") for learner in ("boosting", "linear")]


def heteroscedastic(seed: int, records: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x [records, 2]; phi ~ N(3 x0, exp(x1 - .5)²): inputs, phi, and phi's deviates."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, size=(records, 2))
    deviate = rng.normal(size=records)
    return x, 3 * x[:, 0] + np.exp(x[:, 1] - 0.5) * deviate, deviate


def test_the_gaussian_head_is_by_hand_for_constant_inputs() -> None:
    """No features to learn from: the mean of phi, and log variance from leave-fold-out residuals' mean log square."""
    rng = np.random.default_rng(0)
    phi = rng.normal(2.0, 3.0, size=4000)
    scores = Quantile(learner="linear").fit(np.ones((4000, 1)), phi, is_non_member=np.ones(4000, bool)).score(
        np.ones((3, 1)), np.array([2.0, 5.0, -4.0])
    )  # fmt: skip
    spread = np.exp((np.log((phi - phi.mean()) ** 2).mean() - _MEAN_LOG_SQUARE) / 2)
    np.testing.assert_allclose(scores, (np.array([2.0, 5.0, -4.0]) - phi.mean()) / spread, rtol=0.01, atol=0.01)
    np.testing.assert_allclose(scores, [0, 1, -2], atol=0.1)


def test_the_mean_of_a_log_square_is_digamma_s() -> None:
    assert pytest.approx(special.digamma(0.5) + np.log(2)) == _MEAN_LOG_SQUARE


def test_the_pinball_head_is_by_hand_for_constant_inputs() -> None:
    """The empirical quantiles of phi; a score half way between two is half way between their normal quantiles."""
    phi = np.random.default_rng(0).normal(2.0, 3.0, size=999)
    levels = (0.25, 0.5, 0.9)
    fitted = Quantile("pinball", "linear", levels).fit(np.ones((999, 1)), phi, is_non_member=np.ones(999, bool))
    low, middle, high = np.quantile(phi, levels)
    asked = np.array([low, middle, high, (middle + high) / 2, 2 * high - middle])
    z = stats.norm.ppf(levels)
    expected = [z[0], z[1], z[2], (z[1] + z[2]) / 2, 2 * z[2] - z[1]]
    np.testing.assert_allclose(fitted.score(np.ones((5, 1)), asked), expected, atol=0.01)


def test_quantiles_that_coincide_make_no_infinite_scores() -> None:
    scores = deviates(np.array([0.0, 1.0, 2.0]), np.array([[1.0, 1.0, 1.0]] * 3), np.array([-1.0, 0.0, 1.0]))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) > 0).all()


@pytest.mark.parametrize("attack", EVERY, ids=lambda each: each.name)
def test_scores_of_non_members_are_standard_normal_deviates(attack: Quantile) -> None:
    x, phi, deviate = heteroscedastic(1, 4000)
    known = np.arange(4000) < 2000
    scores = attack.fit(x, phi, is_non_member=known).score(x[~known], phi[~known])
    assert abs(scores.mean()) < 0.1
    assert abs(np.quantile(scores, 0.9) - stats.norm.ppf(0.9)) < 0.2
    floor = 0.95 if attack.head == "gaussian" or attack.learner == "linear" else 0.93
    assert np.corrcoef(scores, deviate[~known])[0, 1] > floor


@pytest.mark.parametrize("attack", EVERY, ids=lambda each: each.name)
def test_pure_noise_is_at_auc_one_half(attack: Quantile) -> None:
    x, phi, _ = heteroscedastic(2, 4000)
    known = np.arange(4000) < 1000
    scores = attack.fit(x, phi, is_non_member=known).score(x[~known], phi[~known])
    is_member = np.random.default_rng(3).random(3000) < 0.5
    assert abs(departure(scores[None], is_member[None])) < 3


def test_scoring_what_was_fitted_looks_like_a_leak_the_wrong_way_round() -> None:
    """Why the docstring says not to: fitted non-members are closer to their own quantiles."""
    x, phi, _ = heteroscedastic(2, 400)
    x = np.concatenate([x, np.random.default_rng(0).normal(size=(400, 20))], axis=1)
    known = np.arange(400) < 200
    scores = Quantile().fit(x, phi, is_non_member=known).score(x, phi)
    assert np.abs(scores[known]).mean() < 0.8 * np.abs(scores[~known]).mean()


@pytest.mark.parametrize("attack", EVERY, ids=lambda each: each.name)
def test_a_planted_leak_is_found_as_well_as_knowing_the_normal(attack: Quantile) -> None:
    x, phi, deviate = heteroscedastic(4, 6000)
    known = np.arange(6000) < 2000
    is_member = (np.random.default_rng(5).random(6000) < 0.5) & ~known
    spread = np.exp(x[:, 1] - 0.5)
    phi, deviate = phi + 1.5 * spread * is_member, deviate + 1.5 * is_member
    fitted = attack.fit(x, phi, is_non_member=known)
    found = auc(fitted.score(x[~known], phi[~known]), is_member[~known])
    best = auc(deviate[~known], is_member[~known])
    assert found > best - 0.02
    assert found > auc(Threshold().score(phi[~known]), is_member[~known]) + 0.15


def test_the_same_seed_gives_the_same_scores_and_queries_are_averaged() -> None:
    x, phi, _ = heteroscedastic(6, 300)
    known = np.arange(300) < 200
    one, other = (Quantile().fit(x, phi, is_non_member=known).score(x, phi) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    pair = np.stack([phi - 1, phi + 1], axis=1)
    np.testing.assert_allclose(Quantile().fit(x, pair, is_non_member=known).score(x, pair), one, rtol=1e-6, atol=1e-9)
    images = x.reshape(300, 1, 2)
    np.testing.assert_array_equal(Quantile().fit(images, phi, is_non_member=known).score(images, phi), one)
    assert Quantile().fit(x, phi, is_non_member=known).score(x[:0], phi[:0]).shape == (0,)


X, PHI, _ = heteroscedastic(0, 60)
KNOWN = np.arange(60) < 30


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Quantile("median"), "head='median'"),
        (lambda: Quantile(learner="forest"), "learner='forest'"),
        (lambda: Quantile(levels=(0.5, 0.5)), r"levels=\(0.5, 0.5\); give at least two ascending"),
        (lambda: Quantile(levels=(0.5, 1.0)), "inside"),
        (lambda: Quantile(levels=(0.5,)), "at least two"),
        (lambda: Quantile().fit(X, PHI, is_non_member=KNOWN.astype(int)), "is_non_member is int64"),
        (lambda: Quantile().fit(X[:-1], PHI, is_non_member=KNOWN), "x holds 59 records, phi 60"),
        (lambda: Quantile().fit(X, PHI, is_non_member=np.arange(60) < 19), "marks 19 records; give at least 20"),
        (lambda: Quantile().fit(X[:, 0], PHI, is_non_member=KNOWN), r"x is float64 of shape \(60,\)"),
        (lambda: Quantile().fit(X * np.nan, PHI, is_non_member=KNOWN), "x holds 120 NaN"),
        (lambda: Quantile().fit(X, PHI * np.inf, is_non_member=KNOWN), "phi holds 60 NaN or infinite"),
        (lambda: Quantile().fit(X, PHI, is_non_member=KNOWN).score(X[:, :1], PHI), "with the 2 features"),
    ],
)
def test_what_does_not_fit_is_refused(make: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_the_attack_says_what_it_is() -> None:
    assert [each.name for each in EVERY] == [
        "quantile regression, gaussian", "quantile regression, gaussian, linear",
        "quantile regression, pinball", "quantile regression, pinball, linear",
    ]  # fmt: skip
