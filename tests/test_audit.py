"""The whole story: planted leaks are found, where nothing leaks nothing is, mistakes are refused before training."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from miafast.store import StoreError
from tests.planted_leak import CLASSES, RECORDS, Model, N, X, train_leaky

torch = pytest.importorskip("torch")

PROBABILITIES = np.full((N, CLASSES), 1 / CLASSES)


def never(records: mf.Records, in_indices: np.ndarray, seed: int) -> Model:
    raise AssertionError("training began before the mistake was refused")


def test_a_planted_leak_is_found_by_every_attack() -> None:
    report = mf.audit(RECORDS, train_leaky(3.0), shadows=16, seed=1)
    assert [result.name for result in report.results] == ["LiRA online", "LiRA offline", "loss threshold"]
    assert all(result.roc.auc > 0.9 for result in report.results)


@pytest.mark.parametrize("kind", ["balanced", "coins", "given"])
def test_nothing_is_found_where_nothing_leaks(kind: str) -> None:
    given = np.random.default_rng(5).random((16, N)) < 0.3
    report = mf.audit(RECORDS, train_leaky(0.0), shadows=16, seed=2, membership=given if kind == "given" else kind)
    for result in report.results:
        # Hanley & McNeil 1982 at AUC 1/2, for independent scores
        error = np.sqrt((1 / result.roc.members + 1 / result.roc.non_members) / 12)
        assert abs(result.roc.auc - 0.5) < 3 * error, result.name


def test_the_seed_has_an_effect_and_repeats() -> None:
    first, again, other = (mf.audit(RECORDS, train_leaky(1.0), shadows=6, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.results[0].scores, again.results[0].scores)
    assert not np.array_equal(first.signals.in_mask, other.signals.in_mask)
    assert not np.array_equal(first.signals.phi, other.signals.phi)


def test_a_recipe_is_trained_and_attacked() -> None:
    recipe = mf.Recipe(model="mlp", hidden=(128,), epochs=60, batch_size=16, learning_rate=1e-2)
    report = mf.audit(RECORDS, recipe, shadows=8, seed=0)
    assert report.signals.train_accuracy is not None
    assert report.signals.train_accuracy.mean() > 0.9
    assert report.results[0].roc.auc > 0.7  # labels are independent of the inputs: all that is learnt is membership
    assert report.seconds["train"] > 0
    assert report.backends["shadow training"] == f"stacked ({report.signals.models} at once)"


@pytest.mark.parametrize("form", ["function", "logits", "logits with queries", "tensor"])
def test_the_users_own_target(form: str) -> None:
    is_member = np.random.default_rng(7).random(N) < 0.5
    model = train_leaky(4.0)(RECORDS, np.flatnonzero(is_member), 99)
    logits = model(RECORDS.inputs())
    tensor = torch.as_tensor(logits).requires_grad_()
    target = {"function": model, "logits": logits, "logits with queries": logits[:, None], "tensor": tensor}[form]
    report = mf.audit(RECORDS, train_leaky(4.0), target=target, is_member=is_member, shadows=16)
    assert report.results[0].scores.shape == (N,)
    assert report.results[0].roc.members == is_member.sum()
    expected = mf.logit_confidence(logits, RECORDS.y).astype(np.float32)
    np.testing.assert_allclose(report.signals.phi[-1, :, 0], expected, rtol=1e-5)  # it is the model given
    assert report.results[0].roc.auc > 0.95
    assert not report.warnings


def test_an_attack_that_points_the_wrong_way_is_warned_about() -> None:
    class Backwards:
        name = "backwards"

        def score(self, target: np.ndarray, shadow: np.ndarray, in_mask: np.ndarray) -> np.ndarray:
            return -target[:, 0]

        def score_all(self, shadow: np.ndarray, in_mask: np.ndarray) -> np.ndarray:
            return -shadow[:, :, 0]

    report = mf.audit(RECORDS, train_leaky(3.0), attack=Backwards(), shadows=8)
    assert report.results[0].roc.auc < 0.1
    assert "backwards" in str(report).split("LiRA online")[-1]  # in the warnings under the table


def test_a_target_of_another_size_is_warned_about() -> None:
    is_member = np.arange(N) < 60
    model = train_leaky(4.0)(RECORDS, np.flatnonzero(is_member), 99)
    report = mf.audit(RECORDS, train_leaky(4.0), target=model, is_member=is_member, shadows=8)
    assert "trained on 60 records" in report.warnings[0]


def test_one_record_that_no_model_holds_is_marked_and_the_others_are_scored() -> None:
    mask = np.random.default_rng(1).random((16, N)) < 0.5
    mask[:, 17] = False
    report = mf.audit(RECORDS, train_leaky(3.0), shadows=16, membership=mask)
    online = report.results[0]
    assert np.isnan(online.scores[:, 17]).all()
    assert np.isfinite(np.delete(online.scores, 17, axis=1)).all()
    assert any("17" in warning for warning in report.warnings)
    assert online.roc.auc > 0.9


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shadows": 1}, "shadows|models"),
        ({"membership": "half"}, "half"),
        ({"membership": np.ones((6, N), int)}, "bool"),
        ({"membership": np.ones((6, N), bool)}, "model"),
        ({"membership": np.zeros((6, N - 1), bool)}, "record"),
        ({"queries": 2}, "needs images"),
        ({"queries": 5}, "queries=5"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"attack": "lira"}, "attack='lira': 'l' is no attack"),
        ({"attack": mf.LiRA}, "LiRA'> is no attack"),
        ({"shadows": 8.0}, "shadows=8.0"),
        ({"attack": [mf.Threshold(), mf.Threshold()]}, "called the same"),
        ({"is_member": np.zeros(N, bool)}, "without target"),
        ({"target": np.zeros((N, CLASSES))}, "without is_member"),
        ({"target": np.zeros((N, 2)), "is_member": np.arange(N) % 2 == 0}, "target has shape"),
        ({"target": PROBABILITIES, "is_member": np.arange(N) % 2 == 0}, "target gives probabilities, not logits"),
        ({"target": lambda x: PROBABILITIES[: len(x)], "is_member": np.arange(N) % 2 == 0}, "gives probabilities"),
        ({"target": np.full((N, CLASSES), np.nan), "is_member": np.arange(N) % 2 == 0}, "NaN"),
        ({"target": np.zeros((N, CLASSES)), "is_member": np.arange(N) % 2}, "is_member .*bool"),
        ({"target": np.zeros((N, CLASSES)), "is_member": np.arange(N - 1) < 9}, "is_member has shape"),
        ({"target": np.zeros((N, CLASSES)), "is_member": np.zeros(N, bool)}, "is_member is False everywhere"),
        ({"shadows": 4}, "LiRA online cannot attack with 4 shadow models"),
        ({"shadows": 2, "attack": mf.LiRA(variance="per-record")}, "per-record|variance"),
    ],
)
def test_mistakes_are_refused_before_training(changed: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        mf.audit(RECORDS, never, **{"shadows": 6, **changed})  # type: ignore[arg-type]


def test_a_workdir_resumes_and_refuses_other_runs(tmp_path: Path) -> None:
    calls = itertools.count(1)  # no plain value, so no part of the function's fingerprint

    def train(records: mf.Records, in_indices: np.ndarray, seed: int) -> Model:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return train_leaky(2.0)(records, in_indices, seed)

    with pytest.raises(KeyboardInterrupt):
        mf.audit(RECORDS, train, shadows=6, workdir=tmp_path / "run")
    report = mf.audit(RECORDS, train, shadows=6, workdir=tmp_path / "run")
    assert next(calls) == 3 + 4 + 1  # three began, the third was stopped: four remained
    mf.audit(RECORDS, train, shadows=6, workdir=tmp_path / "run")
    assert next(calls) == 9
    straight = mf.audit(RECORDS, train, shadows=6)
    np.testing.assert_array_equal(report.signals.phi, straight.signals.phi)
    np.testing.assert_array_equal(report.results[0].scores, straight.results[0].scores)

    moved = mf.Records(X + 1, RECORDS.y, classes=CLASSES, name="toy")
    for records, recipe, seed in ((moved, train, 0), (RECORDS, train_leaky(1.0), 0), (RECORDS, train, 1)):
        with pytest.raises(StoreError, match="holds another run"):
            mf.audit(records, recipe, shadows=6, seed=seed, workdir=tmp_path / "run")
    epochs = [mf.Recipe(model="logistic", epochs=epochs) for epochs in (1, 2)]
    mf.audit(RECORDS, epochs[0], shadows=6, workdir=tmp_path / "other")
    with pytest.raises(StoreError, match=r"\(recipe.epochs: 1 there, 2 here\)"):
        mf.audit(RECORDS, epochs[1], shadows=6, workdir=tmp_path / "other")


def test_the_report_is_written_whole(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = mf.audit(RECORDS, train_leaky(3.0), shadows=8)
    report.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "roc.png", "report.json", "scores.csv"}
    assert json.loads((tmp_path / "report.json").read_text())
    assert "%" in report.headline
