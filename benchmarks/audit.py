"""Whole audits with the recipes of the command line: seconds per stage, and what the attacks find."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import miafast as mf
from benchmarks.made_up import images
from benchmarks.table import Column, Section, promise
from miafast.bench.throughput import bits
from miafast.shadow.recipe import RESNET9, recipe_for

LEVELS = (1e-2, 1e-3)


@dataclass(frozen=True)
class Case:
    data: str
    shadows: int
    at_most_s: float  # promised for the whole audit, report included
    train_at_most_s: float | None = None
    recipe: mf.Recipe | None = None  # None: the one that fits the records
    device: str = "cpu"

    @property
    def needs_folder(self) -> bool:
        return self.data not in ("digits", PURCHASE)


PURCHASE = "Purchase-shaped"
WIDE = mf.Recipe(hidden=(128,), batch_size=256, epochs=100, dtype="bfloat16")
CASES = {
    "digits": Case("digits", 64, at_most_s=60),
    "location30": Case(
        "location30", 64, at_most_s=90, train_at_most_s=40, recipe=mf.Recipe(hidden=(128,), batch_size=64, epochs=60)
    ),
    "cifar10": Case("cifar10", 8, at_most_s=1200),
    "device-purchase": Case(PURCHASE, 256, at_most_s=60, device="cuda", recipe=WIDE),
    "device-cifar10": Case("cifar10", 64, at_most_s=600, device="cuda"),
    "device-cifar10-resnet9": Case("cifar10", 64, at_most_s=600, device="cuda", recipe=replace(RESNET9, epochs=10)),
}

COLUMNS = (
    Column("audit", "title"),
    Column("what", "what"),
    Column("value", "value"),
    Column("rate", "rate"),
    Column("promised", "promised"),
    Column("kept", "kept"),
)
SAYS = (
    "Every model is the target in turn. Wall time in one process, the report's files included; records/s counts "
    "every model's look at every record, in every query. TPR with its 95 % interval over all targets together."
)


def run(name: str, *, smoke: bool, device: str, data_dir: Path | None) -> list[dict[str, Any]]:
    """Audit one data set: rows for the stages, then for what each attack finds."""
    torch.set_num_threads(os.cpu_count() or 1)
    case = CASES[name]
    if not smoke and (case.device != device.partition(":")[0] or (case.needs_folder and data_dir is None)):
        return []
    began = time.perf_counter()
    if smoke:
        records = images(300) if case.data == "cifar10" else bits(2_000)
        recipe = replace(case.recipe or recipe_for(records), epochs=1, batch_size=64)
        case = replace(case, data=records.name, shadows=8, recipe=recipe)
    else:
        records = bits(20_000) if case.data == PURCHASE else mf.load(case.data, data_dir=data_dir)
    report = mf.audit(records, case.recipe, shadows=case.shadows, device=device)
    with tempfile.TemporaryDirectory() as folder:
        report.save(Path(folder) / "report")
    seconds = {**report.seconds, "in all": time.perf_counter() - began}
    ran = {"case": name, "title": _title(case), "what": "ran", "value": _ran(report.backends)}
    return [ran, *_stages(name, case, seconds, report.signals), *_findings(name, case, report.results)]


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("audit", SAYS, COLUMNS, tuple(rows))


def _stages(name: str, case: Case, seconds: dict[str, float], signals: mf.Signals) -> list[dict[str, Any]]:
    looks = signals.models * signals.records * signals.queries
    counted = {"train": (signals.models, "models/s"), "query": (looks, "records/s"), "attack": (looks, "records/s")}
    rows = []
    for stage, taken in seconds.items():
        row: dict[str, Any] = {"case": name, "title": _title(case), "what": stage, "value": f"{taken:.2f} s"}
        if stage in counted and taken > 0:
            many, unit = counted[stage]
            row["rate"] = f"{many / taken:,.0f} {unit}" if many / taken >= 10 else f"{many / taken:.2f} {unit}"
        limit = {"in all": case.at_most_s, "train": case.train_at_most_s}.get(stage)
        if limit is not None:
            row |= promise(f"≤ {limit:g} s", kept=taken <= limit)
        rows.append(row)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return [*rows, {"case": name, "title": _title(case), "what": "peak memory so far", "value": f"{peak:.2f} GiB"}]


def _findings(name: str, case: Case, results: Any) -> list[dict[str, Any]]:
    rows = []
    for result in results:
        found = [f"AUC {result.roc.auc:.3f}"]
        for level in LEVELS:
            low, high = result.roc.interval(level)
            found.append(f"TPR@{level:.1%} {result.roc.tpr_at(level):.2%} ({low:.2%}–{high:.2%})")
        rows.append({"case": name, "title": _title(case), "what": result.name, "value": ", ".join(found)})
    return rows


def _ran(backends: Mapping[str, str]) -> str:
    return "; ".join(f"{what}: {how}" for what, how in backends.items())


def _title(case: Case) -> str:
    kind = f" {case.recipe.model}" if case.recipe is not None and case.recipe.model == "resnet9" else ""
    return f"{case.data}, {case.shadows}{kind} models"
