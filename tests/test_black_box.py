"""Black-box attacks by hand, by plain loops, and what they refuse."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import miafast as mf
from miafast import attacks
from miafast.attacks import thresholds
from miafast.ops.class_threshold import above_class_threshold
from miafast.ops.difficulty import difficulty
from miafast.ops.left_out import beside_balanced, next_on_other_side
from miafast.ops.lira import MODES
from miafast.ops.lira_leave_one_out import sides_without
from miafast.ops.log_ratio import log_ratio
from miafast.ops.log_ratio_leave_one_out import log_ratio_leave_one_out
from miafast.ops.out_percentile import SMOOTHS, out_percentile
from miafast.plan import attack_with
from miafast.tables import Signals


def balanced(models: int = 8, records: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    in_mask = rng.random((models, records)).argsort(axis=0) < models // 2
    return rng.normal(size=(models, records)).round(1), in_mask


def test_the_counterpart_is_lira_s() -> None:
    _, in_mask = balanced()
    beside = next_on_other_side(in_mask)
    for target in range(len(in_mask)):
        in_use, out_use = sides_without(in_mask, target, same_counts=True)
        expected = ~(in_use | out_use)
        expected[target] = False
        np.testing.assert_array_equal(beside[target], expected.argmax(axis=0))


def test_balanced_masks_against_plain_loops() -> None:
    phi, in_mask = balanced()
    loss = np.logaddexp(0, -phi)
    watson, sablayrolles = attacks.Watson().score_all(phi, in_mask), attacks.Sablayrolles().score_all(phi, in_mask)
    ranked, fitted = attacks.AttackR().score_all(phi, in_mask), attacks.AttackR("logit").score_all(phi, in_mask)
    for target in range(len(phi)):
        in_use, out_use = sides_without(in_mask, target, same_counts=True)
        for record in range(phi.shape[1]):
            out, own = loss[out_use[:, record], record], loss[target, record]
            members = loss[in_use[:, record], record]
            assert len(out) == len(members) == 3
            assert watson[target, record] == pytest.approx(out.mean() - own)
            assert sablayrolles[target, record] == pytest.approx((out.mean() + members.mean()) / 2 - own)
            assert ranked[target, record] == pytest.approx((out > own).mean() + (out == own).mean() / 2)
            side = phi[out_use[:, record], record]
            spread = max(side.std(ddof=1), 1e-6)
            assert fitted[target, record] == pytest.approx(
                (phi[target, record] - side.mean()) / spread, rel=1e-6, abs=1e-6
            )


@pytest.mark.parametrize("same_counts", [True, False])
def test_a_signal_that_is_not_finite_spoils_the_targets_that_it_stands_against_alone(same_counts: bool) -> None:
    phi, in_mask = balanced()
    if not same_counts:
        in_mask = np.random.default_rng(1).random(phi.shape) < 0.5
        in_mask[3:5], in_mask[5:7] = True, False
    phi[2, :4] = np.nan, np.inf, -np.inf, np.nan
    phi = phi[..., None]
    ways = [(difficulty, difficulty, {"mode": mode}) for mode in MODES]
    ways += [(out_percentile, out_percentile, {"smooth": smooth}) for smooth in SMOOTHS]
    ways += [(log_ratio, log_ratio_leave_one_out, {"mode": mode}) for mode in MODES]
    for one, every, options in ways:
        first = () if every is log_ratio_leave_one_out else (None,)
        found = every(*first, phi, in_mask, **options)
        for target, record in itertools.product(range(len(phi)), range(8)):
            others = np.logical_or(*sides_without(in_mask, target, same_counts=same_counts))[:, record]
            at = phi[others][:, [record]], in_mask[others][:, [record]]
            np.testing.assert_allclose(found[target, record], one(phi[target, [record]], *at, **options)[0], atol=1e-9)
        assert not same_counts or np.isfinite(found[:, :4]).any()


def test_class_thresholds_against_every_candidate() -> None:
    phi, in_mask = balanced()
    labels = np.arange(50) % 2
    got = above_class_threshold(None, phi[..., None], in_mask, labels)
    for target in range(len(phi)):
        in_use, out_use = sides_without(in_mask, target, same_counts=True)
        for label in (0, 1):
            values, members = phi[:, labels == label], in_use[:, labels == label]
            others = out_use[:, labels == label]
            candidates = np.unique(values[members | others])[::-1]
            gain = [(values[members] >= t).mean() - (values[others] >= t).mean() for t in candidates]
            best = candidates[int(np.argmax(np.round(gain, 12)))]
            np.testing.assert_allclose(got[target, labels == label], phi[target, labels == label] - best)


def test_torch_in_torch_out() -> None:
    torch = pytest.importorskip("torch")
    phi, in_mask = balanced()
    given = torch.from_numpy(phi), torch.from_numpy(in_mask)
    for attack in (attacks.Watson(), attacks.AttackR(), attacks.AttackP(), attacks.Gap(), attacks.Confidence()):
        got = attack.score_all(*given)
        assert isinstance(got, torch.Tensor)
        np.testing.assert_allclose(got.numpy(), attack.score_all(phi, in_mask))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: attacks.Merlin(sigma=0.0), "sigma=0.0"),
        (lambda: attacks.Merlin(copies=0), "copies=0"),
        (lambda: attacks.Morgan(window=(2.0, 1.0)), "low < high"),
        (lambda: attacks.Morgan(fpr=0.0), "fpr=0.0"),
        (lambda: attacks.Long(radius=3.0), "radius=3.0"),
        (lambda: attacks.AttackR("cubic"), "smooth='cubic'"),
        (lambda: attacks.Entropy("per class"), "thresholds='per class'"),
        (lambda: attacks.BoundaryDistance(queries=3), "at least 50"),
        (lambda: attacks.Entropy("class-wise").score(np.zeros(3)), "shadow is missing"),
        (lambda: attacks.Gap().score(np.array([np.nan])), "1 NaN or infinite"),
        (lambda: attacks.AttackP().score(np.zeros(3), population=np.array([7])), "from 0 to 2"),
        (
            lambda: attacks.Watson().score(np.zeros(3), np.zeros((2, 3)), np.ones((2, 3), bool)),
            "no model left a record",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_a_population_s_threshold_keeps_its_promise() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2000):
        cut = thresholds.from_population(rng.normal(size=39), fpr=0.1)
        found.append(cut.decide(rng.normal(size=5)).mean())
    assert np.mean(found) == pytest.approx(0.1, abs=3 * np.std(found) / np.sqrt(len(found)))
    assert cut.source == "population"
    assert not thresholds.from_population(np.ones(39), fpr=0.1).decide(np.ones(3)).any()
    with pytest.raises(ValueError, match="at least 100"):
        thresholds.from_population(np.arange(50.0), fpr=0.01)


def test_thresholds_from_shadows_by_hand() -> None:
    scores, in_mask = (
        np.array([[5.0, 4.0, 3.0], [2.0, 4.5, 1.0]]),
        np.array([[True, True, False], [False, False, True]]),
    )
    assert thresholds.from_shadows(scores, in_mask).value == 5.0  # 4 does as well: the highest of equals
    assert thresholds.from_shadows(scores, in_mask, fpr=0.34).value == 4.0
    with pytest.raises(ValueError, match="cannot be set"):
        thresholds.from_shadows(scores, in_mask, fpr=0.1)
    with pytest.raises(ValueError, match="needs both"):
        thresholds.from_shadows(scores, np.ones_like(in_mask))


@pytest.mark.parametrize("attack", [mf.RMIA(), attacks.Watson(), attacks.AttackR(), mf.LiRA(mode="offline")])
def test_records_never_in_do_not_hide_that_a_mask_is_balanced(attack: Any) -> None:
    random = np.random.default_rng(0)
    in_mask = np.argsort(random.random((6, 4000)), axis=0) < 3
    in_mask[:, :800], in_mask[:, 3900:] = False, True
    rest = slice(800, 3900)
    signals = Signals(random.normal(size=(6, 4000, 1)), in_mask, np.zeros(4000, np.int64))
    scores = attack_with(attack, signals)
    np.testing.assert_array_equal(scores[:, rest], attack.score_all(signals.phi[:, rest], in_mask[:, rest]))
    assert np.isnan(scores[:, :800]).all()
    assert np.isnan(scores[:, 3900:]).all()
    low, high = mf.roc(scores[:, rest], in_mask[:, rest]).auc_interval(0.999)
    assert low < 0.5 < high


def test_coins_leave_no_record_out() -> None:
    in_mask = np.random.default_rng(0).random((4, 200)) < 0.5
    assert (in_mask.sum(axis=0) == 0).any()
    assert not beside_balanced(in_mask).any()
