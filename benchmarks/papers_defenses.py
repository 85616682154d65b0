"""Shokri et al. 2017, Table III: what mitigations cost and what they buy, against attackers who know them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import miafast as mf
from benchmarks.papers import found, kept, there
from benchmarks.papers_shokri import verdict
from benchmarks.table import Column, Section
from miafast.attacks import Gap, ModifiedEntropy, Shokri
from miafast.audit import report_on
from miafast.defenses import answer_of, as_defenses
from miafast.plan import compared_attacks

#: Purchase-100, neural network: test accuracy, attack accuracy, precision, recall; "": not in the table or not at hand.
CASES = {
    "none": ".66 .92 .87 1.00", "top-k:3": "", "top-k:1": "", "label-only": ".66 .66 .60 .99", "rounding:3": "",
    "rounding:1": ".66 .89 .83 1.00", "temperature:5": "", "temperature:20": ".66 .84 .83 .86", "l2:0.0001": "",
    "l2:0.001": ".72 .77 .73 .86", "l2:0.01": ".63 .53 .54 .52", "noise:0.05": "", "dropout:0.5": "",
    "label-smoothing:0.1": "", "early-stopping": "", "dp-sgd:8": "",
}  # fmt: skip
MODELS = 20
RECIPE = mf.Recipe(hidden=(128,), batch_size=64, epochs=60)
ATTACKS = (Shokri(features="raw"), Shokri(), mf.LiRA(), ModifiedEntropy(thresholds="class-wise"), Gap())
SMOKE = mf.Recipe(hidden=(8,), epochs=1)

SAYS = (
    f"location30, mlp 446-128-30, {MODELS} models, each the target in turn; its shadows are trained and asked under "
    "the same defence. Accuracy is balanced; Shokri's with precision and recall at its own verdict, log-odds of 0, the "
    "others' at the best threshold in hindsight. Shokri's raw vectors tell whether the label is the predicted one, "
    "sorted ones do not. Gap calls a member what is predicted right. Published: Shokri's attack on Purchase-100, whose "
    "shadows were defended too (test accuracy, attack accuracy, precision, recall). The penalty of L2 acts inside Adam "
    "here."
)
COLUMNS = (
    Column("defence", "case"), Column("train", "train", "{:.3f}"), Column("test", "test", "{:.3f}"),
    Column("attack", "attack"), Column("accuracy", "accuracy", "{:.3f}"), Column("precision", "precision", "{:.3f}"),
    Column("recall", "recall", "{:.3f}"), Column("published", "published"), Column("AUC", "auc", "{:.3f}"),
    Column("95 %", "auc_interval"), Column("TPR at 0.1 % FPR, %", "tpr3", "{:.2f}"), Column("95 %", "interval3"),
)  # fmt: skip


def run(name: str, *, smoke: bool, data_dir: Path | None = None, workdir: Path | None = None) -> list[dict[str, Any]]:
    """A row per attack under one defence; none where the data's files are not there."""
    data = "digits" if smoke else "location30"
    if not there(data, data_dir):
        return []
    report = audited(name, mf.load(data, data_dir=None if smoke else data_dir), workdir, smoke=smoke)
    train, test = (float(np.mean(each)) for each in (report.signals.train_accuracy, report.signals.test_accuracy))
    rows = []
    for result in report.results:
        low, high = result.roc.auc_interval()
        row = {"case": name, "train": train, "test": test, "attack": result.name, **found(result.roc)}
        row |= {"accuracy": row["balanced"], "auc_interval": f"{low:.3f}–{high:.3f}"}
        if result.name.startswith("Shokri"):
            row |= {
                **verdict(result.scores > 0, result.is_member),
                "published": CASES[name] if "raw" in result.name else "",
            }
        rows.append(row)
    return rows


def audited(name: str, records: mf.Records, workdir: Path | None, *, smoke: bool) -> mf.Report:
    """The attacks under one defence; a defence of answers alone stands before the bare models, trained once."""
    answer = None if name == "none" else answer_of(as_defenses(name))
    trained = name if answer is None and name != "none" else None
    report = mf.audit(
        records, SMOKE if smoke else RECIPE, attack=ATTACKS, shadows=6 if smoke else MODELS, defense=trained,
        workdir=kept(workdir, f"defenses-{records.name}-{(trained or 'none').replace(':', '-')}"),
    )  # fmt: skip
    if answer is None:
        return report
    logits = answer(report.signals.named("logits"))
    seen = mf.signals(np.ascontiguousarray(logits.swapaxes(1, 2)), records.y)  # [models, queries, records]
    found = {each: getattr(seen, each).swapaxes(1, 2).astype(np.float32) for each in ("correct", "modified_entropy")}
    signals = replace(report.signals, phi=seen.phi.swapaxes(1, 2), arrays={"logits": logits, **found})
    return report_on(signals, compared_attacks(ATTACKS), seconds={})


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("papers defenses", SAYS, COLUMNS, tuple(rows))
