"""Carlini et al. 2022, "Membership Inference Attacks From First Principles": the ablation, and how many shadows help.

``main(data_dir, out)`` trains what ``out/work`` does not hold yet, so a stopped run resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import miafast as mf
from benchmarks import machine, table
from benchmarks.table import Column, Section
from miafast.ops.lira_leave_one_out import has_fixed_counts, sides_without
from miafast.shadow import membership
from miafast.tables import Signals

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Case:
    data: str
    models: int
    queries: int | None = None  # None: those of the recipe
    records: int | None = None  # the first so many after one shuffle
    recipe: mf.Recipe | None = None


LOCATION = mf.Recipe(hidden=(128,), batch_size=64, epochs=60)
ABLATION = {
    "location30": Case("location30", models=64, recipe=LOCATION),
    "cifar10": Case("cifar10", models=32, records=10_000),  # two queries, as the recipe mirrors
}
CURVE = {"location30": Case("location30", models=72, recipe=LOCATION), "digits": Case("digits", models=72)}
BLOCKS = (4, 4, 8, 16, 32)  # any first blocks hold every record in half of their models
VARIANCES = ("per-record", "pooled", "shrunken", "total")

#: Their Table IV and, for tables of numbers, appendix: TPR at 0.1 % FPR with 256 shadows, per cent.
PUBLISHED = {
    "loss": ("0.0", "0.0"), "+ logit scaling": ("0.1", ".1"), "+ queries": ("0.1", None),
    "OUT thresholds": ("1.3", "1.5"), "OUT + logit scaling": ("4.7", "1.3"), "OUT + Gaussian": ("4.7", "1.4"),
    "OUT + queries": ("7.1", None), "IN & OUT thresholds": ("1.7", "2.7"), "IN & OUT + logit scaling": ("1.9", "0.2"),
    "IN & OUT + Gaussian": ("5.6", "4.1"), "IN & OUT + queries": ("8.4", None),
}  # fmt: skip

ABLATION_SAYS = (
    "Steps from the loss threshold to LiRA. OUT thresholds compare with the mean of the OUT models (Watson et al.), "
    "IN & OUT thresholds with the middle of both means (Sablayrolles et al.), and each step adds to the one above. "
    "Every model is the target in turn; 95 % intervals over all targets. Published: TPR at 0.1 % FPR, 256 shadows, on "
    "CIFAR-10 (WideResNet) and Purchase-100 (an mlp of tables, as location30 is one). Our models are small and our "
    "shadows fewer, so the order is what can be compared. With one query the loss and phi order records alike."
)
CURVE_SAYS = (
    "Online LiRA by number of shadows and variance rule: 8 targets with coin-flip members, shadows in nested balanced "
    "sets. The paper (fig.): per-record variance overtakes the pooled one at about 64 models."
)
ABLATION_COLUMNS = (
    Column("data", "data"), Column("step", "step"), Column("AUC", "auc", "{:.3f}"),
    Column("TPR at 0.1 % FPR, %", "tpr3", "{:.2f}"), Column("95 %", "interval3"),
    Column("TPR at 1 % FPR, %", "tpr2", "{:.2f}"),
    Column("published C-10", "published_cifar10"), Column("published Purchase", "published_purchase"),
)  # fmt: skip
CURVE_COLUMNS = (
    Column("data", "data"), Column("shadows", "shadows"), Column("variance", "variance"),
    Column("AUC", "auc", "{:.3f}"), Column("TPR at 0.1 % FPR, %", "tpr3", "{:.2f}"), Column("95 %", "interval3"),
    Column("TPR at 1 % FPR, %", "tpr2", "{:.2f}"), Column("95 %", "interval2"),
)  # fmt: skip


def main(data_dir: Path, out: Path, *, only: tuple[str, ...] = ("location30", "digits", "cifar10")) -> None:
    """Both tables for the named data sets, printed and saved into ``out``."""
    where = machine.describe(bandwidth_mib=64)
    for cases, run in ((ABLATION, ablation), (CURVE, curve)):
        for name in [each for each in cases if each in only]:
            section = run(name, cases[name], data_dir, Path(out) / "work")
            print(section.markdown(), end="\n\n", flush=True)
            table.save(section, where, Path(out))


def ablation(name: str, case: Case, data_dir: Path, work: Path) -> Section:
    signals = measured(case, data_dir, work / f"lira-ablation-{name}", membership="balanced")
    rows = []
    for step, scores in steps(signals).items():
        theirs = PUBLISHED[step]
        rows.append(
            {"case": f"{name}, {step}", "data": f"{name}, {case.models} models", "step": step,
             **found(mf.roc(scores, signals.in_mask)),
             "published_cifar10": theirs[0], "published_purchase": theirs[1]}
        )  # fmt: skip
    return Section("papers lira ablation", ABLATION_SAYS, ABLATION_COLUMNS, tuple(rows))


def curve(name: str, case: Case, data_dir: Path, work: Path) -> Section:
    records = loaded(case, data_dir)
    shadows = np.vstack([membership(len(records), size, seed=place) for place, size in enumerate(BLOCKS)])
    targets = membership(len(records), case.models - len(shadows), kind="coins", seed=len(BLOCKS))
    mask = np.vstack([shadows, targets])
    signals = measured(case, data_dir, work / f"lira-shadows-{name}", membership=mask)
    rows = []
    for count in np.cumsum(BLOCKS):
        for variance in VARIANCES:
            attack = mf.LiRA(variance=variance)
            scores = np.stack(
                [attack.score(row, signals.phi[:count], mask[:count]) for row in signals.phi[len(shadows) :]]
            )
            rows.append(
                {"case": f"{name}, {count}, {variance}", "data": name, "shadows": int(count), "variance": variance,
                 **found(mf.roc(scores, targets))}
            )  # fmt: skip
    return Section("papers lira shadows", CURVE_SAYS, CURVE_COLUMNS, tuple(rows))


def steps(signals: Signals) -> dict[str, Array]:
    """Scores [models, records] of every step, higher = member."""
    phi = signals.phi
    loss, mask = np.logaddexp(0.0, -phi.astype(np.float64)), signals.in_mask
    first, first_loss = phi[..., :1], loss[..., :1]
    online, offline = mf.LiRA(), mf.LiRA(mode="offline")
    made = {
        "loss": -first_loss[..., 0],
        "+ logit scaling": first[..., 0],
        "+ queries": phi.mean(axis=-1),
        "OUT thresholds": leave_one_out(-first_loss[..., 0], mask, lambda score, into, out: score - out),
        "OUT + logit scaling": leave_one_out(first[..., 0], mask, lambda score, into, out: score - out),
        "OUT + Gaussian": offline.score_all(first, mask),
        "OUT + queries": offline.score_all(phi, mask),
        "IN & OUT thresholds": leave_one_out(
            -first_loss[..., 0], mask, lambda score, into, out: score - (into + out) / 2
        ),
        "IN & OUT + logit scaling": leave_one_out(
            first[..., 0], mask, lambda score, into, out: score - (into + out) / 2
        ),
        "IN & OUT + Gaussian": online.score_all(first, mask),
        "IN & OUT + queries": online.score_all(phi, mask),
    }
    several = phi.shape[-1] > 1
    return {step: scores for step, scores in made.items() if several or not step.endswith("queries")}


def leave_one_out(signal: Array, mask: Array, score: Callable[[Array, Array, Array], Array]) -> Array:
    """Every model in turn scored against the means [records] of the others' IN and OUT signals, equal in number."""
    rows, same = [], has_fixed_counts(mask)
    for target, row in enumerate(signal):
        means = [
            np.where(use, signal, 0).sum(axis=0) / use.sum(axis=0)
            for use in sides_without(mask, target, same_counts=same)
        ]
        rows.append(score(row, *means))
    return np.stack(rows)


def measured(case: Case, data_dir: Path, folder: Path, *, membership: str | Array) -> Signals:
    """The signals of all models, trained into a folder that resumes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    records = loaded(case, data_dir)
    return mf.audit(
        records, case.recipe, shadows=case.models, queries=case.queries, membership=membership, workdir=folder,
        attack=mf.Threshold(),
    ).signals  # fmt: skip


def loaded(case: Case, data_dir: Path) -> mf.Records:
    records = mf.load(case.data, data_dir=None if case.data == "digits" else data_dir)
    return records if case.records is None else part_of(records, case.records)


def part_of(records: mf.Records, count: int) -> mf.Records:
    """So many records, drawn at random once and for all."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(records))[:count])
    return mf.Records(
        records.x[chosen], records.y[chosen], classes=records.classes, name=f"{records.name}, {count} records",
        scale=records.scale, shift=records.shift, class_names=records.class_names,
    )  # fmt: skip


def found(roc: mf.Roc) -> dict[str, Any]:
    """AUC, and TPR with its interval at 0.1 % and 1 % FPR, in per cent."""
    facts: dict[str, Any] = {"auc": roc.auc}
    for digits, fpr in ((3, 1e-3), (2, 1e-2)):
        if roc.measurable(fpr):
            low, high = roc.interval(fpr)
            facts |= {f"tpr{digits}": 100 * roc.tpr_at(fpr), f"interval{digits}": f"{100 * low:.2f}–{100 * high:.2f}"}
    return facts
