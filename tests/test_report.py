"""The report says what its numbers say, in every form, and writes all of it or nothing."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import re
import resource
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miafast.report import AttackResult, Report, exposed, scores as scores_file, svg
from miafast.report.measures import headline_level, lowest_rate, measures
from miafast.report.plain import plain
from miafast.report.words import left_out, verdict
from miafast.roc import roc
from miafast.separation import separation
from miafast.tables import Signals
from tests.demo_report import VULNERABLE, demo_report

HOSTILE = '<script>alert("x")</script>&'
REPORTS: dict[str, dict[str, Any]] = {
    "every model in turn": {},
    "the user's target": {"has_target": True, "records": 4000, "models": 16},
    "seven non-members": {"has_target": True, "records": 16, "unscored": 2},
    "two queries, some unscored": {"queries": 2, "unscored": 40},
    "one attack": {"attacks": 1, "models": 8, "records": 100},
    "four models": {"models": 4, "records": 60, "class_names": None},
    "two models": {"has_target": True, "models": 2, "records": 60},
    "noise": {"leak": 0.0, "models": 8},
    "nothing recorded": {"settings": {}, "seconds": {}, "versions": {}, "backends": {}, "warnings": ()},
    "hostile names": {"name": HOSTILE, "class_names": (HOSTILE,) * 4, "warnings": (HOSTILE,),
                      "settings": {HOSTILE: HOSTILE}},
}  # fmt: skip


@pytest.fixture(scope="module")
def demo() -> Report:
    return demo_report()


@pytest.fixture(scope="module")
def saved(demo: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.save(tmp_path_factory.mktemp("report") / "deep" / "folder")


def _facts(folder: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} in report.json")

    found: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)
    return found


def _single(scores: np.ndarray, is_member: np.ndarray, **overrides: Any) -> Report:
    """A report of one target, two shadows and the given scores."""
    records = len(scores)
    in_mask = np.vstack([np.arange(records) % 2 == 0, np.arange(records) % 2 == 1, is_member])
    signals = Signals(
        phi=np.zeros((3, records, 1), np.float32),
        in_mask=in_mask,
        labels=np.zeros(records, np.int64),
        has_target=True,
    )
    result = AttackResult(name="X", options="X()", scores=scores, is_member=is_member, roc=roc(scores, is_member))
    return Report(results=(result,), signals=signals, **overrides)


# -- files ------------------------------------------------------------------------------------------------------------


def test_four_files_and_nothing_else(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["report.html", "report.json", "roc.png", "scores.csv"]
    assert (saved / "roc.png").read_bytes().startswith(b"\x89PNG")
    assert (saved / "report.html").stat().st_size < 200_000


def test_same_report_same_bytes(saved: Path, tmp_path: Path) -> None:
    again = demo_report().save(tmp_path)
    for path in saved.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


@pytest.mark.parametrize("which", REPORTS)
def test_every_kind_of_report_is_whole(which: str, tmp_path: Path) -> None:
    report = demo_report(**REPORTS[which])
    report.save(tmp_path)
    facts = _facts(tmp_path)
    assert facts == plain(report.facts)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:,)|https?:|@import|url\((?!#)", page)
    for picture in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(picture)
        assert "nan" not in picture
    for attack in facts["attacks"]:
        assert report.results[0].scores.size == attack["members"] + attack["non_members"] + attack["unscored"]


@pytest.mark.parametrize("which", REPORTS)
def test_report_json_fits_its_schema(which: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(exposed.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(demo_report(**REPORTS[which]).facts)), schema)


def test_settings_are_readable_on_the_page(tmp_path: Path) -> None:
    settings = {
        "recipe": {"hidden": [64, 32], "augment": None},
        "mirror": True,
        "print": "0f" * 32,
        "class_names": ["x"],
    }
    page = demo_report(settings=settings).save(tmp_path).joinpath("report.html").read_text("utf-8")
    rows = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)[:4]
    assert rows == [
        ("recipe · hidden", "64, 32"),
        ("recipe · augment", "none"),
        ("mirror", "yes"),
        ("print", "0f" * 8 + "…"),
    ]
    assert _facts(tmp_path)["settings"] == settings


def test_user_text_is_escaped(tmp_path: Path) -> None:
    report = demo_report(**REPORTS["hostile names"])
    named = dataclasses.replace(report.results[0], name=HOSTILE, options=HOSTILE)
    page = dataclasses.replace(report, results=(named,)).save(tmp_path).joinpath("report.html").read_text("utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(") > 20


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_file_in_the_way_is_named(where: str, demo: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"folder='.*file.*' cannot be written \(.*\); .* choose another folder"):
        demo.save(tmp_path / where)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_in_the_way_leaves_all_files_as_they_were(demo: Report, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(OSError, match=r"scores\.csv there is a folder"):
        demo.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


@pytest.fixture
def files_end_at_30_kb() -> Iterator[None]:
    """The operating system refuses to let any file grow further, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("files_end_at_30_kb")
def test_a_full_disk_leaves_nothing_half_written(demo: Report, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "report.html").write_text("before")
    for folder in ("new", "old"):
        with pytest.raises(OSError, match=f"folder='.*{folder}' cannot be written .*; free some space"):
            demo.save(tmp_path / folder)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["report.html"]
    assert (tmp_path / "old" / "report.html").read_text() == "before"


@pytest.mark.parametrize(
    ("missing", "kind", "remedy"),
    [
        ("jinja2", "csv", "miafast[report]"),
        ("matplotlib", "csv", "miafast[report]"),
        ("pyarrow", "parquet", "miafast[data]"),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(
    missing: str, kind: Any, remedy: str, demo: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == missing else there(name, *more)
    )
    with pytest.raises(ModuleNotFoundError, match=f"{missing}.*pip install '{re.escape(remedy)}'"):
        demo.save(tmp_path / "report", scores=kind)
    assert not (tmp_path / "report").exists()


def test_importing_the_report_is_light() -> None:
    heavy = "{'matplotlib', 'jinja2', 'pyarrow', 'scipy.stats', 'torch'} & set(sys.modules)"
    code = f"import sys, miafast.report; print({heavy} or 'light')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"


# -- scores -----------------------------------------------------------------------------------------------------------


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scores_csv_reads_back_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores_file, "BLOCK", 7)
    report = demo_report(models=4, records=20, unscored=3)
    rows = _read_csv(report.save(tmp_path) / "scores.csv")
    assert list(rows[0]) == ["model", "record", "label", "is_member", *(each.name for each in report.results)]
    index = [(int(row["model"]), int(row["record"])) for row in rows]
    assert index == [(model, record) for model in range(4) for record in range(20)]
    assert [int(row["label"]) for row in rows] == report.signals.labels.tolist() * 4
    for each in report.results:
        read = np.array([float(row[each.name] or "nan") for row in rows], np.float32).reshape(4, 20)
        np.testing.assert_array_equal(read, each.scores)
        assert {row[each.name] for row in rows if int(row["record"]) < 3} == {""}
        np.testing.assert_array_equal([row["is_member"] == "1" for row in rows], each.is_member.ravel())


def test_scores_of_doubles_read_back_exactly(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).normal(size=50)
    rows = _read_csv(_single(scores, np.arange(50) < 25).save(tmp_path) / "scores.csv")
    assert [float(row["X"]) for row in rows] == scores.tolist()
    assert {row["model"] for row in rows} == {"2"}


def test_parquet_holds_the_same_as_csv(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    report = demo_report(models=4, records=20, unscored=3)
    rows = _read_csv(report.save(tmp_path) / "scores.csv")
    table = parquet.read_table(report.save(tmp_path, scores="parquet") / "scores.parquet").to_pylist()
    assert len(table) == len(rows)
    for row, text in zip(table, rows, strict=True):
        assert {name: "" if value is None else f"{value:.9g}" for name, value in row.items()} == text


# -- what it says -----------------------------------------------------------------------------------------------------


def test_headline_at_a_tenth_of_a_percent() -> None:
    """2,000 members and non-members; one alarm in 1,000 allows two false ones; 300 members score above the third."""
    members = np.concatenate([np.full(300, 2.0), np.full(1700, -1.0)])
    others = np.concatenate([np.full(2, 3.0), np.full(1998, 0.0)])
    report = _single(np.concatenate([members, others]), np.arange(4000) < 2000)
    low, high = report.results[0].roc.interval(1e-3)
    assert report.headline == (
        f"At a false-alarm rate of 0.1 %, X finds 15.0 % (95 % interval {100 * low:.1f}–{100 * high:.1f} %) "
        "of the training records; guessing would find 0.1 %."
    )


def test_headline_moves_to_what_can_be_measured() -> None:
    scores = np.random.default_rng(1).normal(size=600)
    report = _single(scores, np.arange(600) < 300)
    assert report.headline.startswith(
        "At a false-alarm rate of 1 % (the lowest of the usual ones that 300 non-members can measure), X finds "
    )
    assert report.headline.endswith("guessing would find 1 %.")
    assert "With 300 non-members, 0.1 % and 0.01 % FPR cannot be measured; that takes 1,000 and 10,000." in str(report)


def test_headline_of_a_tiny_audit_is_the_auc() -> None:
    report = _single(np.arange(12.0), np.arange(12) < 6)
    assert report.headline.startswith(
        "6 non-members are too few to measure what X finds at a low false-alarm rate; its AUC is 0.00"
    )
    assert report.facts["headline"]["tpr"] is None
    assert report.facts["verdict"]["level"] == "unknown"


def test_terminal_table_holds_the_numbers_and_fits(demo: Report) -> None:
    text = str(demo)
    assert max(map(len, text.splitlines())) <= 100
    for attack in demo.facts["attacks"]:
        auc, tpr = attack["auc"], attack["tpr"][2]
        assert f"{auc['value']:.3f} ({auc['low']:.3f}–{auc['high']:.3f})" in text
        assert re.search(rf"TPR at 0.1 % FPR .*{100 * tpr['value']:.1f} % \(", text)
    assert re.search(r"TPR at 0.01 % FPR +not measurable +not measurable +not measurable", text)
    assert "With 9,600 non-members, 0.01 % FPR cannot be measured; that takes 10,000." in text


def test_seven_attacks_stand_one_per_line(demo: Report) -> None:
    results = tuple(dataclasses.replace(demo.results[0], name=f"attack {place}") for place in range(7))
    lines = str(dataclasses.replace(demo, results=results)).splitlines()
    assert lines[0].split("  ")[-1].strip() == "TPR at 0.01 % FPR"
    auc = demo.facts["attacks"][0]["auc"]["value"]
    for place in range(7):
        assert lines[2 + place].startswith(f"attack {place}")
        assert f" {auc:.3f} " in lines[2 + place]


def _claim(low: float, *, auc: tuple[float, float] = (0.4, 0.6), name: str = "X") -> dict[str, Any]:
    rows = [{"fpr": 1e-3, "measurable": True, "value": 0.02, "low": low, "high": 0.03}]
    return {"name": name, "tpr": rows, "auc": {"value": sum(auc) / 2, "low": auc[0], "high": auc[1]}}


@pytest.mark.parametrize(
    ("low", "auc_low", "level"),
    [(0.0091, 0.6, "strong"), (0.0089, 0.4, "measurable"), (0.0005, 0.51, "measurable"), (0.0005, 0.49, "none")],
)
def test_verdict_is_drawn_where_it_says(low: float, auc_low: float, level: str) -> None:
    """Strong: nine of ten alarms right by the lower end, low / (low + 0.001) >= 0.9, that is low >= 0.009."""
    got, text = verdict([_claim(low, auc=(auc_low, 0.7))])
    assert got == level
    assert "{" not in text
    assert "X " in text


def test_verdict_is_not_blind_to_a_stronger_attack() -> None:
    """A strong leak by any attack counts; a small one only by the headline attack, chosen beforehand."""
    quiet = _claim(0.0005)
    level, text = verdict([quiet, _claim(0.01, name="loud")])
    assert level == "strong"
    assert text.startswith("When loud points at a record, it is right at least 90 %")
    assert verdict([quiet, _claim(0.002, name="lucky")])[0] == "none"


def test_scores_that_point_the_wrong_way_are_reported(demo: Report) -> None:
    first = demo.results[0]
    backwards = dataclasses.replace(first, scores=-first.scores, roc=roc(-first.scores, first.is_member))
    report = dataclasses.replace(demo, results=(backwards, *demo.results[1:]))
    (*_, caution) = report.facts["warnings"]
    assert re.match(r"LiRA online does worse than guessing \(AUC 0\.3.*check which way its scores point", caution)
    assert caution in str(report)
    assert "worse than guessing" not in str(demo)


@pytest.mark.parametrize(("accuracy", "told"), [(0.87, False), (0.70, True)])
def test_a_target_unlike_its_shadows_is_reported(accuracy: float, told: bool) -> None:
    report = demo_report(has_target=True)
    assert report.signals.test_accuracy is not None
    test = np.append(report.signals.test_accuracy[:-1], accuracy)
    unlike = dataclasses.replace(report, signals=dataclasses.replace(report.signals, test_accuracy=test))
    said = f"The target's test accuracy is {100 * accuracy:.1f} %, the shadow models' 8"
    assert any(each.startswith(said) for each in unlike.facts["warnings"]) == told


def test_measures_are_the_rocs_own(demo: Report) -> None:
    each = demo.results[1]
    facts = measures(each, band=True)
    assert facts["auc"]["value"] == pytest.approx(each.roc.auc)
    assert (facts["auc"]["low"], facts["auc"]["high"]) == pytest.approx(each.roc.auc_interval(0.95))
    assert [row["value"] for row in facts["tpr"]] == pytest.approx(
        [each.roc.tpr_at(fpr) for fpr in (0.1, 0.01, 1e-3)] + [None]
    )
    assert [row["value"] for row in facts["precision"]] == pytest.approx(
        [each.roc.precision_at(1e-3, p) for p in (0.5, 0.1, 0.01)]
    )
    assert facts["per_target"]["auc"]["mean"] == pytest.approx(np.mean(each.roc.per_target_auc))
    assert facts["per_target"]["auc"]["sd"] == pytest.approx(np.std(each.roc.per_target_auc, ddof=1))
    assert [row["measurable"] for row in facts["per_target"]["tpr"]] == [True, True, False, False]
    for fpr, low, high in zip(*(facts["band"][name] for name in ("fpr", "low", "high")), strict=True):
        assert (low, high) == pytest.approx(each.roc.interval(fpr, 0.95))


def test_drawn_curve_is_the_roc(demo: Report) -> None:
    """Every drawn point lies on the ROC, and between drawn points the ROC rises by less than the eye can see."""
    each = demo.results[0].roc
    curve = demo.facts["attacks"][0]["curve"]
    assert len(curve["fpr"]) < 700 < len(each.fpr)
    points = set(zip(each.fpr.tolist(), each.tpr.tolist(), strict=True))
    assert set(zip(curve["fpr"], curve["tpr"], strict=True)) <= points
    wanted = np.geomspace(1 / each.non_members, 0.999, 1000)
    drawn = np.array(curve["tpr"])[np.searchsorted(curve["fpr"], wanted * (1 + 1e-9), side="right") - 1]
    np.testing.assert_allclose(drawn, [each.tpr_at(fpr) for fpr in wanted], rtol=0.03)


def test_plot_puts_the_curve_where_the_numbers_are(demo: Report) -> None:
    attack = demo.facts["attacks"][0]
    level, lowest = headline_level(attack), lowest_rate(demo.facts["attacks"])
    picture = ElementTree.fromstring(svg.roc_plot(demo.facts["attacks"]))
    mark = picture.find("circle")
    assert mark is not None
    assert level is not None
    width, height = svg.WIDTH - svg.LEFT - svg.RIGHT, svg.HEIGHT - svg.TOP - svg.BOTTOM
    assert lowest == 1e-4
    assert float(mark.get("cx", "")) == pytest.approx(svg.LEFT + width / 4, abs=0.1)
    share = 1 + np.log10(level["value"]) / 4
    assert float(mark.get("cy", "")) == pytest.approx(svg.HEIGHT - svg.BOTTOM - share * height, abs=0.1)
    line = next(path.get("d", "") for path in picture.iter("path") if path.get("class") == "line look-0")
    across, up = ([float(x) for x in re.findall(rf"{letter}([\d.]+)", line)] for letter in "HV")
    assert across == sorted(across)
    assert up == sorted(up, reverse=True)
    assert (across[-1], up[-1]) == (svg.WIDTH - svg.RIGHT, svg.TOP)


# -- exposed records --------------------------------------------------------------------------------------------------


def test_separation_is_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miafast.separation.BLOCK", 7)
    signals = demo_report(models=10, records=30, queries=2).signals
    got, ranking = separation(signals, models=range(2, 9))
    phi, mask = signals.phi[2:9].astype(float).mean(axis=2), signals.in_mask[2:9]
    variances = np.full(30, np.nan)
    for record in range(30):
        inside, outside = phi[mask[:, record], record], phi[~mask[:, record], record]
        if min(len(inside), len(outside)) < 2:
            assert np.isnan(got[record])
            continue
        squares = np.sum((inside - inside.mean()) ** 2) + np.sum((outside - outside.mean()) ** 2)
        variances[record] = squares / (len(inside) + len(outside) - 2)
        assert got[record] == pytest.approx((inside.mean() - outside.mean()) / np.sqrt(variances[record]))
    np.testing.assert_allclose(ranking, got * np.sqrt(2 * variances / (variances + np.nanmedian(variances))))


def test_planted_records_are_named(demo: Report) -> None:
    listed = [each["record"] for each in demo.facts["exposed"]["most"]]
    assert len(listed) == 20
    assert set(listed) <= set(range(VULNERABLE))
    assert all(each["found"] >= each["of"] / 2 for each in demo.facts["exposed"]["most"])
    assert all(each["separation"] < 2 for each in demo.facts["exposed"]["typical"])


def test_ranked_on_one_half_and_told_on_the_other(demo: Report) -> None:
    """Destroying the second half changes what is told, not the order; destroying the first changes the order."""
    rng = np.random.default_rng(3)

    def without(half: slice) -> dict[str, Any]:
        phi = demo.signals.phi.copy()
        phi[half] = rng.normal(size=phi[half].shape)
        return dataclasses.replace(demo, signals=dataclasses.replace(demo.signals, phi=phi)).facts["exposed"]

    whole = demo.facts["exposed"]
    second_gone, first_gone = without(slice(16, None)), without(slice(16))
    order = [each["record"] for each in whole["most"]]
    assert [each["record"] for each in second_gone["most"]] == order
    assert np.mean([each["separation"] for each in second_gone["most"]]) < 1
    assert [each["record"] for each in first_gone["most"]] != order
    told, _ = separation(demo.signals, models=range(16, 32))
    assert [each["separation"] for each in first_gone["most"]] == told[
        [each["record"] for each in first_gone["most"]]
    ].tolist()


def test_noise_has_no_winners() -> None:
    """The twenty best of 2,000 noisy records look separated on the half that ranked them, and are not on the other."""
    most = demo_report(leak=0.0, records=2000, models=64).facts["exposed"]["most"]
    assert np.mean([each["separation_while_ranking"] for each in most]) > 0.7
    assert abs(np.mean([each["separation"] for each in most])) < 4 * np.sqrt(4 / 32 / 20)


def test_users_target_lists_its_members_by_score() -> None:
    report = demo_report(has_target=True, records=4000, unscored=5)
    result, most = report.results[0], report.facts["exposed"]["most"]
    allowed = np.flatnonzero(result.is_member & ~np.isnan(result.scores))
    best = allowed[np.argsort(-result.scores[allowed])][:20]
    assert [each["record"] for each in most] == best.tolist()
    assert [each["score"] for each in most] == result.scores[best].tolist()
    assert [each["target_phi"] for each in most] == pytest.approx(report.signals.phi[-1, best, 0])
    found = [each["found"] for each in most]
    threshold = np.sort(result.scores[~result.is_member & ~np.isnan(result.scores)])[::-1]
    allowed_alarms = int(1e-3 * report.facts["attacks"][0]["non_members"])
    assert found == [int(each["score"] > threshold[allowed_alarms]) for each in most]


def test_histograms_count_every_model_once(demo: Report) -> None:
    drawn = demo.facts["exposed"]["histograms"]["records"]
    assert len(drawn) == 8
    for each in drawn:
        inside = int(demo.signals.in_mask[16:, each["record"]].sum())
        assert (sum(each["in"]), sum(each["out"])) == (inside, 16 - inside)


def test_too_few_models_to_name_anyone() -> None:
    report = demo_report(models=4, records=60)
    assert report.facts["exposed"]["most"] == []
    assert "Too few models" in report.facts["exposed"]["reason_for_none"]


def test_accuracy_is_mean_sd_and_gap(demo: Report) -> None:
    (row,) = demo.facts["accuracy"]
    train, test = demo.signals.train_accuracy, demo.signals.test_accuracy
    assert train is not None
    assert test is not None
    assert row["train"] == pytest.approx({"mean": train.mean(), "sd": train.std(ddof=1)})
    assert row["gap"] == pytest.approx({"mean": (train - test).mean(), "sd": (train - test).std(ddof=1)})
    target, shadows = demo_report(has_target=True).facts["accuracy"]
    assert (target["models"], shadows["models"]) == (1, 32)
    assert target["train"]["sd"] is None


def test_signals_may_lie_on_disk(demo: Report, tmp_path: Path) -> None:
    np.save(tmp_path / "phi.npy", demo.signals.phi)
    phi = np.load(tmp_path / "phi.npy", mmap_mode="r")
    on_disk = dataclasses.replace(demo, signals=dataclasses.replace(demo.signals, phi=phi))
    assert on_disk.facts == demo.facts


# -- look -------------------------------------------------------------------------------------------------------------


def _themes() -> dict[str, dict[str, str]]:
    css = (Path(exposed.__file__).parent / "report.css").read_text(encoding="utf-8")
    blocks = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    return dict(zip(("light", "dark", "print"), blocks, strict=True))


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_colours_can_be_told_from_the_paper(theme: str) -> None:
    """WCAG 2: contrast (L1 + .05) / (L2 + .05) of at least 4.5 for text, and 3 for lines and bars."""
    colours = _themes()[theme]
    assert set(colours) == set(_themes()["light"])
    for name, colour in colours.items():
        if name in ("paper", "rule", "faint"):
            continue
        lighter, darker = sorted((_luminance(colour), _luminance(colours["paper"])), reverse=True)
        wanted = 3.0 if name.startswith("look") or name in ("in", "out", "target") else 4.5
        assert (lighter + 0.05) / (darker + 0.05) >= wanted, name


# -- bad input --------------------------------------------------------------------------------------------------------


def test_plain_says_only_what_json_can() -> None:
    value = {
        "a": np.array([1.0, np.nan]),
        "b": (np.int64(3), Path("x")),
        4: {1},
        "c": float("inf"),
        "d": np.bool_(True),
    }
    assert plain(value) == {"a": [1.0, None], "b": [3, "x"], "4": "{1}", "c": None, "d": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": " "}, r"name=' '; give the attack a name"),
        ({"scores": np.zeros((1, 2, 3))}, r"scores has shape \(1, 2, 3\); give \[models, records\] or \[records\]"),
        ({"is_member": np.zeros(3, bool)}, r"is_member is bool \(3,\); scores need bool \(32, 600\)"),
        ({"is_member": np.zeros((32, 600), int)}, r"is_member is int64 \(32, 600\); scores need bool"),
    ],
)
def test_a_bad_result_is_refused(change: dict[str, Any], message: str, demo: Report) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(demo.results[0], **change)


def test_a_bad_report_is_refused(demo: Report, tmp_path: Path) -> None:
    first, second = demo.results[:2]
    flipped = dataclasses.replace(second, is_member=~second.is_member)
    short = dataclasses.replace(first, scores=first.scores[:, :5], is_member=first.is_member[:, :5])
    for results, message in [
        ((), "results is empty; a report needs at least one attack"),
        ((first, first), "results holds 'LiRA online' more than once; give every attack its own name"),
        ((first, flipped), "is_member of 'LiRA offline' differs from 'LiRA online'"),
        ((short,), r"'LiRA online' have shape \(32, 5\); signals of 32 models and 600 records .* need \(32, 600\)"),
        ((dataclasses.replace(first, name="label"),), "name='label' is a column of the scores file; give"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(demo, results=results)
    with pytest.raises(ValueError, match=r"class_names has 2 names for labels up to 3; give one name per class"):
        dataclasses.replace(demo, class_names=("a", "b"))
    with pytest.raises(ValueError, match=r"scores='xlsx' is not known; choose one of csv, parquet"):
        demo.save(tmp_path / "report", scores="xlsx")  # type: ignore[arg-type]
    assert not (tmp_path / "report").exists()


def test_attacks_that_left_out_as_many_share_a_sentence() -> None:
    cases = {"members": 60, "non_members": 30}
    attacks = [{"name": name, "unscored": unscored, **cases} for name, unscored in (("A", 10), ("B", 0), ("C", 10))]
    (note,) = left_out(attacks)
    assert note.startswith("A and C could not score 10 of 100 cases")
