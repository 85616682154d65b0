"""The papers' tables measure what they say: steps by hand, clusters, verdicts on planted leaks, resumed runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miafast as mf
from benchmarks import __main__ as command, papers, papers_defenses, papers_lira, papers_memorization, papers_shokri
from miafast.report import AttackResult, Report
from miafast.tables import Signals
from tests.small_files import lines, tar

torch = pytest.importorskip("torch")
SMALL = papers_shokri.Data("purchase100", 120, mf.Recipe(hidden=(4,), epochs=1), models=6, repetitions=1)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    papers_lira.everything.cache_clear()
    papers_memorization.measured.cache_clear()
    papers_shokri.read.cache_clear()
    papers_shokri.measured.cache_clear()


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["benchmarks", "papers", *words])
    return command.main()


def test_thresholds_by_hand() -> None:
    """Balanced, 4 models: model 0 is IN; the next OUT model after it is left out with it."""
    signal = np.array([[5.0], [1.0], [3.0], [2.0]])
    mask = np.array([[True], [False], [True], [False]])
    middle = papers_lira.leave_one_out(signal, mask, lambda score, into, out: score - (into + out) / 2)
    assert middle[0, 0] == 5.0 - (3.0 + 2.0) / 2  # IN: 3 alone; OUT: 2, as 1 left with the target
    only_out = papers_lira.leave_one_out(signal, mask, lambda score, into, out: score - out)
    assert only_out[1, 0] == 1.0 - 2.0


def test_steps_find_a_leak_and_nothing_where_nothing_leaks() -> None:
    random = np.random.default_rng(0)
    mask = mf.membership(1500, 16, seed=0)
    hardness = random.normal(size=1500) * 3
    for leak in (0.0, 2.0):
        phi = random.normal(size=(16, 1500, 1)) + (hardness + leak * mask)[..., None]
        auc = {step: mf.roc(scores, mask).auc for step, scores in papers_lira.steps(phi, mask).items()}
        assert list(auc) == list(papers_lira.STEPS)
        if leak:
            assert auc["IN & OUT + shrunken variance"] > auc["OUT + shrunken variance"] > auc["loss"] + 0.1
        else:  # the 24,000 scores of a record hang together, at most 16-fold
            assert all(abs(each - 0.5) < 3 * np.sqrt(1 / 6 / 1500) for each in auc.values()), auc


def test_a_balanced_block_ends_where_the_number_of_shadows_does() -> None:
    mask = papers_lira.blocks_of(50, (4, 4, 8))
    assert all((mask[:count].sum(axis=0) == count // 2).all() for count in (4, 8, 16))


def test_classes_are_clusters_of_records() -> None:
    x = np.repeat([[0.0, 0], [9, 9], [0, 9]], 20, axis=0) + np.random.default_rng(0).normal(size=(60, 2))
    found = papers_shokri.clustered(mf.Records(x, np.arange(60) % 2, classes=2), 3, seed=0)
    assert found.classes == 3
    assert [len(set(found.y[at : at + 20])) for at in (0, 20, 40)] == [1, 1, 1]
    assert len({found.y[0], found.y[20], found.y[40]}) == 3


def test_verdicts_by_hand() -> None:
    called = np.array([[True, True, True, False], [False, False, True, False]])
    is_member = np.array([[True, True, False, False], [True, True, False, False]])
    assert papers_shokri.verdict(called, is_member) == {
        "precision": (2 / 3 + 0) / 2, "recall": 0.5, "accuracy": (0.75 + 0.25) / 2,
    }  # fmt: skip
    assert papers.mean_interval([0.4, 0.6]) == "0.500 (-0.771–1.771)"  # t(.975; 1) = 12.706


@pytest.mark.parametrize("leak", [0.0, 3.0])
def test_classes_and_entropies_tell_a_planted_leak(leak: float) -> None:
    random = np.random.default_rng(0)
    y, mask = np.arange(400) % 4, mf.membership(400, 6, seed=0)
    logits = random.normal(size=(6, 400, 1, 4))
    logits[:, np.arange(400), 0, y] += leak * (y + 1) / 2 * mask
    scores = np.where(mask, leak, 0.0) + random.normal(size=mask.shape)
    result = AttackResult("planted", "", scores, mask, mf.roc(scores, mask))
    signals = Signals(np.zeros((6, 400, 1)), mask, y, arrays={"logits": logits})
    report = Report((result,), signals)
    row = papers_shokri.class_row(report, mf.Records(np.zeros((400, 1)), y, classes=4))
    assert (row["q0"] > 0.6) == (leak > 0)
    members, others = papers_shokri.entropy_rows(report)
    assert sum(members[f"bin{place}"] for place in range(papers_shokri.BINS)) == pytest.approx(100)
    assert (members["bin0"] > others["bin0"] + 20) == (leak > 0)
    assert (members["distance"] > 0.3) == (leak > 0)


@pytest.mark.parametrize("leak", [False, True])
def test_memorised_records_are_counted_and_found(leak: bool) -> None:
    """Every second record is right exactly where it is IN, record 1 makes record 3 right; or nothing depends on IN."""
    random = np.random.default_rng(0)
    mask, records = mf.membership(200, 64, seed=0), np.arange(200)
    planted = (records % 2 == 1) & leak
    correct = np.where(planted, mask, random.random(mask.shape) < 0.7).astype(np.float32)
    correct[:, 3] = mask[:, 1 if leak else 3] & (random.random(64) < 0.95)
    phi = random.normal(size=(64, 200, 1)) + 8.0 * (planted & mask)[:, :, None]
    signals = Signals(phi, mask, records % 2, arrays={"correct": correct[:, :, None]})
    facts = papers_memorization.estimates(signals)
    low, *_, high = papers_memorization.found(signals)
    if leak:
        assert facts["half"] > 40
        assert facts["pairs"] >= 1 > facts["pairs_chance"]
        assert min(facts["half_surely"], 100 * facts["across"]) > 40
        assert high["records"] == 99
        assert high["tpr2"] > 90 > low["tpr2"]
        assert high["separation"] > 4 * low["separation"]
    else:
        assert facts["half"] <= 0.5
        assert facts["pairs"] == 0
        assert abs(facts["across"]) < 3 / np.sqrt(200)


@pytest.mark.parametrize(
    ("paper", "cases"),
    [
        ("lira", ("ablation-location30", "attacks-cifar100", "shadows-location30")),
        ("shokri", ("gap-location-5", "classes-mnist", "entropy-adult", "synthesis-location30")),
        ("defenses", ("none", "label-only")),
        ("memorization", ("estimates-mnist", "found-location30")),
    ],
)
@pytest.mark.filterwarnings("ignore::miafast.attacks.PooledClassesWarning")
def test_smoke(
    paper: str, cases: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    only = [word for case in cases for word in ("--only", case)]
    assert run(monkeypatch, paper, "--smoke", *only, "--out", str(tmp_path), "--workdir", str(tmp_path / "work")) == 0
    out = capsys.readouterr().out
    assert out.count(f"## papers {paper}") == len(cases)
    assert "published" in out
    assert list(tmp_path.glob("*.md")) == []  # nothing is saved


def test_a_table_goes_on_from_its_workdir(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any, plain_machine: None
) -> None:
    """Saved with its machine, once trained never again; another case joins the file, the same one begins a further."""
    monkeypatch.setitem(papers_shokri.DATA, "location30", replace(SMALL, name="digits", classes=2))
    monkeypatch.setitem(papers_shokri.DATA, "location-5", replace(SMALL, name="digits", classes=2))
    words = ("shokri", "--out", str(tmp_path), "--workdir", str(tmp_path / "work"), "--repetitions", "2", "--only")
    assert run(monkeypatch, *words, "gap-location30") == 0
    (page,) = tmp_path.glob("*.md")
    assert "precision" in page.read_text()
    assert "GiB of memory" in page.read_text()
    first, begun = capsys.readouterr().out, page.read_text()
    assert run(monkeypatch, *words, "gap-location-5") == 0
    assert list(tmp_path.glob("*.md")) == [page]
    both, _ = page.read_text(), capsys.readouterr()
    assert both.startswith(begun)
    papers_shokri.measured.cache_clear()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("miafast.shadow.train", refuse)
    assert run(monkeypatch, *words, "gap-location30") == 0
    assert page.read_text() == both
    further = page.with_stem(f"{page.stem}-2")
    assert further.read_text() == begun
    assert capsys.readouterr().out == first.replace(page.name, further.name)


@pytest.fixture
def plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import machine

    told = machine.describe(bandwidth_mib=1)
    monkeypatch.setattr(machine, "describe", lambda **_: told)


@pytest.mark.parametrize("name", ["label-only", "rounding:1"])
def test_defended_answers_are_those_of_a_defended_audit(name: str, tmp_path: Path) -> None:
    """Models are trained once for all defences of answers, and attacks see what they would in an audit of each."""
    records = mf.Records(*(each[:200] for each in (mf.load("digits").x, mf.load("digits").y)), classes=10)
    made = papers_defenses.audited(name, records, tmp_path, smoke=True)
    asked = mf.audit(records, papers_defenses.SMOKE, attack=papers_defenses.ATTACKS, shadows=6, defense=name)
    np.testing.assert_allclose(made.signals.phi, asked.signals.phi, rtol=1e-4, atol=1e-4)
    for one, other in zip(made.results, asked.results, strict=True):
        assert one.name == other.name
        assert one.roc.auc == pytest.approx(other.roc.auc, abs=2e-3)


def test_purchase_and_texas_run_on_files_of_their_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 2, (130, 20)), np.arange(130) % 100 + 1
    tar(tmp_path / "dataset_purchase.tgz", {"dataset_purchase": lines(x, y)})
    np.savez(tmp_path / "texas100.npz", x=x, y=y - 1)
    for name in ("purchase-2", "purchase-100", "texas"):
        asked = papers_shokri.DATA[name]
        small = replace(SMALL, name=asked.name, classes=asked.classes, published=asked.published)
        monkeypatch.setitem(papers_shokri.DATA, name, small)
        with pytest.warns(UserWarning, match="were published"):
            (row,) = papers_shokri.run(f"gap-{name}", smoke=False, data_dir=tmp_path)
        assert row["classes"] == (asked.classes or 100)
        assert row["published"] == asked.published


def test_a_set_whose_files_are_missing_is_left_out(tmp_path: Path, capsys: Any) -> None:
    assert papers_shokri.run("gap-texas", smoke=False, data_dir=tmp_path) == []
    assert papers_lira.run("attacks-cifar100", smoke=False) == []
    assert "texas100: left out" in capsys.readouterr().out


def test_options_that_a_table_has_no_use_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="--repetitions: these tables have no use"):
        run(monkeypatch, "lira", "--smoke", "--repetitions", "3")
