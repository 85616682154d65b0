"""Roc against closed forms, scikit-learn and brute force; intervals against the coverage they promise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

import miafast as mf
from miafast.intervals import clopper_pearson, design_effect
from miafast.ops.auc_components import auc_components
from miafast.ops.dispatch import find_twin
from miafast.ops.roc_counts import roc_counts
from miafast.ops.tpr_at import allowed_false_positives, tpr_at

BACKENDS = [name for name in ("cpp", "numpy") if find_twin(roc_counts, name)[0] is not None]
Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def binormal(
    draw: np.random.Generator, members: int, non_members: int, shift: float, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    scores = np.concatenate([draw.normal(shift, scale, members), draw.normal(size=non_members)])
    return scores, np.arange(scores.size) < members


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A few scores with many ties, and at least one member and one non-member."""
    size = draw(st.integers(2, 40))
    scores = draw(
        st.lists(st.sampled_from([-math.inf, -2.0, -0.0, 0.0, 0.5, 1.0, 3.0, math.inf]), min_size=size, max_size=size)
    )
    is_member = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    is_member[:2] = True, False
    return np.array(scores), is_member


# Closed forms


def test_perfect_separation() -> None:
    curve = mf.roc(np.arange(200.0), np.arange(200) >= 120)
    assert (curve.auc, curve.balanced_accuracy, curve.true_positives_before_first_false_positive) == (1.0, 1.0, 80)
    assert curve.tpr_at(0.01) == 1.0
    assert curve.auc_interval()[1] == 1.0
    assert curve.auc_interval()[0] < 0.97


def test_equal_scores_say_nothing() -> None:
    curve = mf.roc(np.zeros(50), np.arange(50) < 20)
    assert (curve.auc, curve.balanced_accuracy, curve.tpr_at(0.5)) == (0.5, 0.5, 0.0)
    assert curve.true_positives_before_first_false_positive == 0
    np.testing.assert_array_equal(curve.fpr, [0, 1])
    np.testing.assert_array_equal(curve.tpr, [0, 1])
    np.testing.assert_array_equal(curve.thresholds, [np.inf, 0])
    assert curve.precision_at(0.5, prior=0.5) == 0.0


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_binormal(shift: float) -> None:
    curve = mf.roc(*binormal(np.random.default_rng(1), 100_000, 100_000, shift))
    assert curve.auc == pytest.approx(stats.norm.cdf(shift / math.sqrt(2)), abs=0.005)
    assert curve.balanced_accuracy == pytest.approx(stats.norm.cdf(shift / 2), abs=0.01)
    for fpr in (0.1, 0.01):
        assert curve.tpr_at(fpr) == pytest.approx(stats.norm.sf(stats.norm.isf(fpr) - shift), abs=0.015)


def test_infinite_scores_are_ordered() -> None:
    curve = mf.roc(np.array([np.inf, np.inf, 1.0, -np.inf]), np.array([True, False, True, False]))
    np.testing.assert_array_equal(curve.thresholds, [np.inf, np.inf, 1, -np.inf])
    np.testing.assert_array_equal(curve.true_positives, [0, 1, 2, 2])
    np.testing.assert_array_equal(curve.false_positives, [0, 1, 1, 2])
    assert curve.true_positives_before_first_false_positive == 0


def test_precision_uses_the_rate_that_ties_allow() -> None:
    scores = np.repeat([3.0, 2.0, 1.0], [4, 6, 10])  # at FPR <= 0.5 only the top four may be called: FPR 0.1
    is_member = np.array([1, 1, 1, 0] + [1, 0, 0, 0, 0, 0] + [1] * 6 + [0] * 4) == 1
    curve = mf.roc(scores, is_member)
    assert (curve.tpr_at(0.5), curve.members, curve.non_members) == (0.3, 10, 10)
    assert curve.precision_at(0.5, prior=0.2) == pytest.approx(0.2 * 0.3 / (0.2 * 0.3 + 0.8 * 0.1))


# Against scikit-learn and brute force


@pytest.mark.parametrize("where", BACKENDS)
@pytest.mark.parametrize("digits", [0, 1, 2, 8])
def test_same_as_scikit_learn(where: str, digits: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, is_member = binormal(np.random.default_rng(digits), 3000, 4000, 0.7)
    scores = scores.round(digits)
    fpr, tpr, thresholds = metrics.roc_curve(is_member, scores, drop_intermediate=False)
    with mf.backend(where):
        curve = mf.roc(scores, is_member)
        few = tpr_at(scores, is_member, [0.1, 0.01, 0.001])
    np.testing.assert_allclose(curve.fpr, fpr, rtol=0, atol=1e-15)
    np.testing.assert_allclose(curve.tpr, tpr, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    assert curve.auc == pytest.approx(metrics.roc_auc_score(is_member, scores), abs=1e-12)
    np.testing.assert_array_equal(few, [curve.tpr_at(each) for each in (0.1, 0.01, 0.001)])


@pytest.mark.parametrize("where", BACKENDS)
@given(both=scored(), fpr=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_tpr_at_is_the_best_over_all_thresholds(where: str, both: tuple[np.ndarray, np.ndarray], fpr: float) -> None:
    scores, is_member = both
    best = 0.0
    for threshold in scores:
        called = scores >= threshold
        if (called & ~is_member).sum() / (~is_member).sum() <= fpr:
            best = max(best, (called & is_member).sum() / is_member.sum())
    with mf.backend(where):
        assert tpr_at(scores, is_member, [fpr])[0] == best


@given(both=scored())
@settings(max_examples=60, deadline=None)
def test_auc_is_the_share_of_pairs_in_order(both: tuple[np.ndarray, np.ndarray]) -> None:
    scores, is_member = both
    members, non_members = scores[is_member][:, None], scores[~is_member]
    expected = ((members > non_members) + (members == non_members) / 2).mean()
    curve = mf.roc(scores, is_member)
    assert curve.auc == pytest.approx(expected, abs=1e-12)
    assert mf.roc(scores, ~is_member).auc == pytest.approx(1 - expected, abs=1e-12)
    assert mf.roc(-scores, is_member).auc == pytest.approx(1 - expected, abs=1e-12)


@given(both=scored())
@settings(max_examples=60, deadline=None)
def test_increasing_transforms_change_nothing_but_thresholds(both: tuple[np.ndarray, np.ndarray]) -> None:
    scores, is_member = both
    one, other = mf.roc(scores, is_member), mf.roc(np.arctan(scores) * 3 + 7, is_member)
    np.testing.assert_array_equal(one.true_positives, other.true_positives)
    np.testing.assert_array_equal(one.false_positives, other.false_positives)


@given(non_members=st.integers(1, 3000), fpr=st.floats(0, 1))
def test_allowed_false_positives_is_the_largest_count_within_the_rate(non_members: int, fpr: float) -> None:
    allowed = int(allowed_false_positives(fpr, non_members))
    assert allowed / non_members <= fpr < (allowed + 1) / non_members


@pytest.fixture
def each_instruction_set() -> Iterator[list[str]]:
    native = pytest.importorskip("miafast._native")
    before = native.isa()
    yield native.isas()
    native.limit_isa(before)


def test_every_instruction_set_counts_the_same(each_instruction_set: list[str]) -> None:
    from miafast import _native

    scores, is_member = binormal(np.random.default_rng(3), 70_001, 90_002, 1.0)
    for dtype in (np.float32, np.float64):
        with mf.backend("numpy"):
            expected = tpr_at(scores.astype(dtype), is_member, [0.2, 1e-2, 1e-4])
        for isa in each_instruction_set:
            _native.limit_isa(isa)
            with mf.backend("cpp"):
                np.testing.assert_array_equal(tpr_at(scores.astype(dtype), is_member, [0.2, 1e-2, 1e-4]), expected)


def test_other_kinds_of_arrays() -> None:
    torch = pytest.importorskip("torch")
    scores, is_member = binormal(np.random.default_rng(4), 60, 70, 1.0)
    halves = torch.tensor(scores).bfloat16().requires_grad_()
    curve = mf.roc(halves, torch.tensor(is_member))
    assert curve.auc == mf.roc(halves.detach().double().numpy(), is_member).auc
    assert tpr_at(torch.tensor(scores), torch.tensor(is_member), [0.1])[0].item() == mf.roc(scores, is_member).tpr_at(
        0.1
    )
    whole = (scores * 10).astype(np.int16)
    assert mf.roc(whole, is_member).auc == mf.roc(whole.astype(float), is_member).auc


# Several targets


def test_targets_are_pooled_and_also_told_apart() -> None:
    draw = np.random.default_rng(5)
    is_member = draw.random((3, 500)) < 0.5
    scores = draw.normal(size=(3, 500)) + is_member + np.arange(3)[:, None]
    curve = mf.roc(scores, is_member)
    assert (curve.targets, curve.members + curve.non_members) == (3, 1500)
    assert curve.auc == mf.roc(scores.ravel(), is_member.ravel()).auc
    alone = [mf.roc(scores[target], is_member[target]) for target in range(3)]
    np.testing.assert_array_equal(curve.per_target_auc, [each.auc for each in alone])
    np.testing.assert_array_equal(curve.per_target_tpr_at(0.02), [each.tpr_at(0.02) for each in alone])
    np.testing.assert_array_equal(alone[1].per_target_auc, [alone[1].auc])


def test_one_target_is_its_row() -> None:
    scores, is_member = binormal(np.random.default_rng(6), 300, 300, 1.0)
    flat, row = mf.roc(scores, is_member), mf.roc(scores[None], is_member[None])
    assert flat.interval(0.05) == row.interval(0.05)
    assert flat.auc_interval() == row.auc_interval()


# Intervals


def test_clopper_pearson_tails() -> None:
    low, high = clopper_pearson(np.array([3, 0, 20]), 20, 0.025)
    assert stats.binom.sf(2, 20, low[0]) == pytest.approx(0.025)
    assert stats.binom.cdf(3, 20, high[0]) == pytest.approx(0.025)
    assert (low[1], high[2]) == (0.0, 1.0)


def test_without_false_positives_to_expect_the_lower_bound_is_zero() -> None:
    """With 3 expected, none at all has probability e^-3 > 2.5 %: the threshold may be anywhere above all others."""
    curve = mf.roc(np.arange(4000.0), np.arange(4000) >= 3000)
    assert curve.interval(0.001)[0] == 0.0
    assert curve.interval(0.01)[0] > 0.99


def test_intervals_many_at_once_and_wider_with_confidence() -> None:
    curve = mf.roc(*binormal(np.random.default_rng(7), 2000, 2000, 1.0))
    fprs = np.geomspace(1e-3, 0.5, 40)
    low, high = curve.intervals(fprs)
    assert [(float(a), float(b)) for a, b in zip(low, high, strict=True)] == [curve.interval(each) for each in fprs]
    tpr = np.array([curve.tpr_at(each) for each in fprs])
    assert np.all((low <= tpr) & (tpr <= high) & (low >= 0) & (high <= 1))
    wider = curve.intervals(fprs, confidence=0.99)
    assert np.all((wider[0] <= low) & (high <= wider[1]))
    assert curve.auc_interval(0.99)[0] < curve.auc_interval()[0] < curve.auc < curve.auc_interval()[1]


def test_design_effect_of_copies_and_of_independent_rows() -> None:
    draw = np.random.default_rng(8)
    rows = np.full(4000, 8)
    copies = 8 * (draw.random(4000) < 0.2)
    assert design_effect(copies, rows)[0] == pytest.approx(8, rel=0.06)
    assert design_effect(draw.binomial(8, 0.2, 4000), rows)[0] == pytest.approx(1, rel=0.08)
    assert design_effect(np.zeros(4000), rows)[0] == 8  # nothing seen: as if every row were a copy


def test_copies_of_one_target_add_no_certainty() -> None:
    scores, is_member = binormal(np.random.default_rng(9), 2000, 2000, 1.0)
    one = mf.roc(scores, is_member)
    copies = mf.roc(np.tile(scores, (8, 1)), np.tile(is_member, (8, 1)))
    for fpr in (0.1, 0.02):
        widths = [high - low for low, high in (one.interval(fpr), copies.interval(fpr))]
        assert widths[1] == pytest.approx(widths[0], rel=0.2)
    assert copies.auc_interval() == pytest.approx(one.auc_interval(), abs=1e-4)


def covered(draws: Draw, tpr: dict[float, float], auc: float, repeats: int, seed: int) -> dict[str, float]:
    """Share of repeats in which the 95 % intervals hold the true value, and of those that a naive binomial one does."""
    draw = np.random.default_rng(seed)
    hits = {**{f"{fpr:g}": 0 for fpr in tpr}, "auc": 0, "naive": 0}
    for _ in range(repeats):
        curve = mf.roc(*draws(draw))
        low, high = curve.intervals(np.array(list(tpr)))
        for index, (fpr, truth) in enumerate(tpr.items()):
            hits[f"{fpr:g}"] += bool(low[index] <= truth <= high[index])
        bounds = curve.auc_interval()
        hits["auc"] += bounds[0] <= auc <= bounds[1]
        last = min(tpr)
        naive = clopper_pearson(curve.tpr_at(last) * curve.members, curve.members, 0.025)
        hits["naive"] += bool(naive[0] <= tpr[last] <= naive[1])
    return {name: count / repeats for name, count in hits.items()}


BINORMAL = [  # members, non-members, shift, scale, FPRs
    pytest.param(5000, 5000, 1.0, 1.0, (0.1, 0.01, 0.001), id="usual"),
    pytest.param(5000, 5000, 0.0, 1.0, (0.1, 0.01, 0.001), id="no-leak"),
    pytest.param(5000, 5000, 2.5, 1.0, (0.1, 0.01, 0.001), id="strong"),
    pytest.param(500, 500, 1.0, 1.0, (0.1, 0.01), id="small"),
    pytest.param(200, 20_000, 1.0, 1.5, (0.1, 0.001), id="few-members"),
]


def _check_binormal(
    members: int, non_members: int, shift: float, scale: float, fprs: tuple[float, ...], repeats: int, least: float
) -> None:
    tpr = {fpr: float(stats.norm.sf((stats.norm.isf(fpr) - shift) / scale)) for fpr in fprs}
    auc = float(stats.norm.cdf(shift / math.hypot(1, scale)))
    share = covered(lambda draw: binormal(draw, members, non_members, shift, scale), tpr, auc, repeats, seed=10)
    naive = share.pop("naive")
    assert min(share.values()) >= least, share
    if shift > 0 and members >= non_members:
        assert naive < 0.75, "the threshold's noise is no longer what this test is about"


@pytest.mark.parametrize(("members", "non_members", "shift", "scale", "fprs"), BINORMAL)
def test_intervals_cover(members: int, non_members: int, shift: float, scale: float, fprs: tuple[float, ...]) -> None:
    _check_binormal(members, non_members, shift, scale, fprs, repeats=200, least=0.91)  # 0.95 less 2.6 standard errors


@pytest.mark.slow
@pytest.mark.parametrize(("members", "non_members", "shift", "scale", "fprs"), BINORMAL)
def test_intervals_cover_closely(
    members: int, non_members: int, shift: float, scale: float, fprs: tuple[float, ...]
) -> None:
    _check_binormal(members, non_members, shift, scale, fprs, repeats=4000, least=0.938)


@pytest.mark.parametrize(("each", "levels", "fpr"), [(500, 5, 0.2), (500, 7, 0.15), (500, 7, 0.3), (3000, 33, 0.15)])
def test_intervals_cover_where_scores_tie(each: int, levels: int, fpr: float) -> None:
    """Normal scores of so many levels, equally likely for non-members: one step of the ROC decides."""
    draw, is_member = np.random.default_rng(13), np.arange(2 * each) < each
    edges = stats.norm.ppf(np.arange(1, levels) / levels)
    tpr = float(stats.norm.sf(edges - 1.0)[stats.norm.sf(edges) <= fpr + 1e-9].max())
    covers = []
    for _ in range(300):
        scores = np.digitize(draw.normal(size=2 * each) + is_member, edges)
        low, high = mf.roc(scores, is_member).interval(fpr)
        covers.append(low <= tpr <= high)
    assert np.mean(covers) >= 0.91


def own_vulnerability(draw: np.random.Generator, targets: int, records: int) -> tuple[np.ndarray, np.ndarray]:
    """Records leak each in their own measure."""
    is_member = draw.random((targets, records)) < 0.5
    return draw.normal(size=is_member.shape) + is_member * np.exp(draw.normal(-1, 1.2, records)), is_member


def easy_records(draw: np.random.Generator, targets: int, records: int) -> tuple[np.ndarray, np.ndarray]:
    """A loss threshold's scores: easy records score high, member or not."""
    scores, is_member = own_vulnerability(draw, targets, records)
    return scores + 3 * draw.normal(size=records), is_member


def few_vulnerable(draw: np.random.Generator, targets: int, records: int) -> tuple[np.ndarray, np.ndarray]:
    """One record in fifty leaks all, the others nothing."""
    is_member = draw.random((targets, records)) < 0.5
    return draw.normal(size=is_member.shape) + is_member * 6.0 * (draw.random(records) < 0.02), is_member


def _check_clustered(kind: Callable[..., tuple[np.ndarray, np.ndarray]], repeats: int, least: float) -> None:
    scores, is_member = kind(np.random.default_rng(11), 2, 400_000)
    truth = mf.roc(scores.ravel(), is_member.ravel())
    tpr = {fpr: truth.tpr_at(fpr) for fpr in (0.1, 0.01, 0.001)}
    share = covered(lambda draw: kind(draw, 16, 1000), tpr, truth.auc, repeats, seed=12)
    naive = share.pop("naive")
    assert min(share.values()) >= least, share
    assert naive < 0.75


@pytest.mark.parametrize("kind", [own_vulnerability, easy_records, few_vulnerable])
def test_pooled_intervals_count_records(kind: Callable[..., tuple[np.ndarray, np.ndarray]]) -> None:
    _check_clustered(kind, repeats=120, least=0.9)  # 0.95 less 2.5 standard errors


@pytest.mark.slow
@pytest.mark.parametrize("kind", [own_vulnerability, easy_records, few_vulnerable])
def test_pooled_intervals_count_records_closely(kind: Callable[..., tuple[np.ndarray, np.ndarray]]) -> None:
    _check_clustered(kind, repeats=2000, least=0.93)


# Errors


def test_too_few_non_members_says_how_many_and_what_else() -> None:
    curve = mf.roc(np.arange(1000.0), np.arange(1000) % 2 == 0)
    message = r"^fpr=0\.0001 cannot be measured with 500 non-members; audit at least 10,000 or ask for fpr >= 0\.002\.$"
    for ask in (curve.tpr_at, curve.interval, lambda fpr: curve.precision_at(fpr, prior=0.5)):
        with pytest.raises(ValueError, match=message):
            ask(1e-4)
    assert (curve.measurable(0.002), curve.measurable(0.0019)) == (True, False)
    odd = mf.roc(np.arange(13.0), np.arange(13) < 6)  # 1/7 rounded up, so that asking for it works
    with pytest.raises(ValueError, match=r"ask for fpr >= 0\.15\."):
        odd.tpr_at(0.1)
    assert odd.measurable(0.15)


@pytest.mark.parametrize("fpr", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_rates_outside_zero_one(fpr: float) -> None:
    curve = mf.roc(np.arange(4.0), np.arange(4) % 2 == 0)
    for ask in (curve.tpr_at, curve.interval, curve.measurable, curve.per_target_tpr_at):
        with pytest.raises(ValueError, match=r"fpr=.*between 0 and 1, both excluded"):
            ask(fpr)


def test_confidence_and_prior_outside_zero_one() -> None:
    curve = mf.roc(np.arange(4.0), np.arange(4) % 2 == 0)
    with pytest.raises(ValueError, match=r"confidence=95; give a probability"):
        curve.interval(0.5, confidence=95)
    with pytest.raises(ValueError, match=r"confidence=1; give a probability"):
        curve.auc_interval(confidence=1)
    with pytest.raises(ValueError, match=r"prior=0; give the share"):
        curve.precision_at(0.5, prior=0)


@pytest.mark.parametrize("where", BACKENDS)
@pytest.mark.parametrize("size", [40, 200_000])
def test_nan_scores_are_counted_and_refused(where: str, size: int) -> None:
    is_member = np.arange(size) % 2 == 0
    for dtype in (np.float32, np.float64):
        scores = np.arange(size, dtype=dtype)
        scores[[1, 6, 7]] = np.nan
        message = r"^scores holds 3 NaN; drop these records from scores and from is_member\.$"
        with mf.backend(where):
            with pytest.raises(ValueError, match=message):
                mf.roc(scores, is_member)
            with pytest.raises(ValueError, match=message):
                tpr_at(scores, is_member, [0.1])
            scores[[1, 7]] = 0.0  # only a member's is left
            with pytest.raises(ValueError, match=r"scores holds 1 NaN"):
                tpr_at(scores, is_member, [0.1])


@pytest.mark.parametrize(
    ("scores", "is_member", "message"),
    [
        (np.arange(4.0), np.array([0, 1, 0, 1]), r"is_member has dtype int64; give bool \(a 0/1 mask as is_mem"),
        (np.arange(4.0), np.ones(3, bool), r"scores has shape \(4,\) and is_member \(3,\)"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool), r"scores has shape \(2, 2, 2\); give \[records\]"),
        (np.zeros(0), np.zeros(0, bool), r"scores has shape \(0,\).*not empty"),
        (np.arange(4.0), np.zeros(4, bool), r"is_member holds no members among 4 scores"),
        (np.arange(4.0), np.ones(4, bool), r"is_member holds no non-members among 4 scores"),
        (np.array(["a", "b"]), np.array([True, False]), r"scores has dtype <U1; give real numbers"),
        (np.array([1j, 2]), np.array([True, False]), r"scores has dtype complex128; give real numbers"),
    ],
)  # fmt: skip
def test_bad_input(scores: np.ndarray, is_member: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mf.roc(scores, is_member)


@pytest.mark.parametrize(
    ("scores", "is_member", "fprs", "message"),
    [
        (np.arange(4), np.arange(4) > 1, [0.1], r"scores is an array of int64; give an array of floating-point scores"),
        ([1.0, 2.0], np.arange(2) > 0, [0.1], r"scores is of type list"),
        (np.arange(4.0), np.arange(4), [0.1], r"is_member is an array of int64; give an array of bool"),
        (np.arange(4.0), np.arange(3) > 1, [0.1], r"scores has shape \(4,\) and is_member \(3,\)"),
        (np.arange(4.0), np.arange(4) > 1, [1.1], r"fprs=\[1\.1\]; give a list of false-positive rates from 0 to 1"),
        (np.arange(4.0), np.arange(4) > 1, 0.1, r"fprs=0\.1; give a list"),
        (np.arange(4.0), np.arange(4) > 9, [0.1], r"is_member holds no members"),
        (np.arange(4.0), np.arange(4) > -1, [0.1], r"is_member holds no non-members"),
    ],
)  # fmt: skip
def test_bad_input_of_the_op(scores: object, is_member: object, fprs: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tpr_at(scores, is_member, fprs)


def test_targets_that_cannot_be_measured_alone() -> None:
    is_member = np.ones((3, 50), bool)
    is_member[0, :30] = is_member[2, :5] = False
    curve = mf.roc(np.random.default_rng(13).normal(size=(3, 50)), is_member)
    with pytest.raises(
        ValueError, match=r"an AUC cannot be measured for 1 of 3 targets; target 1 has 50 members and 0 non"
    ):
        curve.per_target_auc  # noqa: B018
    with pytest.raises(
        ValueError, match=r"fpr=0\.1 cannot be measured for 2 of 3 targets; target 1 .* 1 and 10 or more"
    ):
        curve.per_target_tpr_at(0.1)


@pytest.mark.parametrize("where", BACKENDS)
def test_components_of_the_auc_compare_every_pair(where: str) -> None:
    draw = np.random.default_rng(0)
    scores, is_member = draw.integers(0, 9, (3, 40)) / 4, draw.random((3, 40)) < 0.4
    members, others = scores[is_member], scores[~is_member]
    wins = (members[:, None] > others) + (members[:, None] == others) / 2
    expected = np.zeros_like(scores)
    expected[is_member] = (wins.mean(axis=1) - wins.mean()) / len(members)
    expected[~is_member] = (wins.mean(axis=0) - wins.mean()) / len(others)
    with mf.backend(where):
        found = auc_components(scores, is_member, *roc_counts(scores, is_member))
    np.testing.assert_allclose(found, expected.sum(axis=0), rtol=0, atol=1e-15)


def test_components_of_the_auc_want_the_curve_of_their_scores() -> None:
    scores, is_member = np.arange(6.0).reshape(2, 3), np.eye(2, 3, dtype=bool)
    curve = roc_counts(scores, is_member)
    with pytest.raises(ValueError, match=r"scores has shape \(6,\); give \[targets, records\]"):
        auc_components(scores.ravel(), is_member.ravel(), *curve)
    with pytest.raises(ValueError, match="differ in shape; give those of roc_counts"):
        auc_components(scores, is_member, curve.thresholds[1:], *curve[1:])
    with pytest.raises(ValueError, match="the curve counts 2 members and 4 non-members, is_member 4 and 2"):
        auc_components(scores, ~is_member, *curve)
    with pytest.raises(ValueError, match="scores holds 1 NaN"):
        auc_components(np.where(scores == 3, np.nan, scores), is_member, *curve)
