"""Poisoning, inversion and exposure on real data: what each finds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import miafast as mf
from benchmarks.table import Column, Section
from miafast.inversion import judge, within
from miafast.shadow import train

Found = list[tuple[str, str, str | None, bool | None]]  # what, value, promised, kept


@dataclass(frozen=True)
class Case:
    title: str
    find: Callable[[Path | None, bool], Found]
    needs_files: bool


def truth_serum(data_dir: Path | None, smoke: bool) -> Found:
    """100 targets in MNIST: training sets of about 7,250 clean records, and 8 poison records per target."""
    pool, targets, models = (1000, 50, 8) if smoke else (14_500, 100, 24)
    full = mf.load("mnist", data_dir=data_dir, part="train")
    keep = np.random.default_rng(0).choice(len(full), pool, replace=False)
    records = replace(full, x=full.x[keep], y=full.y[keep])
    recipe = mf.Recipe(hidden=(128,), epochs=50, batch_size=64, learning_rate=3e-3, schedule="cosine")
    doses = [mf.poison(records, np.arange(targets), copies=copies) for copies in (0, 8)]
    found = mf.truth_serum(doses, recipe, shadows=models, fpr=1e-2 if smoke else 1e-3)
    rows = found.rows()
    told: Found = []
    for row in rows:
        interval = f"{row['tpr_low']:.2%}–{row['tpr_high']:.2%}"
        value = f"{row['tpr']:.2%} ({interval}), median of targets {row['median_tpr']:.2%}, AUC {row['auc']:.3f}"
        told.append((f"TPR@{found.fpr:.1%}, {row['dose']}", value, None, None))
    times, cost = rows[1]["tpr"] / max(rows[0]["tpr"], 1e-9), rows[1]["poison_per_target"]
    told.append(("rises", f"{times:.1f} ×", "≥ 4 ×", times >= 4))
    told.append(("poison per target", f"{cost:.3%} of training", "≤ 0.1 %", cost <= 1e-3))
    return told


def faces(data_dir: Path | None, smoke: bool) -> Found:
    return inverted(mf.load("lfw", data_dir=data_dir), epochs=2 if smoke else 60)


def digits(data_dir: Path | None, smoke: bool) -> Found:
    del data_dir
    return inverted(mf.load("digits"), epochs=2 if smoke else 20)


def inverted(records: mf.Records, *, epochs: int) -> Found:
    """MI-Face on a model of one half, judged by a model of the other half."""
    order = np.random.default_rng(0).permutation(len(records)) % 2
    halves = np.stack([order == side for side in (0, 1)])
    inputs = records.inputs()
    models = train(mf.Recipe(hidden=(64,), epochs=epochs, batch_size=32), records, halves, models=[0, 1], seed=0)
    found = mf.invert(
        lambda x: models.forward(x)[0], records.shape, classes=records.classes, momentum=0.9,
        process=within(float(inputs.min()), float(inputs.max())),
    )  # fmt: skip
    others = replace(records, x=records.x[halves[1]], y=records.y[halves[1]])
    success = judge(found, lambda x: models.forward(x)[1], others)
    chance = 1 / records.classes
    recognised = ("recognised by the other model", f"{success.accuracy:.0%}", "well above chance")
    return [
        (*recognised, success.accuracy > 3 * chance),
        ("its confidence in the class", f"{success.confidence:.2f} (chance {chance:.2f})", None, None),
        ("nearest class mean is the own", f"{success.nearest:.0%} (chance {chance:.0%})", None, None),
        ("distance to the own mean, others 1", f"{success.feature_distance:.2f}", None, None),
    ]


CASES = {
    "truth-serum": Case("MNIST, 24 models, 100 targets", truth_serum, needs_files=True),
    "mi-face-digits": Case("digits, MLP 64-64-10", digits, needs_files=False),
    "mi-face-lfw": Case("LFW, 7 people, MLP 1850-64-7", faces, needs_files=True),
}
COLUMNS = (
    Column("system", "title"),
    Column("what", "what"),
    Column("value", "value"),
    Column("promised", "promised"),
    Column("kept", "kept"),
)
SAYS = "One run each, all randomness fixed; intervals are 95 %."


def run(name: str, *, read_bytes_per_s: float, smoke: bool, data_dir: Path | None) -> list[dict[str, Any]]:
    """One system on its data: a row per finding; nothing where the data are not there."""
    del read_bytes_per_s
    case = CASES[name]
    if case.needs_files and data_dir is None:
        return []
    began = time.perf_counter()
    found = case.find(data_dir, smoke)
    rows: list[dict[str, Any]] = []
    for what, value, promised, kept in found:
        row = {"case": name, "title": case.title, "what": what, "value": value}
        rows.append(row | ({} if kept is None else {"promised": promised, "kept": "yes" if kept else "no"}))
    return [*rows, {"case": name, "title": case.title, "what": "took", "value": f"{time.perf_counter() - began:.0f} s"}]


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("systems", SAYS, COLUMNS, tuple(rows))
