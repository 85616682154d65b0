"""Shokri et al. 2017, Table III: what mitigations cost and what they buy, against attackers who know them.

``main(data_dir, out)`` keeps a run per defence in ``out/work``, so a stopped table resumes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import miafast as mf
from benchmarks import machine, table
from benchmarks.papers_lira import found
from benchmarks.table import Column, Section

DEFENSES = (
    "top-k:3", "top-k:1", "label-only", "rounding:3", "rounding:1", "temperature:5", "temperature:20", "noise:0.05",
    "l2:0.0001", "l2:0.001", "l2:0.01", "dropout:0.5", "label-smoothing:0.1", "early-stopping", "dp-sgd:8",
)  # fmt: skip
SHADOWS = 32
RECIPE = mf.Recipe(hidden=(128,), batch_size=64, epochs=60)

#: Purchase-100, neural network: test accuracy, attack accuracy, precision, recall.
PUBLISHED = {
    "none": ".66 .92 .87 1.00", "label-only": ".66 .66 .60 .99", "rounding:1": ".66 .89 .83 1.00",
    "temperature:20": ".66 .84 .83 .86", "l2:0.001": ".72 .77 .73 .86", "l2:0.01": ".63 .53 .54 .52",
}  # fmt: skip

SAYS = (
    f"location30, {SHADOWS} models, each the target in turn, its shadows under the same defence. Accuracy is balanced "
    "accuracy at the best threshold. Published: Shokri's attack on Purchase-100 (test accuracy, attack accuracy, "
    "precision, recall), whose shadows were defended too. LiRA is a stronger attack on other data: compare which "
    "defences help. Naive is (1 + train - test accuracy) / 2, what knowing right from wrong alone tells. The penalty "
    "of L2 acts inside Adam here."
)
COLUMNS = (
    Column("defence", "defense"), Column("train", "train", "{:.3f}"), Column("test", "test", "{:.3f}"),
    Column("naive", "naive", "{:.3f}"), Column("attack", "attack"), Column("accuracy", "accuracy", "{:.3f}"),
    Column("AUC", "auc", "{:.3f}"), Column("TPR at 0.1 % FPR, %", "tpr3", "{:.2f}"), Column("95 %", "interval3"),
    Column("published", "published"),
)  # fmt: skip


def main(data_dir: Path, out: Path, *, only: tuple[str, ...] = DEFENSES) -> None:
    """The table for the named defences and none, printed and saved into ``out``."""
    records = mf.load("location30", data_dir=data_dir)
    made = mf.defense_table(
        records, RECIPE, defenses=only, shadows=SHADOWS, workdir=Path(out) / "work" / "defenses-location30"
    )
    rows = tuple(
        row(each["defense"], result, report)
        for each, report in zip(made.rows, made.reports, strict=True)
        for result in report.results
    )
    section = Section("papers defences", SAYS, COLUMNS, rows)
    print(section.markdown(), end="\n\n", flush=True)
    table.save(section, machine.describe(bandwidth_mib=64), Path(out))


def row(name: str, result: Any, report: mf.Report) -> dict[str, Any]:
    train, test = (float(each.mean()) for each in (report.signals.train_accuracy, report.signals.test_accuracy))
    return {
        "case": f"{name}, {result.name}", "defense": name, "train": train, "test": test,
        "naive": (1 + train - test) / 2, "attack": result.name, "accuracy": result.roc.balanced_accuracy,
        **found(result.roc), "published": PUBLISHED.get(name) if result is report.results[0] else None,
    }  # fmt: skip
