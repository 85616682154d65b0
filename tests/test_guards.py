"""Every guard finds what was planted for it, stays silent where nothing was, and says so in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miafast as mf
from miafast.guards import (
    Check,
    attacks_tried,
    blind_auc,
    blind_classifier,
    duplicates,
    failed,
    size_mismatch,
    threshold_of_pool,
    threshold_of_target,
)
from tests.planted_leak import CLASSES, RECORDS, N, X, train_leaky

COIN = np.random.default_rng(1).random(N) < 0.5


def records_of(x: np.ndarray, y: np.ndarray | None = None) -> mf.Records:
    return mf.Records(x, np.zeros(len(x), int) if y is None else y, classes=3)


def shifted(kind: str, is_member: np.ndarray) -> mf.Records:
    """Records whose members differ from the others in a way of this kind."""
    random = np.random.default_rng(1)
    x, y = random.normal(size=(len(is_member), 6)), random.integers(3, size=len(is_member))
    if kind == "mean":
        x[is_member, 2] += 0.8
    elif kind == "spread":  # invisible to a linear classifier
        x[is_member, 2] *= 3.0
    elif kind == "labels":
        y[is_member] = random.choice(3, size=is_member.sum(), p=[0.6, 0.2, 0.2])
    elif kind == "wide":  # of which components are taken
        x = np.hstack([x, random.normal(size=(len(x), 400))]) + 0.5 * is_member[:, None]
    return records_of(x, y)


@pytest.mark.parametrize("kind", ["mean", "spread", "labels", "wide"])
def test_the_blind_classifier_sees_a_planted_difference(kind: str) -> None:
    is_member = np.random.default_rng(3).random(800) < 0.5
    found = blind_classifier(shifted(kind, is_member), is_member[None])
    assert found.passed is False
    assert "never sees the model tells members from non-members" in found.text


def test_the_blind_classifier_is_silent_on_coins() -> None:
    """AUC ½ on average, and its 99 % interval leaves ½ out in hardly any of 12 draws."""
    random, aucs, lows = np.random.default_rng(2), [], []
    for _ in range(12):
        auc, low, _ = blind_auc(records_of(random.normal(size=(200, 3))), random.random(200) < 0.5)
        aucs.append(auc)
        lows.append(low)
    assert abs(np.mean(aucs) - 0.5) < 3 * np.std(aucs, ddof=1) / np.sqrt(12) + 0.01
    assert sum(low > 0.5 for low in lows) <= 1


def test_few_members_among_many_records_are_all_looked_at() -> None:
    x = np.random.default_rng(0).normal(size=(6000, 3))
    is_member = np.arange(6000) % 100 == 0  # 60, of which a subsample of 2,000 would hold 20
    x[is_member] += 1.5
    assert blind_auc(records_of(x), is_member)[1] > 0.8


def test_the_worst_of_several_splits_counts() -> None:
    splits = np.random.default_rng(3).random((3, 800)) < 0.5
    records = shifted("mean", splits[1])
    assert blind_classifier(records, splits[[0, 2]]).passed is True
    assert blind_classifier(records, splits).passed is False


def test_what_cannot_be_asked_blindly_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert blind_classifier(RECORDS, COIN[None][:0]).passed is None
    few = blind_classifier(RECORDS, (np.arange(N) < 19)[None])
    assert (few.passed, few.text) == (None, "Not run: it needs at least 20 members and 20 non-members.")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install" in blind_classifier(RECORDS, COIN[None]).text


def test_duplicates_across_the_split_are_counted() -> None:
    x = np.arange(12.0).reshape(6, 2)
    x[3], x[5] = x[0], x[1]
    is_member = np.array([True, True, True, False, False, True])  # 3 repeats the member 0; 5 and 1 are both members
    found = duplicates(records_of(x), is_member[None])
    assert found.passed is False
    assert found.text.startswith("1 of 6 records has an equal input")
    both = np.stack([is_member, ~is_member])  # turned round, 0 is OUT and 3 IN
    assert duplicates(records_of(x), both).text.startswith("2 of 6 records have")
    assert duplicates(records_of(x), np.array([[True, True, False, True, False, True]])).passed is True


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.float32, np.float64])
def test_duplicates_of_every_kind_of_input(dtype: Any) -> None:
    x = (np.arange(40).reshape(5, 8) % 7 == 0).astype(dtype)
    x[4] = x[0]
    if x.dtype.kind == "f":
        x[4] = np.where(x[4] == 0, -0.0, x[4])  # equal to 0, though its bytes are not
    assert duplicates(records_of(x), (np.arange(5) < 4)[None]).passed is False
    assert duplicates(records_of(x[:4]), (np.arange(4) < 2)[None]).passed is True


def test_sizes_within_a_tenth_pass() -> None:
    shadows = np.tile(np.arange(200) < 100, (3, 1))
    assert [size_mismatch(np.arange(200) < count, shadows).passed for count in (89, 90, 110, 111)] == [
        False, True, True, False,
    ]  # fmt: skip


def test_thresholds_of_unlike_shadows_are_found_out() -> None:
    random = np.random.default_rng(0)
    is_member = random.random(4000) < 0.5
    mask = random.random((5, 4000)) < 0.5
    like = mf.roc(random.normal(size=4000) + is_member, is_member)
    unlike = mf.roc(random.normal(size=4000) + is_member + 1.0, is_member)
    shadows = mf.roc(random.normal(size=(5, 4000)) + mask, mask)
    assert threshold_of_target("LiRA", like, shadows).passed is True
    warned = threshold_of_target("LiRA", unlike, shadows)
    assert warned.passed is False
    assert "more false alarms than promised" in warned.text
    assert "set with the target's own membership labels" in warned.text
    assert "too few records" in threshold_of_target("LiRA", mf.roc(np.arange(4.0), np.arange(4) > 1), shadows).text


def test_the_numbers_behind_a_threshold_by_hand() -> None:
    """Shadows: 10 non-members, one above 5; so 5 < threshold <= 9 holds 10 %, and the target has 2 of 20 above."""
    shadows = mf.roc(np.r_[np.zeros(9), 9.0, np.full(10, 9.0)], np.arange(20) >= 10)
    target = mf.roc(np.r_[np.zeros(18), 9.0, 9.5, np.full(15, 10.0), np.zeros(5)], np.arange(40) >= 20)
    text = threshold_of_target("x", target, shadows).text
    assert "holds 10 % FPR on the shadow models, x finds 75 % of the members at 10 % FPR" in text


def test_thresholds_from_the_other_models_keep_their_promise() -> None:
    random = np.random.default_rng(0)
    mask = random.random((8, 3000)) < 0.5
    found = threshold_of_pool("LiRA", mf.roc(random.normal(size=mask.shape) + mask, mask))
    assert found.passed is True
    measured = float(found.text.split(" % of a target's members at ")[1].split(" %")[0])
    assert measured == pytest.approx(0.1, abs=0.05)


def test_a_pooled_threshold_by_hand() -> None:
    """Two targets of 10 non-members: one false alarm on the other model is its highest non-member."""
    scores = np.stack([np.r_[np.arange(10.0), 8.5, 3.0], np.r_[np.arange(10.0), 20.0, 8.2]])
    mask = np.tile(np.arange(12) >= 10, (2, 1))
    text = threshold_of_pool("x", mf.roc(scores, mask)).text  # thresholds just above 8: 8.5 of two, then both
    assert "held at 10 % FPR on them, x finds 75 % of a target's members at 10 % FPR (mean of 2 targets)" in text


def test_many_attacks_are_a_warning_and_the_best_gets_a_wider_interval() -> None:
    random = np.random.default_rng(1)
    is_member = np.arange(400) < 200
    rocs = {f"attack {place}": mf.roc(random.normal(size=400), is_member) for place in range(20)}
    few = attacks_tried(dict(list(rocs.items())[:3]))
    assert few.passed is True
    assert few.text.startswith("3 attacks were tried on the same models. attack 0, the headline,")
    many = attacks_tried(rocs)
    best = max(rocs, key=lambda name: rocs[name].auc)
    assert many.passed is False
    assert f"{best} has the highest AUC" in many.text
    assert rocs[best].auc_interval(0.95)[0] > 0.5  # by luck alone
    low = float(many.text.split("its interval is ")[1].split("–")[0])
    assert low == pytest.approx(rocs[best].auc_interval(1 - 0.05 / 20)[0], abs=5e-4)
    assert low < 0.5  # and allowing for 20 tries it is not there
    assert "1 attack was tried" in attacks_tried({"one": rocs["attack 0"]}).text


def test_failed_checks_are_the_warnings() -> None:
    assert failed([Check("a", True, "1"), Check("b", False, "2"), Check("c", None, "3")]) == ("2",)


def test_an_audit_of_drawn_members_runs_them_all() -> None:
    report = mf.audit(RECORDS, train_leaky(2.0), shadows=8)
    verdicts = {each.name: each.passed for each in report.checks}
    assert verdicts == {"blind classifier": None, "duplicates": True, "thresholds": True, "attacks tried": True}
    assert not report.warnings


def test_an_audit_of_a_shifted_target_warns_in_the_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    x = X + 1.5 * COIN[:, None].astype(np.float32)
    x[np.flatnonzero(~COIN)[0]] = x[np.flatnonzero(COIN)[0]]
    records = mf.Records(x, RECORDS.y, classes=CLASSES)
    logits = np.random.default_rng(4).normal(size=(N, CLASSES))
    report = mf.audit(records, mf.Recipe(hidden=(8,), epochs=1), target=logits, is_member=COIN, shadows=6)
    verdicts = {each.name: each.passed for each in report.checks}
    assert verdicts["blind classifier"] is verdicts["duplicates"] is False
    assert verdicts["size"] is True
    assert sum("never sees the model" in each for each in report.warnings) == 1
    report.save(tmp_path)
    facts = json.loads((tmp_path / "report.json").read_text())
    assert {each["name"] for each in facts["checks"]} == set(verdicts)
    page = (tmp_path / "report.html").read_text()
    assert "Whether the numbers can be trusted" in page
    assert "tells members from non-members by their inputs alone" in page
    assert "never sees the model" in str(report)


def test_a_given_mask_is_looked_at_blindly() -> None:
    mask = np.random.default_rng(0).random((8, N)) < 0.5
    assert mf.audit(RECORDS, train_leaky(1.0), shadows=8, membership=mask).checks[0].passed is True
    mask[:, X[:, 0] > 0.5] = np.arange(8)[:, None] % 2 == 0
    found = mf.audit(RECORDS, train_leaky(1.0), shadows=8, membership=mask)
    assert found.checks[0].passed is False
    assert found.warnings[0] == found.checks[0].text


def test_checks_come_before_training() -> None:
    """Diverging training is an hour away; what inputs alone tell is known now."""
    from miafast.plan import make_plan

    plan = make_plan(
        RECORDS, train_leaky(1.0), attack=None, target=None, is_member=None, shadows=6, membership="coins",
        queries=None, seed=0, device="cpu",
    )  # fmt: skip
    assert [each.name for each in plan.checks] == ["blind classifier", "duplicates"]
