"""Shokri's attack models: planted leak, planted nothing under every mask, pooling, options."""

from __future__ import annotations

import numpy as np
import pytest

import miafast as mf
from miafast.attacks.shokri import PooledClassesWarning, Shokri, _folds
from miafast.ops.lira_leave_one_out import sides_without
from miafast.shadow import membership


def answers(
    models: int = 16, records: int = 240, classes: int = 3, *, leak: float = 0.0, kind: str = "balanced", seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits with a level per record, so that records can be recognised, and ``leak`` on the label when IN."""
    rng = np.random.default_rng(seed)
    labels = np.arange(records) % classes
    in_mask = (
        rng.random((models, records)) < rng.uniform(0.3, 0.7, (models, 1))  # a user's own: unequal shares
        if kind == "user"
        else membership(records, models, kind=kind, seed=seed)
    )
    logits = rng.normal(size=(records, classes)) + 0.3 * rng.normal(size=(models, records, classes))
    logits += (1.0 + leak * in_mask)[:, :, None] * np.eye(classes)[labels]
    return logits.astype(np.float32), in_mask, labels


@pytest.mark.parametrize("model", ["mlp", "logistic", "boosting"])
@pytest.mark.parametrize("features", ["sorted", "raw"])
def test_a_planted_leak_is_found(model: str, features: str) -> None:
    logits, in_mask, labels = answers(leak=2.0)
    attack = Shokri(model=model, features=features, folds=2)
    assert mf.roc(attack.score_all(logits, in_mask, labels=labels), in_mask).auc > 0.7
    one = attack.score(logits[0], logits[1:], in_mask[1:], labels=labels)
    assert mf.roc(one, in_mask[0]).auc > 0.7


@pytest.mark.parametrize("leak", [0.0, 3.0])
@pytest.mark.parametrize("model", ["mlp", "logistic"])
def test_shadows_on_other_records_judge_a_target(leak: float, model: str) -> None:
    logits, in_mask, labels = answers(6, 300, leak=leak)
    others, is_member, target_labels = answers(2, 200, leak=leak, seed=1)
    scores = Shokri(model=model).score(others[0], logits, in_mask, labels=labels, target_labels=target_labels)
    assert scores.shape == (200,)
    auc = mf.roc(scores, is_member[0]).auc
    assert (auc > 0.75) if leak else abs(auc - 0.5) < 3 * np.sqrt(201 / (12 * 100 * 100))


def test_other_records_of_the_same_labels_are_no_other_case() -> None:
    logits, in_mask, labels = answers(8, leak=2.0)
    plain = Shokri(epochs=1).score(logits[0], logits[1:], in_mask[1:], labels=labels)
    order = np.argsort(-labels, kind="stable")
    again = Shokri(epochs=1).score(
        logits[0, order], logits[1:], in_mask[1:], labels=labels, target_labels=labels[order]
    )
    np.testing.assert_allclose(again, plain[order], atol=1e-5)


@pytest.mark.filterwarnings("ignore::miafast.attacks.PooledClassesWarning")
def test_a_class_that_no_shadow_was_asked_about_is_scored_by_all() -> None:
    logits, in_mask, labels = answers(6, leak=3.0)
    scores = Shokri(epochs=1).score(logits[0], logits[1:], in_mask[1:], labels=labels % 2, target_labels=labels)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("kind", ["balanced", "coins", "user"])
@pytest.mark.parametrize("model", ["mlp", "logistic", "boosting"])
def test_nothing_planted_nothing_found(model: str, kind: str) -> None:
    """AUC ½ within 3 standard errors over independent worlds, although records are easy to recognise."""
    aucs = []
    for seed in range(8):
        logits, in_mask, labels = answers(8, 200, 2, kind=kind, seed=seed)
        attack = Shokri(model=model, folds=2, epochs=5)
        aucs.append(mf.roc(attack.score_all(logits, in_mask, labels=labels), in_mask).auc)
    error = np.sqrt(1 / (12 * 800) * 2 / 8)  # of the mean of independent AUCs of 800 members and 800 others
    assert abs(np.mean(aucs) - 0.5) < 3 * error


def test_a_fold_of_one_model_is_liras_rule() -> None:
    in_mask = membership(50, 8, kind="balanced", seed=1)
    for target, (models, used) in enumerate(_folds(in_mask, 8)):
        assert models.tolist() == [target]
        in_use, out_use = sides_without(in_mask, target, same_counts=True)
        np.testing.assert_array_equal(used, in_use | out_use)


def test_counts_are_the_same_whatever_the_fold_holds() -> None:
    in_mask = membership(200, 18, kind="balanced", seed=1)
    scored = []
    for models, used in _folds(in_mask, 4):
        scored += models.tolist()
        assert not used[models].any()
        np.testing.assert_array_equal((used & in_mask).sum(axis=0), 9 - 5)
        np.testing.assert_array_equal((used & ~in_mask).sum(axis=0), 9 - 5)
    assert scored == list(range(18))


def test_small_classes_share_a_model_and_say_so() -> None:
    logits, in_mask, labels = answers(leak=3.0)
    labels = np.where(np.arange(240) == 7, 2, labels % 2)
    with pytest.warns(PooledClassesWarning, match="1 classes have fewer than 20 examples.*1 records"):
        scores = Shokri(folds=2).score_all(logits, in_mask, labels=labels)
    assert np.isfinite(scores).all()


def test_features_by_hand() -> None:
    logits = np.log(np.array([[[0.2, 0.5, 0.3]]], np.float32))
    for options, expected in (
        ({}, [0.5, 0.3, 0.2]),
        ({"top": 2}, [0.5, 0.3]),
        ({"features": "raw"}, [0.2, 0.5, 0.3]),
        ({"features": "raw", "top": 1}, [0.0, 0.5, 0.0]),
    ):
        np.testing.assert_allclose(Shokri(**options)._vectors(logits, name="target")[0, 0], expected, rtol=1e-6)


def test_the_seed_decides_and_no_target_is_learnt_from() -> None:
    logits, in_mask, labels = answers(leak=1.0)
    attack = Shokri(folds=2, epochs=2)
    once = attack.score_all(logits, in_mask, labels=labels)
    np.testing.assert_array_equal(once, attack.score_all(logits, in_mask, labels=labels))
    assert np.any(once != Shokri(folds=2, epochs=2, seed=1).score_all(logits, in_mask, labels=labels))
    alone = Shokri(model="logistic", folds=16)
    expected = alone.score(logits[3], logits[[*range(3), *range(4, 16)]], np.delete(in_mask, 3, 0), labels=labels)
    got = alone.score_all(logits, in_mask, labels=labels)[3]
    assert np.corrcoef(got, expected)[0, 1] > 0.99


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "svm"}, "model='svm'"),
        ({"features": "x"}, "features='x'"),
        ({"top": 0}, "top=0"),
        ({"folds": 1}, "folds=1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Shokri(**options)


def test_what_does_not_fit_is_refused() -> None:
    logits, in_mask, labels = answers(8, 30)
    for given, said in (
        ((logits, in_mask.astype(int), labels), "in_mask is int64"),
        ((logits, in_mask, labels[1:]), "labels is"),
        ((logits[0, 0], in_mask, labels), "give floating logits"),
        ((np.where(logits > 2, np.nan, logits), in_mask, labels), "NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=said):
            Shokri().score_all(given[0], given[1], labels=given[2])
    for target, options, said in (
        (logits[0, :9], {}, "target has 9 records, shadow 30; .* give target_labels"),
        (logits[0, :9], {"target_labels": labels}, r"target_labels is int64 \(30,\); .* \(9,\)"),
        (logits[0, :, :2], {}, "target has 2 classes, shadow 3"),
    ):
        with pytest.raises(ValueError, match=said):
            Shokri().score(target, logits[1:], in_mask[1:], labels=labels, **options)
