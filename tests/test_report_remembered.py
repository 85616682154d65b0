"""What the report says of memorisation: planted records, plain loops, and nothing where nothing is remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from miafast.report import AttackResult, Report
from miafast.report.exposed import TOO_FEW
from miafast.report.remembered import BY_CONFIDENCE, BY_CORRECTNESS, remembered
from tests.demo_report import demo_report

MODELS, RECORDS, PLANTED = 40, 300, 5


def made(*, planted: int = 1, models: int = MODELS) -> tuple[AttackResult, mf.Signals]:
    """Who is right is a coin, but on the first ``planted`` records from PLANTED on: there, who trained on them."""
    rng = np.random.default_rng(0)
    in_mask = rng.random((models, RECORDS)).argsort(axis=0) < models // 2
    correct = (rng.random((models, RECORDS, 1)) < 0.6).astype(np.float32)
    correct[:, PLANTED : PLANTED + planted, 0] = in_mask[:, PLANTED : PLANTED + planted]
    phi = rng.normal(size=(models, RECORDS, 1)) + 2.0 * in_mask[:, :, None]
    arrays = {
        "correct": correct,
        "entropy": rng.random((models, RECORDS, 1)) * np.log(3) * (0.5 + 0.5 * ~in_mask)[..., None],
    }
    signals = mf.Signals(phi, in_mask, np.arange(RECORDS) % 3, arrays=arrays)
    scores = phi[..., 0]
    return AttackResult("phi", "phi", scores, in_mask, mf.roc(scores, in_mask)), signals


LEVEL = {"fpr": 0.1}


def test_the_planted_record_is_named_and_measured_on_the_other_half() -> None:
    result, signals = made()
    facts = remembered(result, signals, class_names=("a", "b", "c"), level=LEVEL)
    first = facts["most"][0]
    assert (first["record"], first["class"], first["memorization"], first["hardness"]) == (PLANTED, "c", 1.0, 1.0)
    assert facts["right_when"] == BY_CORRECTNESS
    assert facts["models_ranking"] + facts["models_reporting"] == MODELS
    for each in facts["most"]:
        half, record = slice(MODELS // 2, None), each["record"]
        right, is_in = signals.arrays["correct"][half, record, 0], signals.in_mask[half, record]
        assert each["memorization"] == pytest.approx(right[is_in].mean() - right[~is_in].mean())
        assert each["low"] <= each["memorization"] <= each["high"]


def test_classes_against_plain_loops() -> None:
    result, signals = made(planted=60)
    facts = remembered(result, signals, class_names=None, level=LEVEL)
    threshold = np.sort(result.scores[~result.is_member])[::-1][int(0.1 * (~result.is_member).sum())]
    for row in facts["classes"]:
        of_class = signals.labels == row["label"]
        alarms, members = result.scores[:, of_class] > threshold, result.is_member[:, of_class]
        assert row["records"] == of_class.sum() == 100
        assert row["precision"] == pytest.approx((alarms & members).sum() / alarms.sum(), abs=1e-3)
        assert row["found"] == pytest.approx((alarms & members).sum() / members.sum(), abs=1e-3)
        assert row["low"] < row["precision"] < row["high"]
        right, is_in = signals.arrays["correct"][:, of_class, 0], signals.in_mask[:, of_class]
        each = [right[is_in[:, r], r].mean() - right[~is_in[:, r], r].mean() for r in range(100)]
        assert row["memorization"] == pytest.approx(np.mean(each))
    values = [row["memorization"] for row in facts["classes"]]
    assert values == sorted(values, reverse=True)


def test_noise_is_not_remembered() -> None:
    result, signals = made(planted=0)
    facts = remembered(result, signals, class_names=None, level=None)
    error = np.sqrt(0.6 * 0.4 * 4 / MODELS / RECORDS)
    assert abs(facts["mean"]) < 3 * error
    assert facts["surely_remembered"] <= facts["by_chance"] + 3 * np.sqrt(facts["by_chance"])
    assert abs(np.mean([each["memorization"] for each in facts["most"]])) < 3 * np.sqrt(0.6 * 0.4 * 8 / MODELS / 10)
    assert all(row["precision"] is None and row["found"] is None for row in facts["classes"])


def test_uncertainty_by_hand() -> None:
    result, signals = made()
    facts = remembered(result, signals, class_names=None, level=None)["uncertainty"]
    share = signals.arrays["entropy"][..., 0] / np.log(3)
    assert facts["mean_of_members"] == pytest.approx(share[signals.in_mask].mean())
    assert facts["mean_of_members"] < facts["mean_of_non_members"]
    expected = np.histogram(share[~signals.in_mask], np.linspace(0, 1, 25))[0] / (~signals.in_mask).sum()
    np.testing.assert_allclose(facts["non_members"], expected)
    target = remembered(*_with_target(result, signals), class_names=None, level=None)["uncertainty"]
    assert target["mean_of_members"] == pytest.approx(share[-1, signals.in_mask[-1]].mean())


def _with_target(result: AttackResult, signals: mf.Signals) -> tuple[AttackResult, mf.Signals]:
    one = replace(
        result,
        scores=result.scores[-1],
        is_member=result.is_member[-1],
        roc=mf.roc(result.scores[-1], result.is_member[-1]),
    )
    return one, replace(signals, has_target=True)


def test_without_correctness_confidence_decides_and_too_few_models_name_nobody() -> None:
    result, signals = made(models=4)
    facts = remembered(result, replace(signals, arrays={}), class_names=None, level=None)
    assert facts["right_when"] == BY_CONFIDENCE
    assert facts["uncertainty"] is None
    assert (facts["most"], facts["reason_for_none"]) == ([], TOO_FEW)


def test_the_page_shows_it(tmp_path: Path) -> None:
    result, signals = made(planted=10)
    page = (Report((result,), signals).save(tmp_path) / "report.html").read_text(encoding="utf-8")
    told = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["remembered"]
    assert sum(map(sum, told["with_separation"]["counts"])) == RECORDS
    for piece in ("What the models remember", 'id="classes"', 'class="plot uncertainty"', 'class="plot remembered"'):
        assert piece in page
    assert 'class="plot uncertainty"' not in (demo_report().save(tmp_path) / "report.html").read_text(encoding="utf-8")
