"""Memorisation, influence and hardness: by hand, planted, and nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from miafast import memorization as module
from miafast.memorization import (
    class_hardness,
    influence,
    memorization,
    memorization_and_separation,
    top_influences,
)
from miafast.shadow import membership
from miafast.tables import Signals


def noise(models: int = 64, records: int = 400, seed: int = 0, kind: str = "balanced") -> tuple[np.ndarray, np.ndarray]:
    """Who is right has nothing to do with who is IN; records differ in how hard they are."""
    rng = np.random.default_rng(seed)
    in_mask = membership(records, models, kind=kind, seed=seed)
    return (rng.random((models, records)) < rng.uniform(0.2, 0.9, records)).astype(np.float32), in_mask


def test_memorization_by_hand() -> None:
    in_mask = np.array([[1], [1], [1], [1], [0], [0], [0], [0], [0]], bool)
    correct = np.array([[1], [1], [1], [0], [1], [0], [0], [0], [0]])
    found = memorization(correct, in_mask)
    assert found.value == pytest.approx(3 / 4 - 1 / 5)
    assert found.hardness == pytest.approx(4 / 5)
    assert (found.in_models, found.out_models) == (4, 5)
    p, q = 4 / 6, 2 / 7  # one right and one wrong added to each side
    assert found.standard_error == pytest.approx(np.sqrt(p * (1 - p) / 6 + q * (1 - q) / 7))


def test_intervals_are_newcombes_published_ones() -> None:
    """Newcombe 1998, "Interval estimation for the difference between independent proportions", Table II, method 10."""
    for (a, m, b, n), low, high in (
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((10, 10, 0, 20), 0.6791, 1.0),
    ):
        in_mask = (np.arange(m + n) < m)[:, None]
        correct = np.r_[np.arange(m) < a, np.arange(n) < b][:, None]
        found = memorization(correct, in_mask)
        assert (float(found.low[0]), float(found.high[0])) == pytest.approx((low, high), abs=6e-5)


def test_queries_are_averaged_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    correct, in_mask = noise(8, 50)
    queries = np.stack([correct, correct, np.zeros_like(correct)], axis=2)
    whole = memorization(queries, in_mask)
    np.testing.assert_allclose(whole.value, memorization(correct, in_mask).value * 2 / 3)
    monkeypatch.setattr(module, "BLOCK", 7)
    np.testing.assert_array_equal(memorization(queries, in_mask).value, whole.value)


def test_the_planted_record_is_the_most_memorised() -> None:
    correct, in_mask = noise()
    correct[:, 17] = in_mask[:, 17]
    found = memorization(correct, in_mask)
    assert found.value[17] == 1.0 == found.high[17]
    assert np.argmax(found.value) == 17
    assert found.low[17] > 0.8


@pytest.mark.parametrize("kind", ["balanced", "coins"])
def test_noise_is_not_memorised(kind: str) -> None:
    """About one record in twenty outside its interval, and a mean within its error."""
    correct, in_mask = noise(records=3000, kind=kind)
    found = memorization(correct, in_mask)
    z = found.value / found.standard_error
    assert abs(z.mean()) < 3 / np.sqrt(3000)
    assert 0.85 < z.std() < 1.05
    outside = np.mean((found.low > 0) | (found.high < 0))
    assert outside < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 3000)


@pytest.mark.parametrize("models", [4, 9, 32])
def test_luck_is_as_often_as_it_says(models: int) -> None:
    random = np.random.default_rng(models)
    correct = (random.random((models, 20_000)) < random.choice([0.1, 0.5, 0.9], size=20_000)).astype(float)
    found = memorization(correct, random.random(correct.shape) < 0.5)
    surely, luck = int((found.low > 0).sum()), module.by_luck(found)
    assert abs(surely - luck) < 4 * np.sqrt(luck)


def test_a_record_without_out_models_is_not_a_number() -> None:
    correct, in_mask = noise(8, 50)
    in_mask[:, 2] = True
    found = memorization(correct, in_mask)
    for array in (found.value, found.standard_error, found.low, found.high, found.hardness):
        np.testing.assert_array_equal(np.isnan(array), np.arange(50) == 2)
    assert class_hardness(correct, in_mask, np.zeros(50, int)).memorization == pytest.approx(np.nanmean(found.value))


def test_influence_is_its_definition_and_memorisation_on_itself() -> None:
    correct, in_mask = noise(16, 40)
    found = influence(correct, in_mask, of=np.arange(40))
    for i, j in ((0, 0), (3, 9), (39, 1)):
        expected = correct[in_mask[:, i], j].mean() - correct[~in_mask[:, i], j].mean()
        assert found.value[i, j] == pytest.approx(expected)
    own = memorization(correct, in_mask)
    np.testing.assert_allclose(np.diagonal(found.value), own.value)
    np.testing.assert_allclose(np.diagonal(found.standard_error), own.standard_error)


def test_planted_influence_is_found_and_noise_stays_within_its_errors() -> None:
    correct, in_mask = noise(records=200)
    correct[:, 7] = in_mask[:, 3]
    pairs = top_influences(correct, in_mask, count=30)
    assert (pairs.of[0], pairs.on[0], pairs.value[0]) == (3, 7, 1.0)
    assert np.all(np.diff(pairs.value) <= 0)
    assert np.all(pairs.of != pairs.on)
    assert pairs.z[0] > 2 * stats.norm.isf(1 / 200**2) > pairs.z[1:].max()


def test_top_influences_are_the_whole_matrix_sorted() -> None:
    correct, in_mask = noise(32, 60, seed=2)
    labels = np.arange(60) % 3
    value = influence(correct, in_mask, of=np.arange(60)).value
    value[labels[:, None] != labels] = -np.inf
    np.fill_diagonal(value, -np.inf)
    pairs = top_influences(correct, in_mask, count=25, labels=labels)
    np.testing.assert_allclose(pairs.value, np.sort(value.ravel())[::-1][:25])
    np.testing.assert_array_equal(labels[pairs.of], labels[pairs.on])
    assert len(top_influences(correct[:, :3], in_mask[:, :3], count=100).of) == 6


def test_class_hardness_and_its_error() -> None:
    correct, in_mask = noise(records=300)
    labels = np.arange(300) % 3
    hard = labels == 1
    correct[:, hard] = in_mask[:, hard]
    found = class_hardness(correct, in_mask, labels)
    own = memorization(correct, in_mask)
    np.testing.assert_array_equal(found.records, [100, 100, 100])
    np.testing.assert_allclose(found.memorization, [own.value[labels == label].mean() for label in range(3)])
    assert found.memorization[1] == 1.0
    assert np.all(np.abs(found.memorization[[0, 2]]) < 3 * found.standard_error[[0, 2]])


def test_class_error_covers_what_models_share() -> None:
    """Records that are right together: the error over models is right, records alone would claim a tenth of it."""
    means, errors = [], []
    for seed in range(60):
        in_mask = membership(100, 32, kind="coins", seed=seed)
        alike = np.repeat(np.random.default_rng(seed).random((32, 1)) < 0.5, 100, axis=1)
        in_mask[:, :] = in_mask[:, :1]  # and IN together
        if not 3 < in_mask[:, 0].sum() < 29:
            continue
        found = class_hardness(alike, in_mask, np.zeros(100, int))
        means.append(found.memorization[0])
        errors.append(found.standard_error[0])
    assert np.std(means) == pytest.approx(np.mean(errors), rel=0.35)


def test_relation_to_separation() -> None:
    correct, in_mask = noise()
    phi = np.where(correct > 0, 1.0, -1.0) + 0.1 * np.random.default_rng(1).normal(size=correct.shape)
    phi[:, 5], correct[:, 5] = 4.0 * in_mask[:, 5] - 2.0 + 0.1 * phi[:, 5], in_mask[:, 5]
    signals = Signals(
        phi=phi[:, :, None], in_mask=in_mask, labels=np.zeros(400, int), arrays={"correct": correct[:, :, None]}
    )
    found, d = memorization_and_separation(signals)
    assert np.argmax(d) == np.argmax(found.value) == 5
    assert stats.spearmanr(d, found.value)[0] > 0.9  # where phi says no more than who is right
    last = Signals(phi=phi[:, :, None], in_mask=in_mask, labels=signals.labels, has_target=True, arrays=signals.arrays)
    np.testing.assert_array_equal(
        memorization_and_separation(last)[0].value, memorization(correct[:-1], in_mask[:-1]).value
    )
    with pytest.raises(ValueError, match="hold no 'correct'"):
        memorization_and_separation(Signals(phi=phi[:, :, None], in_mask=in_mask, labels=signals.labels))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"in_mask": np.ones((4, 3))}, "in_mask is float64"),
        ({"correct": np.ones((3, 4))}, r"correct has shape \(3, 4\)"),
        ({"correct": np.full((4, 3), 2.0)}, r"correct holds 2.0 … 2.0"),
        ({"correct": np.full((4, 3), np.nan)}, "correct holds nan"),
        ({"correct": np.ones((4, 3, 0))}, "correct has shape"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, np.ndarray], said: str) -> None:
    given = {"correct": np.ones((4, 3)), "in_mask": np.ones((4, 3), bool), **change}
    for ask in (memorization, top_influences, lambda c, m: influence(c, m, of=[0])):
        with pytest.raises(ValueError, match=said):
            ask(given["correct"], given["in_mask"])
    right, in_mask = np.ones((4, 3)), np.ones((4, 3), bool)
    with pytest.raises(ValueError, match="of="):
        influence(right, in_mask, of=[3])
    with pytest.raises(ValueError, match="count=0"):
        top_influences(right, in_mask, count=0)
    with pytest.raises(ValueError, match="labels has shape"):
        top_influences(right, in_mask, labels=np.zeros(4))
    with pytest.raises(ValueError, match="labels is float64"):
        class_hardness(right, in_mask, np.zeros(3))


@pytest.mark.parametrize(("models", "least"), [(8, 0.84), (32, 0.90)])
def test_bounds_cover_as_they_say(models: int, least: float) -> None:
    """Exactly, over all outcomes of two binomials."""
    right = np.arange(models + 1)
    shares = np.stack(np.broadcast_arrays(right[:, None] / models, right / models))
    low, high = module._newcombe(shares, np.full((2, 1, 1), models))
    truth = np.linspace(0.001, 0.999, 100)
    chance = stats.binom.pmf(right[:, None], models, truth)
    difference = truth[:, None] - truth
    inside = (low[..., None, None] <= difference) & (difference <= high[..., None, None])
    covers = np.einsum("ip,jq,ijpq->pq", chance, chance, inside)
    assert covers.min() == pytest.approx(least, abs=0.005)
    assert covers.mean() >= 0.95
