"""Feldman and Zhang 2020, "What neural networks memorize and why": how many records are memorised, and what LiRA has of
it. Cases are TABLE-DATA; the tables of one data set share its models."""

from __future__ import annotations

import functools
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import miafast as mf
from benchmarks import papers_lira
from benchmarks.papers import kept, there
from benchmarks.table import Column, Section
from miafast.attacks import Gap
from miafast.memorization import influence, memorization, memorization_and_separation
from miafast.separation import separation
from miafast.tables import Array, Signals

MNIST = mf.Recipe(hidden=(128,), batch_size=64, epochs=15)
DATA = {
    **{name: papers_lira.DATA[name] for name in ("location30", "cifar100")},
    "mnist": papers_lira.Data("mnist", MNIST, (32, 32), (), records=10_000),
}
SMOKE = replace(papers_lira.SMOKE, blocks=(8, 8))
CASES = {f"{kind}-{data}": (kind, data) for kind in ("estimates", "found") for data in DATA}
MEMORISED, Z = 0.25, 4.0  # from where on a record's influence is looked at, and how many errors from 0 a pair is one
EDGES = (-1.0, 0.1, 0.25, 0.5, 0.75, 1.0)

#: The authors' note beside their MNIST example: no number to compare with.
PUBLISHED = {"mnist": "not many memorised, few strong influences"}
OURS = (
    "mem(x) = P[right | trained with x] - P[right | trained without x] over models of half of the records each, so "
    "that LiRA's separation d' = (mean phi IN - mean phi OUT) / sd comes from the same models. Ours: location30, all "
    "records, mlp 446-128-30; cifar100, 10,000 records as means over 4 x 4 pixels, mlp 192-256-100; mnist, 10,000 "
    "records, mlp 784-128-10. "
)
ESTIMATES_SAYS = OURS + (
    "By chance: the same with each record's IN models drawn anew among all. Surely: the lower end of the 95 % interval "
    f"is above. Influence pairs: a record with mem >= {MEMORISED:g} and another of its class that it makes right, its "
    f"influence {Z:g} standard errors or more above 0. Rank correlations (Spearman) of mem and d': of all models, and "
    "of mem on one half of the models with d' on the other, where no noise is shared. Published: the authors on MNIST; "
    "the paper's estimates are of larger networks (ImageNet: 2,000 ResNet-50), each trained on 70 % of the records."
)
FOUND_SAYS = OURS + (
    "Records by mem on one half of the models, as every other column on the other half: share of models that are right "
    "without the record, d', and which members LiRA finds (online, every model in turn the target) at the thresholds "
    "of 0.1 % and 1 % FPR of all records; the FPR within the bin beside it."
)
ESTIMATES_COLUMNS = (
    Column("data", "data"), Column("models", "models"), Column("records", "records"),
    Column("right IN", "in_accuracy", "{:.3f}"), Column("right OUT", "out_accuracy", "{:.3f}"),
    Column("mean mem", "mean", "{:.3f}"), Column("mem ≥ .25, %", "quarter", "{:.1f}"),
    Column("by chance", "quarter_chance", "{:.1f}"), Column("surely", "quarter_surely", "{:.1f}"),
    Column("mem ≥ .5, %", "half", "{:.1f}"), Column("by chance", "half_chance", "{:.1f}"),
    Column("surely", "half_surely", "{:.1f}"), Column("influence pairs", "pairs"), Column("by chance", "pairs_chance"),
    Column("strongest", "strongest", "{:.2f}"), Column("its errors", "strongest_z", "{:.1f}"),
    Column("rank correlation with d'", "correlation", "{:.2f}"), Column("across halves", "across", "{:.2f}"),
    Column("published", "published"),
)  # fmt: skip
FOUND_COLUMNS = (
    Column("data", "data"), Column("mem", "bin"), Column("records", "records"),
    Column("right OUT", "out_accuracy", "{:.3f}"), Column("mean d'", "separation", "{:.2f}"),
    Column("TPR, % (0.1 % FPR)", "tpr3", "{:.2f}"), Column("FPR within, %", "fpr3", "{:.2f}"),
    Column("TPR, % (1 % FPR)", "tpr2", "{:.2f}"), Column("FPR within, %", "fpr2", "{:.2f}"),
)  # fmt: skip
TABLES = {"estimates": (ESTIMATES_SAYS, ESTIMATES_COLUMNS), "found": (FOUND_SAYS, FOUND_COLUMNS)}


def run(name: str, *, smoke: bool, data_dir: Path | None = None, workdir: Path | None = None) -> list[dict[str, Any]]:
    """One table on one data set; none where its files are not there."""
    kind, data = CASES[name]
    chosen = SMOKE if smoke else DATA[data]
    if not there(chosen.source, data_dir):
        return []
    signals = measured(chosen, data_dir, workdir)
    shared = {"case": name, "data": chosen.name}
    if kind == "estimates":
        return [shared | estimates(signals) | {"published": PUBLISHED.get(chosen.name)}]
    return [shared | row for row in found(signals)]


def section(rows: list[dict[str, Any]]) -> Section:
    kind, _ = CASES[rows[0]["case"]]
    return Section(f"papers memorization {kind}", *TABLES[kind], tuple(rows))


@functools.lru_cache(maxsize=1)
def measured(data: papers_lira.Data, data_dir: Path | None, workdir: Path | None) -> Signals:
    """phi and who is right, of all models."""
    records = papers_lira.loaded(data, data_dir)
    mask = papers_lira.blocks_of(len(records), data.blocks)
    return mf.audit(
        records, data.recipe, attack=Gap(), shadows=len(mask), membership=mask,
        workdir=kept(workdir, f"memorization-{data.name}"),
    ).signals  # fmt: skip


def estimates(signals: Signals) -> dict[str, Any]:
    """How many records are memorised, whom they make right, and how that ranks them beside d'."""
    correct, mask, halves = signals.named("correct"), signals.in_mask, signals.models // 2
    of_all, separated = memorization_and_separation(signals)
    shuffled = np.random.default_rng(0).permuted(mask, axis=0)
    chance = memorization(correct, shuffled)
    facts: dict[str, Any] = {}
    for name, least in (("quarter", 0.25), ("half", 0.5)):
        facts[name] = 100 * float((of_all.value >= least).mean())
        facts[f"{name}_chance"] = 100 * float((chance.value >= least).mean())
        facts[f"{name}_surely"] = 100 * float((of_all.low >= least).mean())
    of = np.flatnonzero(of_all.value >= MEMORISED)
    (pairs, strongest, z), (by_chance, *_) = (pairs_of(correct, each, signals.labels, of) for each in (mask, shuffled))
    one, (other, _) = (memorization(correct[:halves], mask[:halves]).value,
                       separation(signals, models=range(halves, signals.models)))  # fmt: skip
    return facts | {
        "models": signals.models, "records": signals.records, "in_accuracy": float(of_all.in_accuracy.mean()),
        "out_accuracy": float(of_all.out_accuracy.mean()), "mean": float(of_all.value.mean()), "pairs": pairs,
        "pairs_chance": by_chance, "strongest": strongest, "strongest_z": z,
        "correlation": _ranks(of_all.value, separated), "across": _ranks(one, other),
    }  # fmt: skip


def pairs_of(correct: Array, mask: Array, labels: Array, of: Array) -> tuple[int, float, float]:
    """How many records of their class these records make right beyond Z standard errors; the strongest, and its z."""
    count, strongest, errors = 0, 0.0, 0.0
    for some in np.array_split(of, len(of) // 1000 + 1):
        pairs = influence(correct, mask, of=some)
        z = pairs.value / pairs.standard_error
        others = (labels[some][:, None] == labels) & (some[:, None] != np.arange(len(labels))) & (z >= Z)
        count += int(others.sum())
        if others.any() and (most := float(pairs.value[others].max())) > strongest:
            strongest, errors = most, float(z[others][pairs.value[others].argmax()])
    return count, strongest, errors


def found(signals: Signals) -> list[dict[str, Any]]:
    """A row per bin of mem on one half of the models: what the other half gives away of its records."""
    halves = signals.models // 2
    mask, correct = signals.in_mask[halves:], signals.named("correct")[halves:]
    value = memorization(signals.named("correct")[:halves], signals.in_mask[:halves]).value
    separated, _ = separation(signals, models=range(halves, signals.models))
    right = memorization(correct, mask).out_accuracy
    scores = mf.LiRA().score_all(signals.phi[halves:], mask)
    outside = np.sort(scores[~mask])[::-1]
    called = {digits: scores > outside[int(len(outside) / 10**digits)] for digits in (3, 2)}
    rows = []
    for low, high in pairwise(EDGES):
        inside = (value >= low) & ((value < high) | (high == EDGES[-1]))
        row = {"bin": f"{low:g} – {high:g}" if low > -1 else f"< {high:g}", "records": int(inside.sum())}
        if inside.any():
            row |= {"out_accuracy": float(right[inside].mean()), "separation": float(np.nanmean(separated[inside]))}
            for digits, each in called.items():
                row[f"tpr{digits}"] = 100 * float(each[:, inside][mask[:, inside]].mean())
                row[f"fpr{digits}"] = 100 * float(each[:, inside][~mask[:, inside]].mean())
        rows.append(row)
    return rows


def _ranks(one: Array, other: Array) -> float:
    both = np.isfinite(one) & np.isfinite(other)
    return float(spearmanr(one[both], other[both])[0])
