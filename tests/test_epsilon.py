"""Epsilon lower bounds: published values, validity under null and private mechanisms, tightness."""

from __future__ import annotations

import time
from math import log

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.stats import beta

import miafast as mf
from miafast.epsilon.gaussian import delta_of_mu, epsilon_of_mu
from miafast.epsilon.one_run import f_dp_one_run, one_run
from miafast.epsilon.rates import Counts, bayesian, clopper_pearson, gaussian, posterior_within
from miafast.epsilon.search import largest_rejected
from miafast.epsilon.threshold import hull

AUDITS = 1000
FALSE_ALARMS = 0.05 + 3 * np.sqrt(0.05 * 0.95 / AUDITS)


def test_clopper_pearson_of_perfect_separation() -> None:
    assert clopper_pearson(Counts(0, 500, 500, 500), delta=0.0, alpha=0.01)[0] == pytest.approx(
        4.541915810224092, abs=1e-9
    )
    n = np.array([10, 100, 1000, 10_000, 100_000])
    found = clopper_pearson(Counts(0 * n, n, n, n), delta=0.0, alpha=0.05)
    np.testing.assert_allclose(found, [0.807, 3.281, 5.601, 7.905, 10.208], atol=6e-4)
    exact = np.log(0.025 ** (1 / n) / -np.expm1(np.log(0.025) / n))  # the rates' bounds in closed form
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_epsilon_of_gaussian_dp() -> None:
    mu = np.array([0.5, 1.0, 2.0, 4.0])
    found = epsilon_of_mu(mu, delta=1e-5)
    np.testing.assert_allclose(found, [1.993091, 4.377178, 9.997256, 24.381611], atol=1e-6)
    np.testing.assert_allclose(delta_of_mu(mu, found), 1e-5, rtol=1e-9)


def test_one_run_values() -> None:
    for canaries, expected in ((60, 2.9721), (1000, 5.8091)):
        found = one_run(canaries, guesses=canaries, canaries=canaries, delta=0.0, alpha=0.05)[0]
        share = 0.05 ** (1 / canaries)
        assert found == pytest.approx(log(share / (1 - share)), abs=1e-6)
        assert found == pytest.approx(expected, abs=6e-5)
    assert one_run(100, guesses=100, canaries=500, delta=1e-5, alpha=0.05)[0] == pytest.approx(3.479195, abs=1e-6)
    assert one_run(600, guesses=600, canaries=1000, delta=1e-5, alpha=0.05)[0] == pytest.approx(5.2704, abs=5e-5)


def test_f_dp_of_pure_dp_is_the_one_run_bound_where_all_guesses_count_and_are_right() -> None:
    options = {"guesses": 1000, "canaries": 1000, "delta": 0.0, "alpha": 0.05}
    np.testing.assert_allclose(f_dp_one_run(1000, family="approximate", **options), one_run(1000, **options), atol=1e-6)


def test_f_dp_of_ten_thousand_canaries_in_a_second() -> None:
    began = time.process_time()
    found = f_dp_one_run(8000, guesses=10_000, canaries=10_000, delta=1e-5, alpha=0.05)[0]
    assert time.process_time() - began < 1.0
    assert 2.0 < found < 4.0


def test_bayesian_posterior_is_the_integral_of_its_densities() -> None:
    counts, epsilon, delta = Counts(3, 20, 15, 22), 1.0, 0.01
    fpr, fnr = beta(3.5, 17.5), beta(7.5, 15.5)

    def density(y: float, x: float) -> float:
        return float(fpr.pdf(x) * fnr.pdf(y))

    def least(x: float) -> float:
        return float(np.clip(max((0.99 - x) / np.e, 0.99 - np.e * x), 0, 1))

    expected = dblquad(density, 0, 1, least, 1, epsabs=1e-9)[0]
    assert posterior_within(counts, np.array([epsilon]), np.array([delta]))[0] == pytest.approx(expected, abs=1e-6)


def test_group_privacy() -> None:
    counts = Counts(0, 500, 500, 500)
    single = clopper_pearson(counts, delta=0.0, alpha=0.05)
    np.testing.assert_allclose(clopper_pearson(counts, delta=0.0, alpha=0.05, copies=4), single / 4, atol=1e-9)
    epsilon = clopper_pearson(counts, delta=1e-3, alpha=0.05, copies=2)[0]
    group = clopper_pearson(counts, delta=1e-3 * (1 + np.exp(epsilon)), alpha=0.05)[0]
    assert 2 * epsilon == pytest.approx(group, abs=1e-9)
    assert largest_rejected(lambda e, _: e < -1, delta=0.0, audits=1)[0] == 0


def test_null_mechanism_in_many_runs_is_seldom_accused() -> None:
    random = np.random.default_rng(0)
    is_member = np.arange(400) < 200
    by_counts = Counts(random.binomial(200, 0.3, AUDITS), 200, random.binomial(200, 0.3, AUDITS), 200)
    assert np.mean(clopper_pearson(by_counts, delta=0.0, alpha=0.05) > 0) <= FALSE_ALARMS
    assert np.mean(gaussian(by_counts, delta=1e-5, alpha=0.05) > 0) <= FALSE_ALARMS
    for threshold in ("hull", "split"):
        found = [
            mf.epsilon_lower_bound(scores, is_member, threshold=threshold) for scores in random.normal(size=(200, 400))
        ]
        assert np.mean(np.array(found) > 0) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", ["hull", "split"])
def test_null_mechanism_with_chosen_thresholds(threshold: str) -> None:
    is_member = np.arange(400) < 200
    scores = np.random.default_rng(1).normal(size=(AUDITS, 400))
    found = np.array([mf.epsilon_lower_bound(each, is_member, threshold=threshold) for each in scores])
    assert np.mean(found > 0) <= FALSE_ALARMS


def test_null_mechanism_in_one_run_is_seldom_accused() -> None:
    right = np.random.default_rng(2).binomial(500, 0.5, AUDITS)
    options = {"guesses": 500, "canaries": 500, "alpha": 0.05}
    assert np.mean(one_run(right, delta=0.0, **options) > 0) <= FALSE_ALARMS
    assert np.mean(f_dp_one_run(right, delta=1e-5, **options) > 0) <= FALSE_ALARMS
    assert np.mean(f_dp_one_run(right, delta=0.0, family="approximate", **options) > 0) <= FALSE_ALARMS


@pytest.mark.parametrize("method", ["one-run", "f-dp one-run"])
def test_where_equal_scores_stand_does_not_matter(method: str) -> None:
    members_first = np.arange(400) < 200
    scores = np.random.default_rng(7).integers(3, size=(200, 400))  # nothing about who was in
    found = [mf.epsilon_lower_bound(each, members_first, method=method, delta=1e-5) for each in scores]
    assert np.mean(np.array(found) > 0) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    alike = mf.epsilon_lower_bound(np.zeros(400), members_first, method=method, delta=1e-5)
    assert alike == 0


def test_gaussian_mechanism_is_bounded_tightly_and_seldom_too_high() -> None:
    random, n, truth = np.random.default_rng(3), 10_000, epsilon_of_mu(1.0, delta=1e-5)
    from scipy.special import ndtr

    counts = Counts(random.binomial(n, ndtr(-0.5), AUDITS), n, random.binomial(n, ndtr(0.5), AUDITS), n)
    found = gaussian(counts, delta=1e-5, alpha=0.05)
    assert np.median(found) >= 0.9 * truth
    assert np.mean(found > truth) <= FALSE_ALARMS


def test_randomised_response_is_tight_in_one_run() -> None:
    random, canaries, epsilon = np.random.default_rng(4), 10_000, 1.0
    is_member = random.random((200, canaries)) < 0.5
    honest = random.random((200, canaries)) < np.e / (1 + np.e)
    right = honest.sum(axis=1)
    found = one_run(right, guesses=canaries, canaries=canaries, delta=0.0, alpha=0.05)
    assert np.median(found) >= 0.95 * epsilon
    assert np.mean(found > epsilon) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    one = mf.epsilon_lower_bound(np.where(honest[0], is_member[0], ~is_member[0]), is_member[0], method="one-run")
    assert 0.85 < one < 1.1


def test_hull_is_the_upper_hull() -> None:
    random = np.random.default_rng(5)
    is_member = random.random(300) < 0.5
    scores = np.round(random.normal(size=300) + is_member, 1)
    found, curve = hull(scores, is_member), mf.roc(scores, is_member)
    ends = [np.concatenate(([0], each, [of])) for each, of in (
        (found.false_positives, found.non_members), (found.true_positives, found.members))]  # fmt: skip
    assert np.all(np.interp(curve.false_positives, *ends) >= curve.true_positives - 1e-9)
    slopes = np.diff(ends[1]) / np.maximum(np.diff(ends[0]), 1e-9)
    assert np.all(np.diff(slopes) < 0)


def test_orderings_and_bayes() -> None:
    counts = Counts(5, 1000, 700, 1000)
    frequentist = clopper_pearson(counts, delta=1e-5, alpha=0.05)[0]
    assert 0 < frequentist < bayesian(counts, delta=1e-5, alpha=0.05)[0] < log(0.7 / 0.005)


def test_upper_bound_of_the_gaussian_mechanism() -> None:
    pytest.importorskip("dp_accounting")
    assert mf.epsilon_upper_bound(1.0, sample_rate=1.0, steps=1, delta=1e-5) == pytest.approx(4.377178, abs=1e-3)
    with pytest.raises(ValueError, match="sample_rate=2"):
        mf.epsilon_upper_bound(1.0, sample_rate=2.0, steps=1, delta=1e-5)


def test_a_thousand_intervals_of_a_roc_are_quick() -> None:
    random = np.random.default_rng(6)
    is_member = random.random(100_000) < 0.5
    curve = mf.roc(random.normal(size=100_000) + 0.5 * is_member, is_member)
    rates = np.geomspace(1e-4, 0.5, 1000)
    curve.intervals(rates)
    taken = []
    for _ in range(5):
        began = time.process_time()
        curve.intervals(rates)
        taken.append(time.process_time() - began)
    assert min(taken) < 0.05


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "magic"}, "method='magic'"),
        ({"delta": 1.0}, "delta=1"),
        ({"method": "gdp"}, "give delta > 0"),
        ({"confidence": 1.0}, "confidence=1"),
        ({"threshold": "best"}, "threshold='best'"),
        ({"copies": 0}, "copies=0"),
        ({"method": "one-run", "guesses": 11}, "guesses=11"),
        ({"method": "one-run", "guesses": np.int64(11)}, "guesses=11"),
        ({"method": "f-dp one-run", "family": "laplace"}, "family='laplace'"),
    ],
)
def test_refusals(options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mf.epsilon_lower_bound(np.arange(10.0), np.arange(10) < 5, **options)


def test_unfair_coins_and_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="fair coins"):
        mf.epsilon_lower_bound(np.arange(100.0), np.arange(100) < 90, method="one-run")
    with pytest.raises(ValueError, match="1 NaN"):
        mf.epsilon_lower_bound(np.array([np.nan, 1.0]), np.array([True, False]))
    with pytest.raises(ValueError, match="same for all"):
        mf.epsilon_lower_bound(np.ones(4), np.ones(4, bool))
