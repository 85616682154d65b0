"""Poison is IN everywhere, only targets are asked about, and poison that exposes is seen to expose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from miafast.poisoning import per_record_tpr

pytest.importorskip("torch")

N = 200
RECORDS = mf.Records(
    np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32), np.arange(N) % 4, classes=4, name="toy"
)
TARGETS = np.arange(5, 105)
Model = Callable[[np.ndarray], np.ndarray]


def train_on_copies(records: mf.Records, in_indices: np.ndarray, seed: int) -> Model:
    """Logits are noise; a label rises where an input was trained on both rightly and wrongly, by the wrong copies."""
    inputs = records.inputs()
    index = {x.tobytes(): number for number, x in enumerate(inputs[:N])}
    logits = np.random.default_rng(seed).normal(size=(N, records.classes))
    wrong = np.zeros(N)
    for record in in_indices:
        place = index[inputs[record].tobytes()]
        wrong[place] += records.y[record] != records.y[place]
    for record in in_indices[in_indices < N]:
        logits[record, records.y[record]] += wrong[record]
    return lambda x: logits[[index[row.tobytes()] for row in np.asarray(x)]]


def never(records: mf.Records, in_indices: np.ndarray, seed: int) -> Model:
    raise AssertionError("training began before the mistake was refused")


def test_targeted_poison_is_wrong_appended_and_in_every_model() -> None:
    dose = mf.poison(RECORDS, TARGETS, copies=3, seed=1)
    mask = mf.membership(N, 8, seed=0)
    whole = dose.in_mask(mask)
    np.testing.assert_array_equal(whole[:, :N], mask)
    assert whole.shape == (8, N + 300)
    assert whole[:, N:].all()
    np.testing.assert_array_equal(dose.records.x[N:], RECORDS.x[np.repeat(TARGETS, 3)])
    wrong = dose.records.y[N:].reshape(-1, 3)
    assert (wrong == wrong[:, :1]).all(), "one wrong label per target"
    assert (wrong[:, 0] != RECORDS.y[TARGETS]).all()
    assert len(np.unique(wrong)) == RECORDS.classes


def test_wrong_labels_do_not_depend_on_the_number_of_copies() -> None:
    few, many = (mf.poison(RECORDS, TARGETS, copies=copies, seed=1).records.y[N:] for copies in (1, 4))
    np.testing.assert_array_equal(few.repeat(4), many)


def test_untargeted_poison_spares_targets_and_grows_by_the_same_records() -> None:
    small, large = (mf.mislabel(RECORDS, TARGETS, count=count, seed=1) for count in (10, 50))
    assert small.is_poison.sum() == 10
    assert large.is_poison.sum() == 50
    assert (large.is_poison | ~small.is_poison).all()
    assert not large.is_poison[TARGETS].any()
    np.testing.assert_array_equal(large.records.y != RECORDS.y, large.is_poison)
    assert large.in_mask(np.zeros((2, N), bool))[:, large.is_poison].all()


def test_poison_that_exposes_is_seen_and_without_it_nothing_is() -> None:
    doses = [mf.poison(RECORDS, TARGETS, copies=copies, seed=1) for copies in (0, 2, 6)]
    found = mf.truth_serum(doses, train_on_copies, shadows=24, fpr=1e-2, seed=3)
    none, some, much = found.rows()
    members = TARGETS.size * 12
    assert abs(none["auc"] - 0.5) < 3 * np.sqrt(1 / members / 6)
    assert none["auc"] + 0.1 < some["auc"] < much["auc"]
    assert much["tpr"] > 4 * none["tpr"]
    assert much["median_tpr"] > some["median_tpr"] > none["median_tpr"]
    assert much["poison_per_target"] == pytest.approx(6 / (N / 2 + 600), rel=0.01)
    assert "6 copies" in str(found)


def test_the_report_tells_of_the_targets_alone(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    dose = mf.poison(RECORDS, TARGETS, copies=2)
    found = mf.truth_serum([dose], train_on_copies, shadows=8, fpr=1e-2, workdir=tmp_path / "run")
    (report,) = found.reports
    assert report.signals.records == len(TARGETS)
    assert not report.signals.in_mask.all(axis=0).any()
    np.testing.assert_array_equal(report.signals.labels, RECORDS.y[TARGETS])
    found.save(tmp_path / "out")
    assert json.loads((tmp_path / "out/poisoning.json").read_text())["doses"][0]["dose"] == "2 copies"
    assert (tmp_path / "out/dose-0/report.html").exists()


def test_a_target_of_ones_own_is_audited_with_the_same_poison() -> None:
    dose = mf.poison(RECORDS, TARGETS, copies=6)
    is_member = np.random.default_rng(9).random(N) < 0.5
    trained_on = dose.in_mask(is_member[None])[0]
    target = train_on_copies(dose.records, np.flatnonzero(trained_on), 5)
    report = mf.audit(
        dose.records, train_on_copies, target=target, is_member=trained_on,
        membership=dose.in_mask(mf.membership(N, 16, seed=2)),
    )  # fmt: skip
    signals = dose.audited(report.signals)
    scores = mf.LiRA().score(signals.phi[-1], signals.phi[:-1], signals.in_mask[:-1])
    assert mf.roc(scores, signals.in_mask[-1]).auc > 0.9


def test_per_record_tpr_by_hand() -> None:
    scores = np.array([[5.0, 1.0, 1.0], [4.0, 3.0, 2.0]])
    found = mf.roc(scores, np.array([[True, True, False], [True, True, False]]))
    np.testing.assert_array_equal(per_record_tpr(found, 0.5), [1.0, 0.5, np.nan])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda: mf.poison(RECORDS, TARGETS, copies=-1), "copies=-1"),
        (lambda: mf.poison(RECORDS, np.array([1, 1]), copies=1), "targets must be different"),
        (lambda: mf.poison(RECORDS, np.array([N]), copies=1), "targets must be different"),
        (lambda: mf.poison(RECORDS, np.array([0.5]), copies=1), "targets has shape"),
        (lambda: mf.poison(RECORDS, np.array([0]), copies=1, labels=np.array([0])), "right label"),
        (lambda: mf.mislabel(RECORDS, TARGETS, count=N), "count=200"),
        (lambda: mf.poison(RECORDS, TARGETS, copies=1).in_mask(np.ones((2, N + 1), bool)), "in_mask has shape"),
        (lambda: mf.truth_serum([], never), "doses is empty"),
        (lambda: mf.truth_serum([mf.poison(RECORDS, TARGETS[:3], copies=1)], never, shadows=8), "cannot be measured"),
        (
            lambda: mf.truth_serum([mf.poison(RECORDS, each, copies=1) for each in (TARGETS, TARGETS[1:])], never),
            "another pool or other targets",
        ),
    ],
)
def test_mistakes_are_refused_before_training(change: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        change()
