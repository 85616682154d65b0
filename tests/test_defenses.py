"""Defences: what is seen of logits is computed by hand, attackers know the defence, and no answer is infinite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import miafast as mf
from miafast.defense_table import defense_table
from miafast.defenses import (
    DPSGD,
    L2,
    ConfidenceNoise,
    Dropout,
    EarlyStopping,
    LabelOnly,
    LabelSmoothing,
    Rounding,
    Temperature,
    TopK,
    answer_of,
    as_defenses,
    defended_recipe,
)
from miafast.store import StoreError
from tests.planted_leak import CLASSES, RECORDS, N, X, train_leaky

OUTPUT = (TopK(1), TopK(3), LabelOnly(), Rounding(1), Rounding(3), Temperature(5.0), ConfidenceNoise(0.1))
SEEN = [0.5, 0.3, 0.16, 0.04]
LOGITS = np.log(np.array(SEEN))


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("defense", "seen"),
    [
        (TopK(1), [0.5, 0.5 / 3, 0.5 / 3, 0.5 / 3]),
        (TopK(2), [0.5, 0.3, 0.1, 0.1]),
        (TopK(9), SEEN),
        (LabelOnly(), [0.999, 0.001 / 3, 0.001 / 3, 0.001 / 3]),
        (Rounding(2), SEEN),
        (Rounding(1), [0.5, 0.3, 0.2, 0.025]),  # 0.04 is printed as 0 and read as a quarter of 0.1
        (Temperature(2.0), np.sqrt(SEEN)),
    ],
)
def test_what_is_seen_by_hand(defense: Any, seen: Any) -> None:
    seen = np.asarray(seen) / np.sum(seen)
    np.testing.assert_allclose(softmax(defense(LOGITS)), seen, rtol=2e-5)
    both = defense(np.stack([LOGITS, LOGITS[::-1]])[None])  # [models, records, classes]
    np.testing.assert_allclose(softmax(both[0, 1])[::-1], seen, rtol=2e-5)
    assert defense(LOGITS.astype(np.float32)).dtype == np.float32


def test_label_only_phi_is_the_documented_number() -> None:
    phi = mf.logit_confidence(LabelOnly()(np.array([[3.0, 1.0], [1.0, 3.0]])), np.array([0, 0]))
    np.testing.assert_allclose(phi, [math.log(999), -math.log(999)])


@given(st.integers(0, 10_000), st.integers(2, 12), st.sampled_from([0.1, 3.0, 50.0, 1e4]))
@settings(max_examples=60, deadline=None)
def test_every_answer_is_finite_and_keeps_its_label(seed: int, classes: int, scale: float) -> None:
    logits = (scale * np.random.default_rng(seed).normal(size=(3, 20, classes))).astype(np.float32)
    labels = np.arange(20) % classes
    for defense in OUTPUT:
        seen = defense(logits)
        assert np.isfinite(mf.logit_confidence(seen, labels)).all(), defense
        if not isinstance(defense, ConfidenceNoise):
            np.testing.assert_array_equal(seen.argmax(axis=-1), logits.argmax(axis=-1), err_msg=str(defense))


def test_top_k_of_confident_answers_saturates_nowhere() -> None:
    logits = np.array([[300.0, 100.0, -200.0]])
    seen = TopK(2)(logits)
    np.testing.assert_allclose(seen, logits)  # one hidden class has all that is left: float64 cannot even hold its p
    assert mf.logit_confidence(seen, np.array([2]))[0] == pytest.approx(-500.0)


def test_confidence_noise_repeats_differs_and_has_its_spread() -> None:
    logits = np.random.default_rng(0).normal(size=(20_000, 5))
    seen = softmax(ConfidenceNoise(0.01)(logits)) - softmax(logits)
    np.testing.assert_array_equal(ConfidenceNoise(0.01)(logits), ConfidenceNoise(0.01)(logits))
    np.testing.assert_array_equal(ConfidenceNoise(0.01)(logits[5:9]), ConfidenceNoise(0.01)(logits)[5:9])
    assert not np.array_equal(ConfidenceNoise(0.01)(logits), ConfidenceNoise(0.01, seed=1)(logits))
    from miafast.defenses.answers import _normal

    draws = _normal(logits.astype(np.float32), 0)
    assert abs(draws.mean()) < 4 / math.sqrt(draws.size)
    assert abs(draws.std() - 1) < 4 / math.sqrt(2 * draws.size)
    assert abs(np.corrcoef(draws.T) - np.eye(5)).max() < 4 / math.sqrt(len(draws))
    assert np.percentile(np.abs(draws), 95) == pytest.approx(1.96, abs=0.03)
    assert seen.std() == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize(
    ("text", "defenses"),
    [
        ("top-k:3", (TopK(3),)),
        ("label-only", (LabelOnly(),)),
        ("rounding:1", (Rounding(1),)),
        ("temperature:5", (Temperature(5.0),)),
        ("noise:0.1", (ConfidenceNoise(0.1),)),
        ("l2:1e-3, dropout:0.5", (L2(1e-3), Dropout(0.5))),
        ("label-smoothing:0.1", (LabelSmoothing(0.1),)),
        ("early-stopping", (EarlyStopping(),)),
        ("early-stopping:2", (EarlyStopping(2),)),
        ("dp-sgd:8", (DPSGD(8.0),)),
    ],
)
def test_names_and_objects_are_one(text: str, defenses: tuple[Any, ...]) -> None:
    assert as_defenses(text) == defenses == as_defenses(list(defenses))
    assert as_defenses([each.name for each in defenses]) == defenses


@pytest.mark.parametrize(
    ("defense", "message"),
    [
        ("mystery", "mystery.*choose one of top-k"),
        ("topk:3", "did you mean 'top-k'"),
        ("top-k", "give its number"),
        ("top-k:0", "k=0"),
        ("top-k:x", "'x' is no whole number"),
        ("label-only:1", "no number"),
        ("rounding:9", "digits=9"),
        ("temperature:-1", "temperature=-1"),
        ("noise:0", "sigma=0"),
        ("l2:0", "weight_decay"),
        ("dropout:1", "share=1"),
        ("early-stopping:0", "patience=0"),
        ("dp-sgd:0", "epsilon=0"),
        (3, "no defence"),
        (TopK, "no defence"),
        (L2(0.1), "training is a function"),
        ([EarlyStopping(), DPSGD(1.0)], "training is a function"),
    ],
)
def test_mistakes_are_refused_before_training(defense: Any, message: str) -> None:
    def never(records: mf.Records, in_indices: np.ndarray, seed: int) -> Any:
        raise AssertionError("training began before the mistake was refused")

    with pytest.raises((ValueError, TypeError), match=message):
        mf.audit(RECORDS, never, shadows=6, defense=defense)
    if isinstance(defense, list):
        with pytest.raises(TypeError, match="exclude each other"):
            defended_recipe(mf.Recipe(), defense)


def test_training_defences_change_the_recipe() -> None:
    assert defended_recipe(mf.Recipe(), as_defenses("l2:0.1,dropout:0.5,label-smoothing:0.2,top-k:1")) == mf.Recipe(
        weight_decay=0.1, dropout=0.5, label_smoothing=0.2
    )
    assert answer_of(as_defenses("l2:0.1")) is None
    both = answer_of((Temperature(2.0), TopK(1)))
    assert both is not None
    np.testing.assert_allclose(both(LOGITS), TopK(1)(Temperature(2.0)(LOGITS)))


def test_target_and_shadows_answer_under_the_defence() -> None:
    is_member = np.random.default_rng(7).random(N) < 0.5
    model = train_leaky(4.0)(RECORDS, np.flatnonzero(is_member), 99)
    logits = model(RECORDS.inputs())
    bare = mf.audit(RECORDS, train_leaky(4.0), target=model, is_member=is_member, shadows=8)
    for target in (model, logits):
        seen = mf.audit(
            RECORDS, train_leaky(4.0), target=target, is_member=is_member, shadows=8, defense="temperature:4"
        )
        expected = mf.logit_confidence((logits / 4).astype(np.float32), RECORDS.y)
        np.testing.assert_allclose(seen.signals.phi[-1, :, 0], expected, rtol=1e-5, atol=1e-6)
        assert not np.allclose(seen.signals.phi[:-1], bare.signals.phi[:-1])
        np.testing.assert_array_equal(seen.signals.test_accuracy, bare.signals.test_accuracy)


def test_a_fused_model_is_defended_too() -> None:
    """Perceptrons answer phi without logits; a defence must not be passed by on that way."""
    recipe = mf.Recipe(hidden=(16,), epochs=4, batch_size=16)
    phi = mf.audit(RECORDS, recipe, shadows=6, defense="label-only").signals.phi
    wrong = -math.log(999 * (CLASSES - 1) + CLASSES - 2)
    np.testing.assert_allclose(np.unique(phi.round(4)), [wrong, math.log(999)], atol=1e-4)
    cooled = mf.audit(RECORDS, recipe, shadows=6, defense="temperature:1").signals.phi
    np.testing.assert_allclose(cooled, mf.audit(RECORDS, recipe, shadows=6).signals.phi, rtol=1e-4, atol=1e-5)


def test_label_only_stops_confidence_attacks_but_not_the_naive_one() -> None:
    """Scores stay finite, and knowing right from wrong is all that is left."""
    recipe = mf.Recipe(hidden=(64,), epochs=60, batch_size=16, learning_rate=1e-2)
    bare, label = (mf.audit(RECORDS, recipe, shadows=16, defense=each) for each in (None, "label-only"))
    for each in label.results:
        assert np.isfinite(each.scores).all(), each.name
    assert bare.signals.train_accuracy is not None
    assert bare.signals.test_accuracy is not None
    gap = float((bare.signals.train_accuracy - bare.signals.test_accuracy).mean())
    assert gap > 0.5
    threshold = label.results[-1].roc  # of two values: the naive attack of Yeom et al. 2018
    assert threshold.balanced_accuracy == pytest.approx(0.5 + gap / 2, abs=2e-3)
    assert threshold.auc < bare.results[-1].roc.auc
    assert label.results[0].roc.auc < bare.results[0].roc.auc


def test_a_workdir_of_another_defence_is_refused(tmp_path: Path) -> None:
    mf.audit(RECORDS, train_leaky(1.0), shadows=6, workdir=tmp_path / "run", defense="top-k:1")
    mf.audit(RECORDS, train_leaky(1.0), shadows=6, workdir=tmp_path / "run", defense=TopK(1))
    for other in (None, "top-k:2", ConfidenceNoise(0.1), ConfidenceNoise(0.1, seed=1)):
        with pytest.raises(StoreError, match=r"TopK\(k=1\)"):
            mf.audit(RECORDS, train_leaky(1.0), shadows=6, workdir=tmp_path / "run", defense=other)
    recipe = mf.Recipe(hidden=(8,), epochs=1)
    prints = {
        mf.audit(RECORDS, recipe, shadows=6, defense=each).settings["recipe_fingerprint"]
        for each in ("early-stopping:1", "early-stopping:2", "l2:0.1", None)
    } | {mf.audit(RECORDS, mf.Recipe(hidden=(9,), epochs=1), shadows=6,
                  defense="early-stopping:1").settings["recipe_fingerprint"]}  # fmt: skip
    assert len(prints) == 5


def test_nothing_is_found_behind_a_defence_where_nothing_leaks() -> None:
    for defense in OUTPUT:
        report = mf.audit(RECORDS, train_leaky(0.0), shadows=16, seed=2, defense=defense)
        for result in report.results:
            error = np.sqrt((1 / result.roc.members + 1 / result.roc.non_members) / 12)
            assert abs(result.roc.auc - 0.5) < 3 * error, (defense, result.name)


def test_early_stopping_stops_at_the_best_epoch() -> None:
    """Labels are noise: the watched loss soon rises, so training ends early and remembers less."""
    recipe = mf.Recipe(hidden=(64,), epochs=60, batch_size=16, learning_rate=1e-2)
    bare, stopped = (mf.audit(RECORDS, recipe, shadows=6, defense=each) for each in (None, "early-stopping:2"))
    assert bare.signals.train_accuracy is not None
    assert stopped.signals.train_accuracy is not None
    assert stopped.signals.train_accuracy.mean() < bare.signals.train_accuracy.mean() - 0.2
    from miafast.shadow.stopping import train_until_worse

    one = [train_until_worse(RECORDS, np.arange(100), 3, recipe=recipe, patience=2) for _ in range(2)]
    for first, second in zip(one[0].parameters(), one[1].parameters(), strict=True):
        assert bool((first == second).all())


def test_patience_without_end_is_training_to_the_best_epoch_of_all() -> None:
    torch = pytest.importorskip("torch")
    from miafast.shadow.stopping import train_until_worse

    easy = mf.Records(X, (X[:, 0] > 0).astype(int), classes=2)  # learnable: the loss falls to the end
    recipe = mf.Recipe(hidden=(16,), epochs=3, batch_size=30, optimizer="sgd", learning_rate=0.05)
    rows = np.arange(N)
    by_patience = [train_until_worse(easy, rows, 0, recipe=recipe, patience=each) for each in (1, 50)]
    losses = [
        torch.nn.functional.cross_entropy(each(torch.as_tensor(X)), torch.as_tensor(easy.y)).item()
        for each in by_patience
    ]
    assert losses[0] == losses[1] < math.log(2)


def test_without_opacus_its_package_is_named_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'miafast\[dp\]'"):
        mf.audit(RECORDS, mf.Recipe(hidden=(8,), epochs=1), shadows=6, defense="dp-sgd:8")


class TestPrivateTraining:
    recipe = mf.Recipe(hidden=(16,), epochs=5, batch_size=50, optimizer="sgd", learning_rate=0.5)
    easy = mf.Records(X, (X[:, 0] > 0).astype(int), classes=2)

    def accuracy(self, epsilon: float, **changed: Any) -> float:
        torch = pytest.importorskip("torch")
        pytest.importorskip("opacus")
        train: Any = DPSGD(epsilon, **changed).recipe(self.recipe)
        model = train(self.easy, np.arange(N), 0)
        return float((model(torch.as_tensor(X)).argmax(1).numpy() == self.easy.y).mean())

    def test_without_noise_it_learns_and_with_much_noise_it_does_not(self) -> None:
        assert self.accuracy(math.inf) > 0.85
        assert self.accuracy(0.3) < 0.75

    def test_it_repeats(self) -> None:
        train: Any = DPSGD(2.0).recipe(self.recipe)
        pytest.importorskip("opacus")
        first, second = (train(self.easy, np.arange(N), 0) for _ in range(2))
        other = train(self.easy, np.arange(N), 1)
        same = [bool((a == b).all()) for a, b in zip(first.parameters(), second.parameters(), strict=True)]
        assert all(same)
        assert not any(bool((a == b).all()) for a, b in zip(first.parameters(), other.parameters(), strict=True))

    def test_noise_follows_from_epsilon(self) -> None:
        pytest.importorskip("opacus")
        from opacus.accountants import RDPAccountant

        from miafast.shadow.private_module import noise_for

        noise = noise_for(3.0, 1e-5, sample_rate=0.1, steps=200)
        accountant = RDPAccountant()
        accountant.history = [(noise, 0.1, 200)]
        assert 2.9 < accountant.get_epsilon(1e-5) <= 3.0
        with pytest.raises(ValueError, match=r"epsilon=0.01 cannot be reached in 200 steps"):
            noise_for(0.01, 1e-5, sample_rate=0.1, steps=200)
        assert noise_for(math.inf, 1e-5, sample_rate=0.1, steps=200) == 0.0

    def test_one_step_is_clipped_gradients_plus_noise(self) -> None:
        """SGD on all records at rate 1: the weights move by noise whose size is noise_multiplier · clip / batch."""
        torch = pytest.importorskip("torch")
        pytest.importorskip("opacus")
        from miafast.shadow.modules import build, flattened
        from miafast.shadow.private_module import noise_for, train_privately

        recipe = mf.Recipe(model="logistic", epochs=1, batch_size=N, optimizer="sgd", learning_rate=1.0)
        wide = mf.Records(np.tile(X, (1, 60)), RECORDS.y, classes=CLASSES)
        before = flattened(build(recipe, wide.shape, CLASSES, seed=5, model=0))
        moved = [
            flattened(train_privately(wide, np.arange(N), 5, recipe=recipe, epsilon=epsilon, delta=1e-5, clip=0.7))
            - before
            for epsilon in (0.5, math.inf)
        ]
        noise = noise_for(0.5, 1e-5, sample_rate=1.0, steps=1)
        assert float((moved[0] - moved[1]).std()) == pytest.approx(noise * 0.7 / N, rel=0.06)
        assert float(torch.linalg.norm(moved[1])) <= 0.7  # the mean of N gradients, none longer than the clip

    def test_dropout_batch_norm_and_empty_batches_do(self) -> None:
        pytest.importorskip("opacus")
        from miafast.shadow.private_module import train_privately

        images = mf.Records(np.random.default_rng(0).integers(0, 255, (20, 3, 8, 8)).astype(np.uint8),
                            np.arange(20) % 2, classes=2, scale=1 / 255)  # fmt: skip
        conv = mf.Recipe(model="conv", dropout=0.2, epochs=8, batch_size=1, augment=("mirror",))
        model = train_privately(images, np.arange(8), 0, recipe=conv, epsilon=8.0, delta=1e-5, clip=1.0)
        assert all(bool(each.isfinite().all()) for each in model.parameters())
        assert "BatchNorm" not in str(model)

    def test_an_audit_with_private_shadows_leaks_less(self) -> None:
        pytest.importorskip("opacus")
        recipe = mf.Recipe(hidden=(32,), epochs=20, batch_size=30, learning_rate=1e-2)
        bare, private = (mf.audit(RECORDS, recipe, shadows=6, defense=each) for each in (None, "dp-sgd:1"))
        assert bare.results[0].roc.auc > 0.65
        assert private.results[0].roc.auc < 0.56


def test_the_table_shows_utility_and_leakage(tmp_path: Path) -> None:
    recipe = mf.Recipe(hidden=(64,), epochs=40, batch_size=16, learning_rate=1e-2)
    asked = ["label-only", "l2:0.03", [Temperature(5.0), Rounding(1)]]
    table = defense_table(RECORDS, recipe, defenses=asked, shadows=8, workdir=tmp_path)
    assert [row["defense"] for row in table.rows] == ["none", "label-only", "l2:0.03", "temperature:5+rounding:1"]
    none, label, penalty, _ = table.rows
    assert LabelOnly.note in repr(table)
    assert none["test_accuracy"] == label["test_accuracy"] != penalty["test_accuracy"]
    assert none["auc"] > label["auc"] > 0.5
    assert none["auc"] > penalty["auc"]
    assert len(str(table).split("\n\n")[0].splitlines()) == 5
    again = defense_table(RECORDS, recipe, defenses=asked, shadows=8, workdir=tmp_path)
    assert again.rows == table.rows
    with pytest.raises(ValueError, match="more than once"):
        defense_table(RECORDS, recipe, defenses=["top-k:1", TopK(1)], shadows=8)
