"""`miafast poison | invert | exposure | extract`: says what it found, saves it, names what was wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from miafast.cli import app

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

SOME_WORDS = "the sun rose over a quiet field while birds sang of rain and old stone walls kept warm by light"


def run(*args: object) -> str:
    done = CliRunner().invoke(app, [str(each) for each in args])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(" ".join(np.random.default_rng(0).choice(SOME_WORDS.split(), size=2500)), encoding="utf-8")
    return path


def test_poison_that_exposes_shows_in_the_table(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 20)).astype(np.float32)
    np.savez(tmp_path / "toy.npz", x=x, y=(x[:, 0] > 0).astype(int) + 2 * (x[:, 1] > 0))
    printed = run(
        "poison", "--data", tmp_path / "toy.npz", "--out", tmp_path / "out", "--targets", 50, "--copies", "0,4",
        "--mislabel", "30", "--shadows", 8, "--fpr", 0.02, "--hidden", "32", "--epochs", 30, "--learning-rate", 0.01,
        "--quiet",
    )  # fmt: skip
    none, four, untargeted = json.loads((tmp_path / "out/poisoning.json").read_text())["doses"]
    assert [each["dose"] for each in (none, four, untargeted)] == ["0 copies", "4 copies", "30 mislabelled"]
    assert four["auc"] > none["auc"] + 0.05
    assert "4 copies" in printed
    assert (tmp_path / "out/dose-2/report.html").exists()


def test_inversion_of_digits_is_recognised_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    printed = run("invert", "--data", "digits", "--shape", "8,8", "--epochs", 10, "--out", tmp_path)
    facts = json.loads((tmp_path / "inversion.json").read_text())
    assert facts["success"]["accuracy"] > 0.5
    assert facts["headline"] in printed
    page = (tmp_path / "inversion.html").read_text()
    assert page.count("<img") == 1
    assert "recognised by an independent classifier" in page
    assert (tmp_path / "inversion.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "reconstructions.npz") as found:
        assert found["x"].shape == (10, 1, 8, 8)


def test_inversion_of_what_is_no_image_has_no_picture(tmp_path: Path) -> None:
    run("invert", "--data", "digits", "--records", 200, "--epochs", 2, "--steps", 20, "--out", tmp_path)
    assert "<img" not in (tmp_path / "inversion.html").read_text()
    assert not (tmp_path / "inversion.png").exists()


def test_a_canary_put_in_often_is_exposed_and_one_never_put_in_is_not(text: Path, tmp_path: Path) -> None:
    asked = ("exposure", "--text", text, "--canary", "pin ###. ", "--copies", "0,40", "--epochs", 12, "--width", 48)
    printed = run(*asked, "--out", tmp_path / "out")
    never, often = json.loads((tmp_path / "out/exposure.json").read_text())["canaries"]
    assert often["exposure"] > 8
    assert often["exposure"] > never["exposure"] + 3
    assert "at most 10.0" in printed
    assert often["text"] in (tmp_path / "out/exposure.html").read_text()


def test_extraction_ranks_by_six_criteria(text: Path, tmp_path: Path) -> None:
    secret = "Keep the red key under the third stone by the well, and tell nobody. "
    text.write_text(secret.join(text.read_text()[begin : begin + 200] for begin in range(0, 12000, 150)))
    options = ("--count", 40, "--length", 60, "--run", 25, "--decay", 0, "--epochs", 12, "--width", 40)
    printed = run("extract", "--text", text, *options, "--out", tmp_path / "out")
    facts = json.loads((tmp_path / "out/extraction.json").read_text())
    assert sorted(facts["scores"]) == ["lower-case", "other", "perplexity", "smaller", "window", "zlib"]
    assert facts["headline"] in printed
    verbatim = np.array(facts["verbatim"])
    first = np.argsort(facts["scores"]["perplexity"])[-5:]
    assert verbatim[first].mean() > verbatim.mean() > 0
    assert "Verbatim by criterion" in (tmp_path / "out/extraction.html").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("poison", "--data", "digits", "--targets", 5000), "--targets 5000"),
        (("poison", "--data", "digits", "--targets", 3, "--shadows", 8), "cannot be measured"),
        (("poison", "--data", "digits", "--copies", "some"), "--copies 'some'"),
        (("invert", "--data", "digits", "--shape", "7,8"), "--shape"),
        (("invert", "--data", "digits", "--smooth", 0.5), "smooth=0.5"),
        (("exposure", "--canary", "my pin"), "0 digits"),
        (("exposure", "--canary", "pin ##", "--copies", "-1"), "copies="),
        (("exposure", "--canary", "pin ##", "--characters", 0), "--characters 0"),
        (("exposure", "--canary", "pin ##", "--characters", 3, "--copies", 0), "a text of at least 65 tokens"),
        (("exposure", "--canary", "pin ##", "--epochs", 0), "epochs=0"),
        (("exposure", "--canary", "pin ##", "--text", "nowhere.txt"), "--text 'nowhere.txt' cannot be read: No such"),
        (("extract", "--length", 20), "run=30 in texts of length=20"),
        (("audit-dp", "--data", "digits", "--records", -5), "--records -5"),
    ],
)
def test_mistakes_are_named_before_training(options: tuple[object, ...], says: str, text: Path, tmp_path: Path) -> None:
    given = ("--text", text) if options[0] in ("exposure", "extract") and "--text" not in options else ()
    with pytest.raises(ValueError, match=says):
        run(*options, *given, "--out", tmp_path / "out")
