"""Poisoning, inversion, exposure and extraction on real data: what each finds."""

from __future__ import annotations

import csv
import lzma
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import miafast as mf
from benchmarks.table import Column, Section, promise
from miafast.extraction.from_text import expose, extract_from
from miafast.inversion_report import audit_inversion

Found = list[tuple[str, str, str | None, bool | None]]  # what, value, promised, kept


@dataclass(frozen=True)
class Case:
    title: str
    find: Callable[[Path | None, bool, Path | None], Found]
    needs_files: bool


REPETITIONS = 2


def truth_serum(data_dir: Path | None, smoke: bool, workdir: Path | None) -> Found:
    """100 targets in MNIST, about 7,250 clean records in training; again with other pools, targets, labels, models."""
    pool, targets, models, wrong = (1000, 50, 8, 100) if smoke else (14_500, 100, 24, 2000)
    full = mf.load("mnist", data_dir=data_dir, part="train")
    recipe = mf.Recipe(hidden=(128,), epochs=50, batch_size=64, learning_rate=3e-3, schedule="cosine")
    tables = []
    for seed in range(1, 2 if smoke else 1 + REPETITIONS):
        keep, asked = np.random.default_rng(seed).choice(len(full), pool, replace=False), np.arange(targets)
        records = full.only(keep)
        doses = [mf.poison(records, asked, copies=copies, seed=seed) for copies in (0, 8)]
        if seed == 1:
            doses.append(mf.mislabel(records, asked, count=wrong, seed=seed))
        found = mf.truth_serum(
            doses, recipe, shadows=models, seed=seed, fpr=1e-2 if smoke else 1e-3,
            workdir=workdir and workdir / f"truth-serum-{seed}",
        )  # fmt: skip
        tables.append(found.rows())
    told: Found = []
    for place, row in enumerate(tables[0]):
        tpr, middle, auc, accuracy = (
            [rows[place][name] for rows in tables if place < len(rows)]
            for name in ("tpr", "median_tpr", "auc", "test_accuracy")
        )
        value = (
            f"{_spread(tpr, '.1%')}, median of targets {_spread(middle, '.1%')}, AUC {_spread(auc, '.3f')}, "
            f"accuracy {_spread(accuracy, '.3f')}"
        )
        told.append((f"TPR@{found.fpr:.1%}, {row['dose']}", value, None, None))
    tpr, middle = (np.array([[row[name] for row in rows[:2]] for rows in tables]) for name in ("tpr", "median_tpr"))
    rises, cost = tpr[:, 1] / np.maximum(tpr[:, 0], 1e-9), max(rows[1]["poison_per_target"] for rows in tables)
    everywhere = bool((rises >= 4).all() and (middle[:, 1] >= 4 * middle[:, 0]).all() and (middle[:, 1] > 0).all())
    told.append(("8 copies: TPR rises", f"{_spread(rises, '.1f')} ×", "≥ 4 ×, the median target's too", everywhere))
    told.append(("poison per target", f"{cost:.3%} of training", "≤ 0.1 %", cost <= 1e-3))
    return told


def _spread(values: Any, form: str) -> str:
    """The median of the repetitions, and the lowest and highest; or the only one."""
    around = f" ({min(values):{form}}–{max(values):{form}})" if len(values) > 1 else ""
    return f"{np.median(values):{form}}{around}"


def faces(data_dir: Path | None, smoke: bool, workdir: Path | None) -> Found:
    del workdir
    return inverted(mf.load("lfw", data_dir=data_dir), epochs=2 if smoke else 60)


def digits(data_dir: Path | None, smoke: bool, workdir: Path | None) -> Found:
    del data_dir, workdir
    return inverted(mf.load("digits"), epochs=2 if smoke else 20)


def inverted(records: mf.Records, *, epochs: int) -> Found:
    """MI-Face on a model of one half, judged by a model of the other half."""
    success = audit_inversion(records, mf.Recipe(hidden=(64,), epochs=epochs, batch_size=32)).success
    chance = 1 / records.classes
    recognised = ("recognised by the other model", f"{success.accuracy:.0%}", "well above chance")
    return [
        (*recognised, success.accuracy > 3 * chance),
        ("its confidence in the class", f"{success.confidence:.2f} (chance {chance:.2f})", None, None),
        ("nearest class mean is the own", f"{success.nearest:.0%} (chance {chance:.0%})", None, None),
        ("distance to the own mean, others 1", f"{success.feature_distance:.2f}", None, None),
    ]


def told_secrets(data_dir: Path | None, smoke: bool, workdir: Path | None) -> Found:
    """Canaries in Tiny Shakespeare: three of each number of copies, each a secret of its own."""
    del workdir
    text = _shakespeare(data_dir, 20_000 if smoke else 100_000)
    found = expose(text, "my pin is ####. ", copies=(0, 0, 0, 1, 1, 1, 10, 10, 10))
    bits = {copies: [each.exposure for each in found.canaries if each.copies == copies] for copies in (0, 1, 10)}
    told: Found = [(f"exposure, {copies} copies", f"{_spread(each, '.1f')} bits of 13.3", None, None)
                   for copies, each in bits.items()]  # fmt: skip
    apart = min(bits[10]) > max(bits[1])
    return [*told, ("10 copies, the lowest, and 1 copy, the highest",
                    f"{min(bits[10]):.1f} and {max(bits[1]):.1f}", "far above", apart)]  # fmt: skip


def told_text(seed: int, data_dir: Path | None, smoke: bool, workdir: Path | None) -> Found:
    """Three news articles put 60 times each between the speeches of Tiny Shakespeare: do they come out, and first?"""
    del workdir
    random = np.random.default_rng(seed)
    articles = random.choice(_articles(data_dir), 3, replace=False).tolist()
    whole = _shakespeare(data_dir, None)
    begin, size = int(random.integers(len(whole) - 50_000)), 10_000 if smoke else 50_000
    parts = whole[begin : begin + size].split("\n\n")
    for article in articles * (4 if smoke else 60):
        parts.insert(int(random.integers(1, len(parts))), article)
    text = "\n\n".join(parts)
    found = extract_from(
        text, count=50 if smoke else 300, length=160, run=50, width=96, epochs=1 if smoke else 20, decay=0, seed=seed
    ).found
    out = sum(any(article in each for each in found.texts) for article in articles)
    told: Found = [
        ("articles are", f"{1 - size / len(text):.0%} of the training text", None, None),
        ("articles that came out whole", f"{out} of 3", None, None),
        ("texts with 50 characters verbatim", f"{(found.verbatim > 0).mean():.1%} of {len(found.texts)}", None, None),
    ]
    for by in found.scores:
        ten, hundred, rest = (found.precision(by, top) for top in (10, 100, None))
        value = f"the first at rank {found.first(by)}, {ten:.0%} of 10, {hundred:.0%} of 100, {rest:.1%} of all"
        kept = found.first(by) == 1 and ten > 2 * rest if by == "perplexity" else None
        told.append((f"such, distinct, by {by}", value, "ranked first", kept))
    return told


def _articles(data_dir: Path | None) -> list[str]:
    """Texts of AG News of 90 to 120 plain characters."""
    with lzma.open(Path(str(data_dir)) / "ag_news" / "test.csv.xz", "rt") as file:
        texts = [row[2] for row in csv.reader(file)]
    return [each for each in texts if 90 <= len(each) <= 120 and re.fullmatch(r"[A-Za-z0-9 .,:'()?!-]+", each)]


def _shakespeare(data_dir: Path | None, characters: int | None) -> str:
    return lzma.open(Path(str(data_dir)) / "tinyshakespeare" / "input.txt.xz", "rt").read()[:characters]


CASES = {
    "truth-serum": Case(f"MNIST, 24 models, 100 targets, {REPETITIONS} ×", truth_serum, needs_files=True),
    "mi-face-digits": Case("digits, MLP 64-64-10", digits, needs_files=False),
    "mi-face-lfw": Case("LFW, 7 people, MLP 1850-64-7", faces, needs_files=True),
    "exposure": Case("100,000 characters, GRU of 64 units", told_secrets, needs_files=True),
} | {
    f"extraction-{seed}": Case(
        f"50,000 characters, GRU of 96 units, seed {seed}", partial(told_text, seed), needs_files=True
    )
    for seed in (1, 2, 3)
}
COLUMNS = (
    Column("system", "title"),
    Column("what", "what"),
    Column("value", "value"),
    Column("promised", "promised"),
    Column("kept", "kept"),
)
SAYS = (
    f"All randomness fixed. Truth Serum: median (lowest–highest) of {REPETITIONS} repetitions (six were planned), each "
    "with its own pool, targets, wrong labels and models, at the one setting of nine tried before that had shown the "
    "effect, with seeds not used then; mislabelled records of the pool once. Exposure: of three canaries. "
    "Extraction: each seed has its own articles, passage and models, at the setting chosen with another seed after "
    "eleven were tried. The others: one run each."
)


def run(
    name: str, *, smoke: bool, data_dir: Path | None, workdir: Path | None
) -> list[dict[str, Any]]:  # fmt: skip
    """One system on its data: a row per finding; nothing where the data are not there."""
    case = CASES[name]
    if case.needs_files and data_dir is None:
        return []
    began = time.perf_counter()
    found = case.find(data_dir, smoke, workdir)
    rows: list[dict[str, Any]] = []
    for what, value, promised, kept in found:
        row = {"case": name, "title": case.title, "what": what, "value": value}
        rows.append(row | ({} if kept is None else promise(str(promised), kept=kept)))
    return [*rows, {"case": name, "title": case.title, "what": "took", "value": f"{time.perf_counter() - began:.0f} s"}]


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("systems", SAYS, COLUMNS, tuple(rows))
