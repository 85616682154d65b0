"""RMIA, BASE and RaMIA: worked examples, search equal to the matrix, what they share, noise and planted leaks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import special, stats

import miafast as mf
from miafast.attacks import BASE, RMIA, LiRA, RaMIA, Threshold, TunedRMIA, UnscoredRecordsWarning
from miafast.attacks.rmia import GRID
from miafast.ops.lira_leave_one_out import has_fixed_counts, sides_without
from miafast.ops.log_ratio import log_ratio
from miafast.ops.log_ratio_leave_one_out import log_ratio_leave_one_out
from miafast.ops.rmia import rmia
from tests.test_lira import MASKS, NOISE_MODELS, NOISE_RECORDS, auc as flat_auc, departure

ATTACKS = [
    RMIA(), RMIA(gamma=2.0), RMIA("offline"), RMIA("offline", offline_a=1.0), RMIA(temperature=2.0),
    RMIA(queries="mean"), BASE(), BASE("offline"), BASE("offline", offline_a=0.3), BASE(temperature=3.0),
    RaMIA(), RaMIA(RMIA()), RaMIA(Threshold(), low=0.0, high=0.8),
]  # fmt: skip


def leaky(seed: int = 0, models: int = 12, records: int = 80, queries: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    in_mask = rng.random((models, records)) < 0.5
    in_mask[:2], in_mask[2:4] = True, False
    in_mask[4:6, :3] = True
    level = rng.normal(1, 2, size=(records, 1))
    return level + rng.normal(size=(models, records, queries)) + 2.0 * in_mask[:, :, None], in_mask


def auc(scores: np.ndarray, is_member: np.ndarray) -> float:
    return flat_auc(np.ravel(scores), np.ravel(is_member))


def logit(p: object) -> np.ndarray:
    return special.logit(np.asarray(p, float))


# --- worked examples --------------------------------------------------------------------------------------------

#: Two records, one IN and one OUT model for each; ratios .8/.625 = 1.28 and .5/.5 = 1 online.
TARGET, SHADOW = logit([0.8, 0.5]), logit([[0.75, 0.4], [0.5, 0.6]])
IN_MASK = np.array([[True, False], [False, True]])


def test_online_ratios_of_a_worked_example() -> None:
    np.testing.assert_allclose(BASE().score(TARGET, SHADOW, IN_MASK), np.log([1.28, 1.0]), atol=1e-15)
    np.testing.assert_array_equal(RMIA().score(TARGET, SHADOW, IN_MASK), [1.0, 0.0])


def test_offline_ratios_of_a_worked_example() -> None:
    """mean_out = .5 and .4; with a = .3: p = (1.3 · .5 + .7)/2 = .675 and (1.3 · .4 + .7)/2 = .61."""
    attack = BASE("offline", offline_a=0.3)
    np.testing.assert_allclose(attack.score(TARGET, SHADOW, IN_MASK), np.log([0.8 / 0.675, 0.5 / 0.61]), atol=1e-15)
    np.testing.assert_allclose(BASE("offline").score(TARGET, SHADOW, IN_MASK), np.log([1.6, 1.25]), atol=1e-15)


def test_a_population_outside_the_pool_in_a_worked_example() -> None:
    """z: p_target .6, .9, .3; shadows' means .5, .9, .6, so ratios 1.2, 1 and .5 online; x has 1.28 and 1."""
    others = logit([0.6, 0.9, 0.3]), logit([[0.4, 0.95, 0.5], [0.6, 0.85, 0.7]])
    for gamma, expected in ((1.0, [1.0, 1 / 3]), (1.1, [2 / 3, 1 / 3]), (1.5, [1 / 3, 1 / 3]), (2.1, [1 / 3, 0.0])):
        scores = RMIA(gamma=gamma).score(TARGET, SHADOW, IN_MASK, population=others)
        if gamma == 1.0:  # x's second ratio and z's second are both 1 up to rounding: a tie that may go either way
            assert scores[0] == 1.0
            assert scores[1] in (1 / 3, 2 / 3)
        else:
            np.testing.assert_array_equal(scores, expected)


def test_several_queries_vote_in_a_worked_example() -> None:
    """Ratios of x: 4, 1, 3 in three queries, so two of three are at least 2 and one is at least 3.5."""
    x = np.log([[[4.0, 1.0, 3.0]], [[1.0, 1.0, 9.0]]])
    np.testing.assert_array_equal(rmia(x, np.log([[2.0, 3.5, 0.5]] * 2)), [[2 / 3], [1 / 3]])
    even = np.log([[2.0, 1.0]])  # one of two is no majority
    np.testing.assert_array_equal(rmia(even, np.log([1.5, 0.5])), [0.5])


def test_ramia_averages_the_upper_scores() -> None:
    phi, in_mask = leaky(queries=4)
    each = np.sort([LiRA().score(phi[0, :, q], phi[1:, :, q], in_mask[1:]) for q in range(4)], axis=0)
    np.testing.assert_allclose(RaMIA().score(phi[0], phi[1:], in_mask[1:]), each[2:].mean(0), rtol=1e-12)
    np.testing.assert_allclose(RaMIA(low=1.0).score(phi[0], phi[1:], in_mask[1:]), each[3], rtol=1e-12)
    middle = RaMIA(low=0.25, high=0.75).score(phi[0], phi[1:], in_mask[1:])
    np.testing.assert_allclose(middle, each[1:3].mean(0), rtol=1e-12)
    one = RaMIA().score_all(phi[..., :1], in_mask)
    np.testing.assert_array_equal(one, LiRA().score_all(phi[..., 0], in_mask))


# --- far out: nothing saturates ---------------------------------------------------------------------------------


def test_ratios_keep_their_digits_where_p_is_near_0_and_near_1() -> None:
    """phi = 60 and 61, shadows at 59 IN and 58 OUT: log p = -e^-phi to within e^-120."""
    in_mask = np.repeat([[True], [False]], 2, axis=1)
    sure = log_ratio(np.array([[60.0], [61.0]]), np.array([[[59.0]] * 2, [[58.0]] * 2]), in_mask)
    expected = (np.exp(-59) + np.exp(-58)) / 2 - np.exp([-60, -61])
    np.testing.assert_allclose(sure[:, 0], expected, rtol=1e-14)
    wrong = log_ratio(np.array([[-2000.0], [-1000.0]]), np.array([[[-1500.0]] * 2, [[-1501.0]] * 2]), in_mask)
    p = -1500 + np.log((1 + np.exp(-1)) / 2)
    np.testing.assert_allclose(wrong[:, 0], [-2000 - p, -1000 - p], rtol=1e-14)
    guess = {"mode": "offline", "offline_a": 0.3}
    half = log_ratio(np.array([[60.0], [-900.0]]), np.array([[[0.0]] * 2, [[59.0], [-800.0]]]), in_mask, **guess)
    np.testing.assert_allclose(half[:, 0], [0.65 * np.exp(-59) - np.exp(-60), -900 - np.log(0.35)], rtol=1e-14)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), temperature=st.floats(0.3, 5), a=st.floats(0, 1))
def test_ratios_agree_with_plain_probabilities_where_those_do_not_saturate(
    seed: int, temperature: float, a: float
) -> None:
    phi, in_mask = leaky(seed, 8, 20, 2)
    p = special.expit(phi / temperature)
    count = in_mask.sum(0)[:, None]
    inside = np.where(in_mask[:, :, None], p, 0).sum(0) / count
    out = np.where(in_mask[:, :, None], 0, p).sum(0) / (8 - count)
    found = log_ratio(phi[0], phi, in_mask, temperature=temperature)
    np.testing.assert_allclose(found, np.log(p[0] / ((inside + out) / 2)), rtol=1e-9, atol=1e-12)
    found = log_ratio(phi[0], phi, in_mask, mode="offline", offline_a=a, temperature=temperature)
    np.testing.assert_allclose(found, np.log(p[0] / (((1 + a) * out + 1 - a) / 2)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_leaving_one_out_in_one_pass_is_a_loop_over_targets(mask: str, mode: str) -> None:
    rng = np.random.default_rng(5)
    in_mask = MASKS[mask](rng, 10, 300)
    phi = rng.normal(0, 30, size=(10, 300, 2))
    everyone = log_ratio_leave_one_out(phi, in_mask, mode=mode, offline_a=0.4)
    same_counts = has_fixed_counts(in_mask)
    assert same_counts == (mask == "balanced")
    for target in range(10):
        sides = sides_without(in_mask, target, same_counts=same_counts)
        out, inside = (_plain_log_mean(phi, use) for use in sides[::-1])
        expected = special.log_expit(phi[target])
        with np.errstate(invalid="ignore"):
            mixed = np.logaddexp(out, inside) if mode == "online" else np.logaddexp(out + np.log(1.4), np.log(0.6))
        np.testing.assert_allclose(everyone[target], expected - mixed + np.log(2), rtol=1e-9, atol=1e-12)


def _plain_log_mean(phi: np.ndarray, use: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        count = np.log(use.sum(0))[:, None]
        total = special.logsumexp(np.where(use[:, :, None], special.log_expit(phi), -np.inf), axis=0) - count
    return np.where(use.any(0)[:, None], total, np.nan)


# --- the search is the matrix -----------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), gamma=st.floats(0.1, 10), dtype=st.sampled_from([np.float32, np.float64]))
def test_the_search_finds_the_matrix_s_counts_bit_for_bit(seed: int, gamma: float, dtype: type) -> None:
    """Half of the ratios lie at, or a rounding away from, gamma times a population record's."""
    rng = np.random.default_rng(seed)
    z = (rng.normal(size=150) * 10.0 ** rng.integers(-8, 8)).astype(dtype)
    x = np.concatenate([rng.normal(size=100) * z.std(), rng.choice(z, 100) + math.log(gamma)]).astype(dtype)
    x[::3] = np.nextafter(x[::3], dtype(np.inf))
    plain = (x[:, None].astype(float) - z.astype(float) >= math.log(gamma)).sum(1) / 150
    found = rmia(x[:, None], z, gamma=gamma)
    np.testing.assert_array_equal(found, plain.astype(dtype))


def test_the_search_equals_the_matrix_at_full_size() -> None:
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(50_000, 1)).round(3), rng.normal(size=1000).round(3)
    with mf.backend("numpy"):
        expected = rmia(x, z, gamma=1.25)
    np.testing.assert_array_equal(rmia(x, z, gamma=1.25), expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), gamma=st.floats(0.2, 5), mode=st.sampled_from(["online", "offline"]))
def test_one_target_and_query_is_monotone_in_the_ratio_whatever_gamma_is(seed: int, gamma: float, mode: str) -> None:
    """BASE's claim: RMIA's score is a non-decreasing function of BASE's, by the population's distribution function."""
    phi, in_mask = leaky(seed)
    ratio = BASE(mode, offline_a=0.3).score(phi[0], phi[1:], in_mask[1:])
    others, _ = leaky(seed + 1, records=50)
    score = RMIA(mode, gamma=gamma).score(phi[0], phi[1:], in_mask[1:], population=(others[0], others[1:]))
    order = np.argsort(ratio, kind="stable")
    assert (np.diff(score[order]) >= 0).all()
    ratio_z = BASE("offline", 1.0 if mode == "online" else 0.3).score(
        others[0], others[1:], np.zeros(others[1:].shape[:2], bool)
    )
    expected = (ratio[:, None] - ratio_z >= math.log(gamma)).mean(1)
    np.testing.assert_array_equal(score, expected)


def test_base_and_rmia_have_the_same_roc_up_to_the_population_s_ties() -> None:
    phi, in_mask = leaky(3, 12, 2000)
    base, rmia_ = (attack.score(phi[0], phi[1:], in_mask[1:]) for attack in (BASE(), RMIA()))
    is_member = np.random.default_rng(0).random(2000) < 0.5
    assert auc(base, is_member) == pytest.approx(auc(rmia_, is_member), abs=1e-12)  # the pool ties nobody with gamma 1
    few = RMIA().score(phi[0], phi[1:], in_mask[1:], population=np.arange(5))
    assert len(np.unique(few)) <= 11
    assert len(np.unique(base)) == 2000


def test_a_record_is_never_compared_with_itself() -> None:
    phi, in_mask = leaky()
    for gamma in (0.9, 1.0, 1.1):
        pool = RMIA(gamma=gamma).score(phi[0], phi[1:], in_mask[1:])
        ratio = BASE().score(phi[0], phi[1:], in_mask[1:])
        dominates = ratio[:, None] - ratio >= math.log(gamma)
        np.fill_diagonal(dominates, False)
        np.testing.assert_array_equal(pool, dominates.sum(1) / 79)
        columns = np.array([7, 3, 50])
        some = RMIA(gamma=gamma).score(phi[0], phi[1:], in_mask[1:], population=columns)
        expected = dominates[:, columns].sum(1) / np.where(np.isin(np.arange(80), columns), 2, 3)
        np.testing.assert_array_equal(some, expected)


def test_temperature_is_exact_for_two_classes_and_bounded_for_more() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 3, 10):
        logits, labels = rng.normal(0, 3, size=(500, classes)), rng.integers(classes, size=500)
        phi = mf.logit_confidence(logits, labels)
        for temperature in (1.0, 1.5, 4.0):
            softened = mf.logit_confidence(logits / temperature, labels)
            assert (softened <= phi / temperature + 1e-9).all()
            slack = (1 - 1 / temperature) * np.log(max(classes - 1, 1))
            assert (softened >= phi / temperature - slack - 1e-9).all()


# --- nothing leaks, something leaks -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::miafast.attacks.UnscoredRecordsWarning")
@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("queries", [1, 3])
def test_pure_noise_is_at_auc_one_half(attack: object, mask: str, queries: int) -> None:
    rng = np.random.default_rng(17 + queries)
    phi = 2 * rng.normal(size=(NOISE_MODELS, NOISE_RECORDS // 2, queries))
    in_mask = MASKS[mask](rng, *phi.shape[:2])
    assert abs(departure(attack.score_all(phi, in_mask), in_mask)) < 3
    target, is_member = 2 * rng.normal(size=phi.shape[1:]), rng.random(phi.shape[1]) < 0.5
    assert abs(departure(attack.score(target, phi, in_mask)[None], is_member[None])) < 3


@pytest.mark.filterwarnings("ignore::miafast.attacks.UnscoredRecordsWarning")
@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_pure_noise_with_known_non_members_is_at_auc_one_half(mask: str, mode: str) -> None:
    rng = np.random.default_rng(19)
    phi, others = 2 * rng.normal(size=(NOISE_MODELS, 3000)), 2 * rng.normal(size=(NOISE_MODELS, 200))
    in_mask = MASKS[mask](rng, *phi.shape)
    attack = RMIA(mode, gamma=1.5)
    for population in (others, np.arange(0, 3000, 7)):
        assert abs(departure(attack.score_all(phi, in_mask, population=population), in_mask)) < 3
    target, is_member = 2 * rng.normal(size=3000), rng.random(3000) < 0.5
    scores = attack.score(target, phi, in_mask, population=(2 * rng.normal(size=200), others))
    assert abs(departure(scores[None], is_member[None])) < 3


def test_the_noise_test_would_see_unequal_counts() -> None:
    """A mean of exponentials over fewer models is lower on the log scale: a plain loop is off ½ offline."""
    rng = np.random.default_rng(1)
    in_mask = MASKS["balanced"](rng, 6, NOISE_RECORDS)
    phi = 2 * rng.normal(size=in_mask.shape) - 3
    others = [np.arange(6) != target for target in range(6)]
    naive = np.stack([BASE("offline").score(phi[t], phi[o], in_mask[o]) for t, o in enumerate(others)])
    assert abs(departure(naive, in_mask)) > 4
    assert abs(departure(BASE("offline").score_all(phi, in_mask), in_mask)) < 3


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_planted_leak_is_found(attack: object) -> None:
    """Records differ in level, so that the loss threshold is at .75: whoever compares with shadows must beat it."""
    phi, in_mask = leaky(7, 16, 1500, 3)
    level = 0.7 if "Threshold" in repr(attack) else auc(Threshold().score_all(phi), in_mask) + 0.09
    assert auc(attack.score_all(phi, in_mask)[6:], in_mask[6:]) > level
    is_member = np.random.default_rng(0).random(1500) < 0.5
    others = np.arange(16) != 2
    scores = attack.score(phi[2] + 2.0 * is_member[:, None], phi[others], in_mask[others])
    assert scores.shape == (1500,)
    assert auc(scores, is_member) > level


def test_the_likelihood_ratio_is_as_good_as_the_best_test_where_ratios_are_all_there_is() -> None:
    """Two levels of p: members of one model have p = .9, others .6, for all records; any ranking by p is optimal."""
    rng = np.random.default_rng(3)
    in_mask = rng.random((8, 4000)) < 0.5
    in_mask[:2], in_mask[2:4] = True, False
    p = np.where(in_mask, 0.9, 0.6) * np.exp(-0.1 * rng.random((8, 4000)))
    best = auc(p[4:], in_mask[4:])
    found = auc(BASE().score_all(logit(p), in_mask)[4:], in_mask[4:])
    assert found == pytest.approx(best, abs=1e-3)
    assert best > 0.999


def test_ramia_finds_one_member_in_a_range() -> None:
    """One of ten copies was trained on: the top of the range shows it, the mean of all hides most of it."""
    rng = np.random.default_rng(4)
    phi = rng.normal(size=(12, 2000, 10))
    in_mask = rng.random((12, 2000)) < 0.5
    in_mask[:2], in_mask[2:4] = True, False
    which = rng.integers(10, size=2000)
    shift = np.zeros((12, 2000, 10))
    shift[:, np.arange(2000), which] = 3.0
    phi += shift * in_mask[:, :, None]
    top, whole = (auc(RaMIA(Threshold(), low=low).score_all(phi), in_mask) for low in (0.9, 0.0))
    assert top > 0.85
    assert top > auc(Threshold().score_all(phi[..., :1]), in_mask) + 0.25
    assert top > whole


# --- tuning -----------------------------------------------------------------------------------------------------


def test_tuning_takes_the_best_a_on_a_shadow_and_changes_nothing_else() -> None:
    phi, in_mask = leaky(1, 10, 1500)
    attack = RMIA("offline", gamma=1.2)
    tuned = attack.tune_offline_a(phi, in_mask, target=7)
    rest = np.arange(10) != 7
    aucs = [auc(RMIA("offline", 1.2, a).score(phi[7], phi[rest], in_mask[rest]), in_mask[7]) for a in GRID]
    assert aucs[GRID.index(tuned.offline_a)] == pytest.approx(max(aucs), abs=1e-12)
    assert tuned == RMIA("offline", 1.2, tuned.offline_a)
    assert max(aucs) > min(aucs) + 0.01  # there was something to choose


def test_a_tuned_attack_is_the_best_of_the_grid_on_its_first_mixed_shadow() -> None:
    phi, in_mask = leaky(1, 12, 1500)
    covered = ~in_mask[5:].all(axis=0)  # the others have no OUT model, and no score
    phi, in_mask = phi[:, covered], in_mask[:, covered]
    aucs = [auc(RMIA("offline", 1.0, a).score(phi[4], phi[5:], in_mask[5:]), in_mask[4]) for a in GRID]
    best = max(range(11), key=lambda which: (round(aucs[which], 12), which))
    expected = RMIA("offline", 1.0, GRID[best]).score(phi[0], phi[4:], in_mask[4:])
    np.testing.assert_array_equal(TunedRMIA().score(phi[0], phi[4:], in_mask[4:]), expected)
    assert max(aucs) > min(aucs) + 0.005
    assert TunedRMIA(RMIA("offline", 2.0)).name == "RMIA offline, gamma 2, a tuned"
    with pytest.raises(ValueError, match="has no offline_a to tune"):
        TunedRMIA(RMIA())
    with pytest.raises(ValueError, match="no shadow with IN and OUT"):
        TunedRMIA().score(phi[0], phi[1:3], np.ones((2, phi.shape[1]), bool))


def test_tuning_refuses_what_it_cannot_tune() -> None:
    phi, in_mask = leaky()
    with pytest.raises(ValueError, match=r"mode='online' has no offline_a to tune; make it RMIA\(mode='offline'\)"):
        RMIA().tune_offline_a(phi, in_mask)
    with pytest.raises(ValueError, match="target=2 is a shadow without IN"):
        RMIA("offline").tune_offline_a(phi, in_mask, target=2)
    with pytest.raises(ValueError, match="target=12 is no model of shadow; give an index from 0 to 11"):
        RMIA("offline").tune_offline_a(phi, in_mask, target=12)


# --- kinds, names, refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_results_are_of_the_caller_s_kind_and_precision(attack: object) -> None:
    torch = pytest.importorskip("torch")
    phi, in_mask = leaky(queries=2)
    for dtype, result in ((np.float32, np.float32), (np.float64, np.float64)):
        expected = attack.score_all(phi.astype(dtype), in_mask)
        assert expected.dtype == result
        got = attack.score_all(torch.from_numpy(phi.astype(dtype)), torch.from_numpy(in_mask))
        assert isinstance(got, torch.Tensor)
        np.testing.assert_array_equal(got.numpy(), expected)
        flat = attack.score(torch.from_numpy(phi[0, :, 0].astype(dtype)), torch.from_numpy(phi[1:, :, 0].astype(dtype)),
                            torch.from_numpy(in_mask[1:]))  # fmt: skip
        assert flat.shape == (80,)


@pytest.mark.parametrize("population", ["columns", "pair"])
def test_a_population_may_be_tensors(population: str) -> None:
    torch = pytest.importorskip("torch")
    phi, in_mask = leaky()
    others, _ = leaky(9, records=30)
    arrays = [phi[0], phi[1:], in_mask[1:]]
    given_ = (others[0], others[1:]) if population == "pair" else np.arange(9)
    theirs = tuple(map(torch.from_numpy, given_)) if population == "pair" else torch.from_numpy(given_)
    expected = RMIA(gamma=1.3).score(*arrays, population=given_)
    got = RMIA(gamma=1.3).score(*map(torch.from_numpy, arrays), population=theirs)
    np.testing.assert_array_equal(got.numpy(), expected)


def test_attacks_say_what_they_are() -> None:
    assert [attack.name for attack in ATTACKS] == [
        "RMIA online", "RMIA online, gamma 2", "RMIA offline", "RMIA offline, a=1", "RMIA online, temperature 2",
        "RMIA online, mean of queries", "BASE online", "BASE offline", "BASE offline, a=0.3",
        "BASE online, temperature 3", "RaMIA, LiRA online", "RaMIA, RMIA online", "RaMIA, loss threshold, 0 to 0.8",
    ]  # fmt: skip
    assert all(attack.signals == ("phi",) for attack in ATTACKS)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RMIA("both"), "mode='both'"),
        (lambda: RMIA(gamma=0.0), "gamma=0.0; give a positive number"),
        (lambda: RMIA(gamma=math.inf), "gamma=inf"),
        (lambda: RMIA(gamma="1"), "gamma='1'"),
        (lambda: RMIA(offline_a=1.5), "offline_a=1.5; give a number from 0 to 1"),
        (lambda: RMIA(temperature=0), "temperature=0; give a number above 0"),
        (lambda: BASE(temperature=math.nan), "temperature=nan"),
        (lambda: RMIA(queries="max"), "queries='max'"),
        (lambda: RaMIA(low=0.9, high=0.5), "low=0.9, high=0.5; give quantiles"),
        (lambda: RaMIA(base=object()), "does not read one signal alone"),
    ],
)
def test_a_bad_option_is_refused_at_construction(make: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("population", "said"),
    [
        (np.ones(80, bool), "population has dtype bool.*np.flatnonzero of a mask"),
        (np.array([], int), r"population has dtype int64 and shape \(0,\)"),
        (np.array([0, 80]), r"population holds 0 … 80; columns go from 0 to 79"),
        (np.array([3, 3]), "columns names a record twice"),
        ((np.zeros(5),), "population is a tuple of 1; give a pair"),
        ((np.zeros(5), np.zeros((11, 4))), r"target has shape \(5, 1\)"),
        ((np.full(5, np.nan), np.zeros((11, 5))), "population's target holds 5 NaN"),
    ],
)
def test_a_bad_population_is_refused(population: object, said: str) -> None:
    phi, in_mask = leaky()
    with pytest.raises(ValueError, match=said):
        RMIA().score(phi[0], phi[1:], in_mask[1:], population=population)


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((np.zeros(3), np.zeros(2)), {}, r"log_ratio_x has shape \(3,\)"),
        ((np.zeros((3, 1)), np.zeros((2, 4))), {}, r"log_ratio_z has shape \(2, 4\); give \[..., population\]"),
        ((np.zeros((3, 1)), np.zeros(0)), {}, "at least one record"),
        ((np.zeros((3, 1), int), np.zeros(2)), {}, "log_ratio_x has dtype int64"),
        ((np.zeros((3, 1)), np.zeros(2)), {"columns": np.arange(3)}, r"columns has shape \(3,\)"),
        ((np.zeros((3, 1)), np.zeros(2)), {"columns": np.array([0, 3])}, "integers from 0 to 2"),
        ((np.zeros((3, 1)), np.zeros(2)), {"columns": [0, 1]}, "columns has type list"),
        ((np.zeros((3, 1)), np.zeros(2)), {"gamma": -1.0}, "gamma=-1.0"),
    ],
)
def test_the_op_refuses_what_does_not_fit(args: tuple, kwargs: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rmia(*args, **kwargs)


@pytest.mark.parametrize("attack", [each for each in ATTACKS if "Threshold" not in repr(each)], ids=repr)
def test_signals_that_are_not_finite_never_pass(attack: object) -> None:
    for value, row in itertools.product((np.nan, np.inf, -np.inf), (0, 5)):
        phi, in_mask = leaky()
        in_mask[row, 7], phi[row, 7, 0] = False, value  # an OUT signal: offline attacks read no others
        with pytest.raises(ValueError, match=r"holds 1 NaN or infinite values"):
            attack.score_all(phi, in_mask)
        with pytest.raises(ValueError, match=r"holds 1 NaN or infinite values"):
            attack.score(phi[0], phi[1:], in_mask[1:])


def test_a_record_without_in_models_is_nan_alone_and_fine_offline() -> None:
    phi, in_mask = leaky()
    in_mask[:, 4] = False
    with pytest.warns(UnscoredRecordsWarning, match=r"1 of 80 records \(first: 4\)"):
        scores = RMIA().score(phi[0], phi[1:], in_mask[1:])
    assert np.flatnonzero(np.isnan(scores)).tolist() == [4]
    left = np.delete(np.arange(80), 4)
    np.testing.assert_array_equal(scores[left], RMIA().score(phi[0, left], phi[1:, left], in_mask[1:, left]))
    assert np.isfinite(RMIA("offline").score(phi[0], phi[1:], in_mask[1:])).all()
    in_mask[:] = False
    in_mask[1:, ::2] = True
    with pytest.raises(ValueError, match=r"no record with enough.*mode='offline'"):
        BASE().score(phi[0], phi[1:], in_mask[1:])


def test_scores_do_not_depend_on_who_else_is_scored_but_through_the_population() -> None:
    phi, in_mask = leaky()
    columns = np.arange(10)
    everyone = RMIA().score(phi[0], phi[1:], in_mask[1:], population=columns)
    some = RMIA().score(phi[0, :30], phi[1:, :30], in_mask[1:, :30], population=columns)
    np.testing.assert_array_equal(everyone[:30], some)
    assert stats.rankdata(everyone).shape == (80,)
