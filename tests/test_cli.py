"""The command line: one command audits, scores or reports; a mistake is one line that names the option."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from miafast import cli
from miafast.attacks import ATTACKS
from miafast.bench import throughput
from miafast.defenses import DEFENSES
from miafast.epsilon.lower_bound import METHODS
from miafast.ops.lira import TAILS
from miafast.ops.variance_prior import VARIANCES
from miafast.shadow.recipe import MODELS

pytest.importorskip("matplotlib")

rng = np.random.default_rng(0)
RECIPE = [f"--{each.name.replace('_', '-')}" for each in fields(mf.Recipe)]
MASK = rng.random((12, 80)) < 0.5
PHI = (rng.normal(size=(12, 80)) + 3 * MASK).astype(np.float32)
ONE_TARGET = ["--shadow", "others", "--in-mask", "others_mask", "--target", "target"]


def run(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    """The exit status of ``miafast ARGS``, in this process."""
    monkeypatch.setattr(sys, "argv", ["miafast", *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.fixture
def arrays(tmp_path: Path) -> dict[str, Path]:
    logits = np.zeros((*PHI.shape, 2), np.float32)
    logits[..., 0] = PHI
    made = {"shadow": PHI, "in_mask": MASK, "labels": np.zeros(80, np.int64), "logits": logits}
    made |= {"target": PHI[0], "is_member": MASK[0], "others": PHI[1:], "others_mask": MASK[1:]}
    made |= {"ints": MASK.astype(int), "mask_of_few": MASK[0, :7], "nobody": np.zeros(80, bool)}
    for name, array in made.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "broken.npy").write_bytes((tmp_path / "shadow.npy").read_bytes()[:100])
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    return {path.stem: path for path in tmp_path.glob("*.npy")}


def test_audit_of_a_file_writes_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    np.savez(tmp_path / "toy.npz", x=rng.normal(size=(200, 6)).astype(np.float32), y=rng.integers(0, 3, 200))
    options = ("--shadows", 8, "--hidden", "16", "--epochs", 20, "--batch-size", 16, "--learning-rate", 0.01, "--quiet")
    command = ("audit", "--data", tmp_path / "toy.npz", "--out", tmp_path / "out", *options)
    assert run(monkeypatch, *command) == 0
    printed = capsys.readouterr().out
    for name in ("LiRA online", "LiRA offline", "loss threshold"):
        assert name in printed
    assert "report.html" in printed
    scores = (tmp_path / "out" / "scores.csv").read_bytes()
    assert json.loads((tmp_path / "out" / "run" / "run.json").read_text())["recipe"]["epochs"] == 20

    assert run(monkeypatch, "report", tmp_path / "out" / "run", "--out", tmp_path / "again") == 0
    assert (tmp_path / "again" / "scores.csv").read_bytes() == scores

    capsys.readouterr()
    assert run(monkeypatch, *command, "--seed", 1) == 2
    assert "seed: 0 there, 1 here" in capsys.readouterr().err


def test_score_agrees_with_python(
    arrays: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ("--shadow", arrays["others"], "--in-mask", arrays["others_mask"], "--target", arrays["target"])
    assert run(monkeypatch, "score", *shared, "--out", tmp_path / "a") == 0
    expected = mf.LiRA().score(PHI[0], PHI[1:], MASK[1:])
    np.testing.assert_array_equal(np.load(tmp_path / "a" / "scores.npy"), expected)
    assert not (tmp_path / "a" / "report.html").exists()

    assert run(monkeypatch, "score", *shared, "--is-member", arrays["is_member"], "--out", tmp_path / "b") == 0
    assert (tmp_path / "b" / "report.html").exists()

    every = ("score", "--in-mask", arrays["in_mask"], "--out", tmp_path / "c")
    assert run(monkeypatch, *every, "--shadow", arrays["shadow"]) == 0
    from_phi = np.load(tmp_path / "c" / "scores.npy")
    np.testing.assert_array_equal(from_phi, mf.LiRA().score_all(PHI, MASK))
    assert run(monkeypatch, *every, "--shadow", arrays["logits"], "--labels", arrays["labels"]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "c" / "scores.npy"), from_phi, rtol=1e-4, atol=1e-4)
    assert "higher = more likely a member" in capsys.readouterr().out
    two = np.repeat(np.load(arrays["logits"])[:, :, None], 2, axis=2)  # [models, records, queries, classes]
    np.save(tmp_path / "two.npy", two)
    assert run(monkeypatch, *every, "--shadow", tmp_path / "two.npy", "--labels", arrays["labels"]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "c" / "scores.npy"), from_phi, rtol=1e-4, atol=1e-4)

    assert run(monkeypatch, *every, "--shadow", arrays["shadow"], "--attacks", "all") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("RMIA online", "Attack-P"))
    assert "Shokri" not in out  # it reads logits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shadow", "missing.npy", "--in-mask", "in_mask"], "--shadow"),
        (["--shadow", "broken", "--in-mask", "in_mask"], "--shadow .*broken.npy"),
        (["--shadow", "pickled", "--in-mask", "in_mask"], "--shadow .*pickled.npy"),
        (["--shadow", "shadow", "--in-mask", "ints"], "bool"),
        (["--shadow", "shadow", "--in-mask", "others_mask"], "in_mask"),
        (["--shadow", "shadow", "--in-mask", "in_mask", "--attacks", "best"], "--attacks 'best'"),
        (["--shadow", "shadow", "--in-mask", "in_mask", "--attacks", "lira"], "did you mean 'lira-online'"),
        (["--shadow", "shadow", "--in-mask", "in_mask", "--variance", "none"], "variance"),
        (["--shadow", "shadow", "--in-mask", "in_mask", "--scores", "xls"], "--scores 'xls'"),
        (["--shadow", "shadow", "--in-mask", "in_mask", "--is-member", "is_member"], "--is-member"),
        (
            [*ONE_TARGET, "--is-member", "mask_of_few"],
            r"--is-member holds bool \(7,\); give bool \[records\] = \(80,\)",
        ),
        ([*ONE_TARGET, "--is-member", "target"], "--is-member holds float32"),
        ([*ONE_TARGET, "--is-member", "nobody"], "is_member holds no members"),
        (["--shadow", "shadow", "--in-mask", "in_mask", "--labels", "labels"], "--shadow has shape .*give logits"),
        (["--shadow", "target", "--in-mask", "in_mask"], "--shadow has shape .*give phi"),
        (["--shadow", "logits", "--in-mask", "in_mask", "--labels", "mask_of_few"], "--labels about 7"),
        (["--shadow", "shadow", "--in-mask", "in_mask", "--attacks", "shokri"], "Shokri.* reads logits, labels"),
        (["--shadow", "shadow", "--in-mask", "in_mask", "--attacks", "confidence"], "reads phi, labels; here are phi"),
    ],
)
def test_mistakes_are_one_line(
    arrays: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    options: list[str], message: str,
) -> None:  # fmt: skip
    given = [str(arrays.get(option, option)) for option in options]
    assert run(monkeypatch, "score", *given, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("miafast: ")
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not (tmp_path / "out" / "scores.npy").exists()


def test_backends_prints_every_op(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "backends") == 0
    assert "logit_confidence" in capsys.readouterr().out


def test_bench_measures_every_stage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(throughput, "BUDGET_S", 0.05)
    assert run(monkeypatch, "bench", "--quick", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["copy_gb_per_s"] > 0
    on_cpu = {row["what"]: row for row in found["measured"] if row["device"] == "cpu"}
    assert set(on_cpu) == {
        "phi", "all signals", "LiRA", "LiRA, leave-one-out", "RMIA, 100 others", "ROC", "stacked training",
        "inference to phi",
    }  # fmt: skip
    for row in on_cpu.values():
        low, median, high = row["ms_quartiles"]
        assert 0 < low <= median <= high
        assert row["per_s"] > 0
        assert row["ran"]
    assert on_cpu["phi"]["share_of_bandwidth"] > 0


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("audit", [*MODELS, *ATTACKS, *DEFENSES, *RECIPE]), ("explain", MODELS), ("audit-dp", METHODS),
        ("poison", ["triangle"]), ("score", VARIANCES), ("report", TAILS), ("invert", []), ("exposure", []),
        ("extract", []), ("bench", []), ("backends", []),
    ],
)  # fmt: skip
def test_every_command_has_help_that_names_what_there_is_to_choose(
    command: str, says: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    assert run(monkeypatch, command, "--help") == 0
    words = set(re.split(r"[\s│,.;:]+", capsys.readouterr().out))
    assert "Usage" in words
    assert {word for each in says for word in each.split()} <= words


@pytest.mark.parametrize("verb", [("audit",), ("poison", "--fpr", "0.1")], ids=lambda verb: verb[0])
def test_ctrl_c_leaves_a_run_that_resumes(verb: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    np.savez(tmp_path / "toy.npz", x=rng.normal(size=(4000, 64)).astype(np.float32), y=rng.integers(0, 3, 4000))
    command = [sys.executable, "-m", "miafast.cli", *verb, "--data", str(tmp_path / "toy.npz"), "--shadows", "8"]
    command += ["--hidden", "256", "--epochs", "2000", "--out", str(tmp_path / "out")]
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests that run in the background may not
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hears) as process:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out" / "run").glob("**/phi.npy")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "To resume, repeat:" in error
    assert str(tmp_path / "toy.npz") in error


def test_warnings_are_one_line_without_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "from_one.npz", x=rng.normal(size=(40, 3)), y=1 + np.arange(40) % 2)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    warnings.simplefilter("default")
    assert run(monkeypatch, "audit", "--data", tmp_path / "from_one.npz", "--seed", -1, "--out", tmp_path) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("miafast: warning: y holds 2 distinct labels")
    assert "seed=-1" in error


@pytest.mark.parametrize("option", ["--out", "--workdir"])
def test_a_file_is_no_folder(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "file").touch()
    given = {"--out": tmp_path / "out", option: tmp_path / "file"}
    assert (
        run(
            monkeypatch, "audit", "--data", "digits", "--shadows", 6, *(part for pair in given.items() for part in pair)
        )
        == 2
    )
    assert re.search(rf"{option[2:]}.*file' cannot be a folder: ", capsys.readouterr().err)
