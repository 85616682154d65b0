"""LiRA's statistics: closed forms, equivariances, one pass equal to many, and nothing found where nothing leaks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import integrate, special, stats

import miafast as mf
from miafast.attacks import LiRA
from miafast.ops import student_t, variance_prior
from miafast.ops.lira import score_sides
from miafast.ops.lira_leave_one_out import lira_leave_one_out, sides_without

VARIANCES = ("per-record", "pooled", "shrunken", "total")
MODES = (("online", "one-sided"), ("offline", "one-sided"), ("offline", "two-sided"))
EVERY = [
    pytest.param(LiRA(mode, center, variance, tail), id=f"{mode}-{tail}-{center}-{variance}")
    for (mode, tail), center, variance in itertools.product(MODES, ("mean", "median"), VARIANCES)
]


def coins(rng: np.random.Generator, models: int, records: int) -> np.ndarray:
    """Independent fair coins; at least 3 models on either side, and not the same number for all records."""
    in_mask = rng.random((models, records)) < 0.5
    in_mask[:3], in_mask[3:6] = True, False
    in_mask[6, :2] = (True, False)
    in_mask[7:, :2] = False
    return in_mask


def balanced(rng: np.random.Generator, models: int, records: int) -> np.ndarray:
    return rng.random((models, records)).argsort(axis=0) < models // 2


def leaky(seed: int, models: int, records: int, queries: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    in_mask = coins(rng, models, records)
    noise = rng.gamma(2.0, 0.5, size=(records, 1)) * rng.normal(size=(models, records, queries))
    return rng.normal(0, 3, size=(records, 1)) + in_mask[:, :, None] + noise, in_mask


def auc(scores: np.ndarray, is_member: np.ndarray) -> float:
    ranks = stats.rankdata(scores)
    members, others = is_member.sum(), (~is_member).sum()
    return float((ranks[is_member].sum() - members * (members + 1) / 2) / (members * others))


# --- closed forms -----------------------------------------------------------------------------------------------

SHADOW = np.array([[1.0, 10.0], [3.0, 14.0], [5.0, 12.0], [-1.0, 2.0], [1.0, 4.0], [-3.0, 9.0], [-1.0, 5.0]])
IN_MASK = np.array([[True, True]] * 3 + [[False, False]] * 4)
TARGET = np.array([4.0, 11.0])


def test_online_per_record_is_the_difference_of_two_normal_log_densities() -> None:
    expected = stats.norm.logpdf(TARGET, SHADOW[:3].mean(0), SHADOW[:3].std(0, ddof=1))
    expected -= stats.norm.logpdf(TARGET, SHADOW[3:].mean(0), SHADOW[3:].std(0, ddof=1))
    np.testing.assert_allclose(LiRA(variance="per-record").score(TARGET, SHADOW, IN_MASK), expected, rtol=1e-12)


def test_offline_is_the_log_of_the_normal_cdf_and_two_sided_minus_the_log_density() -> None:
    mean, spread = SHADOW[3:].mean(0), SHADOW[3:].std(0, ddof=1)
    one = LiRA("offline", variance="per-record").score(TARGET, SHADOW, IN_MASK)
    np.testing.assert_allclose(one, stats.norm.logcdf(TARGET, mean, spread), rtol=1e-9)
    two = LiRA("offline", variance="per-record", tail="two-sided").score(TARGET, SHADOW, IN_MASK)
    np.testing.assert_allclose(two, -stats.norm.logpdf(TARGET, mean, spread), rtol=1e-12)


def test_medians_move_the_centres_but_not_the_variances() -> None:
    expected = stats.norm.logpdf(TARGET, np.median(SHADOW[:3], 0), SHADOW[:3].std(0, ddof=1))
    expected -= stats.norm.logpdf(TARGET, np.median(SHADOW[3:], 0), SHADOW[3:].std(0, ddof=1))
    got = LiRA(center="median", variance="per-record").score(TARGET, SHADOW, IN_MASK)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_pooled_variance_is_of_residuals_around_each_record_s_own_mean_sides_apart() -> None:
    spread_in, spread_out = (np.sqrt(side.var(0, ddof=1).mean()) for side in (SHADOW[:3], SHADOW[3:]))
    expected = stats.norm.logpdf(TARGET, SHADOW[:3].mean(0), spread_in)
    expected -= stats.norm.logpdf(TARGET, SHADOW[3:].mean(0), spread_out)
    np.testing.assert_allclose(LiRA(variance="pooled").score(TARGET, SHADOW, IN_MASK), expected, rtol=1e-12)


def test_total_variance_is_of_all_in_signals_around_their_grand_mean_for_both_sides() -> None:
    spread = SHADOW[:3].std(ddof=1)
    expected = stats.norm.logpdf(TARGET, SHADOW[:3].mean(0), spread) - stats.norm.logpdf(
        TARGET, SHADOW[3:].mean(0), spread
    )
    np.testing.assert_allclose(LiRA(variance="total").score(TARGET, SHADOW, IN_MASK), expected, rtol=1e-12)


def test_shrunken_is_a_student_prediction_from_the_estimated_prior() -> None:
    shadow, in_mask = leaky(0, 12, 300)
    target = shadow[0] + 0.5
    terms = []
    for use in (in_mask, ~in_mask):
        n = use.sum(0)
        values = np.where(use, shadow[..., 0], np.nan)
        own = np.nanvar(values, axis=0, ddof=1)
        e = np.log(own) - special.digamma((n - 1) / 2) + np.log((n - 1) / 2)
        prior_trigamma = e.var(ddof=1) - special.polygamma(1, (n - 1) / 2).mean()
        half = _solve_trigamma(prior_trigamma)
        prior = np.exp(e.mean() + special.digamma(half) - np.log(half))
        dof = 2 * half + n - 1
        scale = np.sqrt((2 * half * prior + (n - 1) * own) / dof * (1 + 1 / n))
        terms.append(stats.t.logpdf(target[:, 0], dof, np.nanmean(values, axis=0), scale))
    got = LiRA(variance="shrunken").score(target, shadow, in_mask)
    np.testing.assert_allclose(got, terms[0] - terms[1], rtol=1e-9, atol=1e-9)


def _solve_trigamma(value: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(lambda x: special.polygamma(1, x) - value, 1e-6, 1e6, xtol=1e-14, rtol=1e-14))


def test_the_prior_finds_the_degrees_of_freedom_that_made_the_variances() -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(3, 20, size=20_000)
    true_dof, true_variance = 7.0, 2.5
    variance = true_variance * true_dof / rng.chisquare(true_dof, size=len(counts))
    squares = variance * rng.chisquare(counts - 1)
    prior = variance_prior.shrunken_prior(variance_prior.log_moments(squares[:, None], counts))
    assert prior.dof == pytest.approx(true_dof, rel=0.08)
    assert prior.variance[0] == pytest.approx(true_variance, rel=0.03)


def test_equal_variances_give_a_prior_that_outweighs_every_record() -> None:
    rng = np.random.default_rng(4)
    counts = np.full(2000, 12)
    squares = rng.permutation(stats.chi2.ppf((np.arange(2000) + 0.5) / 2000, 11)) * 3.0
    squares = 3.0 * 11 + 0.5 * (squares - 33.0)  # less spread than chance alone would give
    prior = variance_prior.shrunken_prior(variance_prior.log_moments(squares[:, None], counts))
    assert np.isinf(prior.dof)
    assert prior.variance[0] == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("dof", [0.7, 3.0, 25.0, 4000.0])
def test_student_s_tail_agrees_with_its_integral_where_the_cdf_underflows(dof: float) -> None:
    z = -1e3 if dof < 100 else -60.0
    at = stats.t.logpdf(z, dof)
    rest, _ = integrate.quad(lambda step: np.exp(stats.t.logpdf(z - step, dof) - at), 0, np.inf, epsabs=0, limit=200)
    assert float(student_t.log_student_cdf(np.array(z), np.array(dof))) == pytest.approx(at + np.log(rest), rel=1e-7)


def test_far_in_the_lower_tail_scores_stay_finite_and_in_order() -> None:
    target = -np.logspace(0, 6, 30)[:, None]
    shadow = np.tile(np.array([-1.0, 0.5, 1.0, 0.25])[:, None, None], (1, 30, 1))
    for variance in ("per-record", "pooled", "shrunken"):
        scores = LiRA("offline", variance=variance).score(target, shadow, np.zeros((4, 30), bool))
        assert np.isfinite(scores).all()
        assert (np.diff(scores) < 0).all()


# --- one pass equals many ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", EVERY)
@pytest.mark.parametrize("queries", [1, 3])
def test_score_all_is_score_on_the_others_for_independent_coins(attack: LiRA, queries: int) -> None:
    shadow, in_mask = leaky(5, 11, 40, queries)
    everyone = attack.score_all(shadow, in_mask)
    for target in range(len(shadow)):
        others = np.arange(len(shadow)) != target
        one = attack.score(shadow[target], shadow[others], in_mask[others])
        np.testing.assert_allclose(everyone[target], one, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_joint_score_all_is_joint_score_on_the_others(mode: str, variance: str) -> None:
    attack = LiRA(mode, variance=variance, queries="multivariate")
    shadow, in_mask = leaky(6, 11, 40, 3)
    everyone = attack.score_all(shadow, in_mask)
    for target in (0, 7):
        others = np.arange(len(shadow)) != target
        one = attack.score(shadow[target], shadow[others], in_mask[others])
        np.testing.assert_allclose(everyone[target], one, rtol=1e-8, atol=1e-8)


# --- properties -------------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**31)
options = st.sampled_from([each.values[0] for each in EVERY])


@settings(max_examples=60, deadline=None)
@given(seed=seeds, attack=options, shift=st.floats(-50, 50), log_scale=st.floats(-2, 2))
def test_shift_and_scale_change_nothing_but_the_two_sided_constant(
    seed: int, attack: LiRA, shift: float, log_scale: float
) -> None:
    shadow, in_mask = leaky(seed, 9, 12)
    scale = np.exp(log_scale)
    before, after = attack.score_all(shadow, in_mask), attack.score_all(shadow * scale + shift, in_mask)
    constant = log_scale if attack.tail == "two-sided" else 0.0
    np.testing.assert_allclose(after, before + constant, rtol=1e-6, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, attack=options)
def test_the_order_of_models_and_records_does_not_matter(seed: int, attack: LiRA) -> None:
    shadow, in_mask = leaky(seed, 9, 20)
    rng = np.random.default_rng(seed)
    models, records = rng.permutation(9), rng.permutation(20)
    turned = attack.score_all(shadow[models][:, records], in_mask[models][:, records])
    np.testing.assert_allclose(turned, attack.score_all(shadow, in_mask)[models][:, records], rtol=1e-8, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, attack=options)
def test_a_higher_signal_is_a_higher_score_between_out_and_in(seed: int, attack: LiRA) -> None:
    shadow, in_mask = leaky(seed, 12, 10)
    shadow = np.tanh(shadow) + 20 * in_mask[:, :, None]  # no side reaches the other
    low = np.where(~in_mask[:, :, None], shadow, -np.inf).max(0)
    high = np.where(in_mask[:, :, None], shadow, np.inf).min(0)
    at = [attack.score(low + (high - low) * step, shadow, in_mask) for step in (0.35, 0.5, 0.65)]
    assert (at[0] < at[1]).all() or attack.mode == "offline"  # a one-sided cdf saturates at 1
    assert (at[2] >= at[0]).all()


def test_one_model_far_off_does_not_cost_the_others_their_digits() -> None:
    shadow, in_mask = leaky(7, 12, 200)
    shadow[5] = 1e9
    expected = lira_leave_one_out.truth(shadow, in_mask, variance="per-record")
    np.testing.assert_allclose(lira_leave_one_out(shadow, in_mask, variance="per-record"), expected, rtol=1e-7)


@pytest.mark.parametrize("variance", VARIANCES)
def test_one_joint_query_is_the_single_score(variance: str) -> None:
    shadow, in_mask = leaky(8, 12, 50)
    for mode, tail in MODES:
        one = LiRA(mode, variance=variance, tail=tail)
        joint = LiRA(mode, variance=variance, tail=tail, queries="multivariate")
        np.testing.assert_allclose(
            joint.score(shadow[0], shadow, in_mask), one.score(shadow[0], shadow, in_mask), rtol=1e-8, atol=1e-8
        )


def test_queries_that_always_agree_rank_records_like_one_of_them() -> None:
    shadow, in_mask = leaky(9, 12, 50)
    five = np.repeat(shadow, 5, axis=2)
    one = LiRA(variance="pooled").score(shadow[0] + 1, shadow, in_mask)
    joint = LiRA(variance="pooled", queries="multivariate").score(five[0] + 1, five, in_mask)
    assert np.ptp(joint - one) < 0.01
    assert np.isfinite(LiRA(queries="multivariate").score(five[0] + 1, five, in_mask)).all()


def test_independent_queries_add_up_jointly() -> None:
    rng = np.random.default_rng(10)
    in_mask = coins(rng, 40, 2000)
    shadow = rng.normal(size=(40, 2000, 2)) + in_mask[:, :, None]
    target = rng.normal(size=(2000, 2)) + 0.5
    joint = LiRA(variance="pooled", queries="multivariate").score(target, shadow, in_mask)
    np.testing.assert_allclose(joint, 2 * LiRA(variance="pooled").score(target, shadow, in_mask), atol=0.1)


# --- nothing leaks: nothing is found; what leaks is found as well as can be ---------------------------------------


def irregular(rng: np.random.Generator, models: int, records: int) -> np.ndarray:
    """A user's own: every model has its own share of the records."""
    return rng.random((models, records)) < rng.uniform(0.3, 0.7, size=(models, 1))


NOISE_MODELS, NOISE_RECORDS = 10, 8000
MASKS = {"balanced": balanced, "coins": lambda r, k, n: r.random((k, n)) < 0.5, "irregular": irregular}


def _noise(mask: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    return rng.normal(size=(NOISE_MODELS, NOISE_RECORDS)), MASKS[mask](rng, NOISE_MODELS, NOISE_RECORDS)


def departure(scores: np.ndarray, in_mask: np.ndarray) -> float:
    """Standard errors by which the targets' mean AUC is off ½. One record's scores for several targets depend on each
    other, records do not: the standard error is over records."""
    known = np.isfinite(scores)
    ranks = stats.rankdata(scores, axis=1, nan_policy="omit")
    share = np.where(known, ranks / known.sum(axis=1, keepdims=True) - 0.5, 0.0)
    members, others = in_mask & known, ~in_mask & known
    weight = members / members.sum(axis=1, keepdims=True) - others / others.sum(axis=1, keepdims=True)
    each = (share * weight).sum(axis=0)
    return float(each.sum() / (each.std(ddof=1) * np.sqrt(len(each))))


@pytest.mark.filterwarnings("ignore::miafast.attacks.UnscoredRecordsWarning")
@pytest.mark.parametrize("attack", EVERY)
@pytest.mark.parametrize("mask", list(MASKS))
def test_pure_noise_is_at_auc_one_half(mask: str, attack: LiRA) -> None:
    phi, in_mask = _noise(mask)
    assert abs(departure(attack.score_all(phi, in_mask), in_mask)) < 3
    rng = np.random.default_rng(21)
    target, is_member = rng.normal(size=NOISE_RECORDS), rng.random(NOISE_RECORDS) < 0.5
    assert abs(departure(attack.score(target, phi, in_mask)[None], is_member[None])) < 3


@pytest.mark.parametrize("variance", VARIANCES)
def test_the_noise_test_would_see_unequal_counts(variance: str) -> None:
    """With balanced masks a plain loop over targets is far from ½: what `score_all` must avoid."""
    phi, in_mask = _noise("balanced")
    naive = np.empty(in_mask.shape)
    options = {"mode": "online", "center": "mean", "variance": variance, "tail": "one-sided"}
    for target in range(len(phi)):
        sides = sides_without(in_mask, target, same_counts=False)
        naive[target] = score_sides(phi[target][:, None], phi[..., None], *sides, **options)
    assert departure(naive, in_mask) < -4


def test_a_planted_leak_is_found_as_well_as_the_best_test_can() -> None:
    """IN ~ N(μ + δ, σ²), OUT ~ N(μ, σ²) with δ = σ: the best test has TPR = Φ(Φ⁻¹(FPR) + 1), AUC = Φ(1/√2)."""
    rng = np.random.default_rng(13)
    models, records = 1200, 4000
    spread = rng.gamma(4.0, 0.25, size=records)
    in_mask = rng.random((models, records)) < 0.5
    level = rng.normal(0, 3, size=records)
    shadow = rng.standard_normal((models, records), dtype=np.float32)
    shadow = (shadow + in_mask) * spread.astype(np.float32) + level.astype(np.float32)
    targets = 5
    is_member = rng.random((targets, records)) < 0.5
    target = (rng.normal(size=(targets, records)) + is_member) * spread + level
    for attack in (LiRA(), LiRA(variance="per-record"), LiRA(center="median")):
        scores = np.concatenate([attack.score(each.astype(np.float32), shadow, in_mask) for each in target])
        member = is_member.ravel()
        # The optimal score on the same draws: what separates the two is the attack, not the sample.
        best = ((target - level) / spread).ravel()
        assert auc(best, member) == pytest.approx(stats.norm.cdf(np.sqrt(0.5)), abs=0.01)
        assert abs(auc(scores, member) - stats.norm.cdf(np.sqrt(0.5))) < 0.01
        for fpr in (0.01, 0.1):
            found = (scores[member] > np.quantile(scores[~member], 1 - fpr)).mean()
            reached = (best[member] > np.quantile(best[~member], 1 - fpr)).mean()
            assert abs(found - reached) < 0.01


# --- layouts and instruction sets -------------------------------------------------------------------------------


def test_every_instruction_set_gives_the_same_scores() -> None:
    native = pytest.importorskip("miafast._native")
    shadow, in_mask = leaky(14, 40, 333, 2)
    best = native.isa()
    try:
        for dtype, tolerance in ((np.float32, 2e-5), (np.float64, 1e-9)):
            for attack in (LiRA(), LiRA("offline", center="median"), LiRA("offline", variance="pooled")):
                expected = None
                for isa in native.isas():
                    native.limit_isa(isa)
                    got = attack.score_all(shadow.astype(dtype), in_mask)
                    expected = got if expected is None else expected
                    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
    finally:
        native.limit_isa(best)


def test_half_types_score_like_their_values() -> None:
    torch = pytest.importorskip("torch")
    shadow, in_mask = leaky(15, 12, 100)
    for half in (torch.float16, torch.bfloat16):
        stored = torch.from_numpy(shadow).to(half)
        got = LiRA().score_all(stored, torch.from_numpy(in_mask))
        assert got.dtype == torch.float32
        expected = LiRA().score_all(stored.double().numpy(), in_mask)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_scores_do_not_depend_on_how_the_signals_lie_in_memory(tmp_path: object) -> None:
    shadow, in_mask = leaky(16, 12, 700, 2)
    expected = LiRA().score_all(shadow, in_mask)
    mapped = np.lib.format.open_memmap(f"{tmp_path}/phi.npy", "w+", np.float64, shadow.shape)
    mapped[:] = shadow
    last_first = np.ascontiguousarray(shadow.transpose(2, 1, 0)).transpose(2, 1, 0)
    for laid_out in (mapped, last_first, np.asfortranarray(shadow), shadow.astype(">f8"), shadow[:, ::-1][:, ::-1]):
        np.testing.assert_array_equal(LiRA().score_all(laid_out, np.asfortranarray(in_mask)), expected)


def test_a_result_does_not_change_from_run_to_run() -> None:
    shadow, in_mask = leaky(17, 16, 5000)
    first = LiRA().score_all(shadow, in_mask)
    for _ in range(3):
        np.testing.assert_array_equal(LiRA().score_all(shadow, in_mask), first)


def test_empty_results_for_no_records() -> None:
    with mf.backend("cpp"):
        assert LiRA().score(np.zeros(0), np.zeros((4, 0)), np.zeros((4, 0), bool)).shape == (0,)
        assert LiRA().score_all(np.zeros((4, 0)), np.zeros((4, 0), bool)).shape == (4, 0)
