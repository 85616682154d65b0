"""Carlini et al. 2022, "Membership Inference Attacks From First Principles": ablation, all attacks, how many shadows.

Cases are TABLE-DATA; the tables of one data set share its models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import miafast as mf
from benchmarks.papers import drawn, found, kept, shrunk, there
from benchmarks.table import Column, Section
from miafast.attacks import ATTACKS, ON_DEMAND, AttackR
from miafast.ops.lira_leave_one_out import has_fixed_counts, sides_without
from miafast.shadow import membership
from miafast.tables import Array


@dataclass(frozen=True)
class Data:
    name: str
    recipe: mf.Recipe
    blocks: tuple[int, ...]  # models in balanced blocks: any first ones hold every record in half of them
    shadows: tuple[int, ...]  # blocks of the curve
    records: int | None = None
    tiles: bool = False  # images as means over 8 x 8 tiles per channel

    @property
    def source(self) -> str:
        """The data set: what stands before a model in the name."""
        return self.name.split("-")[0]


DATA = {
    "location30": Data(
        "location30", mf.Recipe(hidden=(128,), batch_size=64, epochs=60), (32, 32, 64), (4, 4, 8, 16, 32, 64)
    ),
    "cifar100": Data(
        "cifar100",
        mf.Recipe(hidden=(256,), batch_size=64, epochs=30),
        (32, 32),
        (4, 4, 8, 16, 32),
        records=10_000,
        tiles=True,
    ),
    "cifar100-conv": Data(
        "cifar100-conv", mf.Recipe(model="conv", batch_size=64, epochs=20), (32, 32), (4, 4, 8, 16, 32), records=10_000
    ),
    "mnist": Data(
        "mnist", mf.Recipe(hidden=(256,), batch_size=64, epochs=30), (32, 32), (4, 4, 8, 16, 32), records=10_000
    ),
}
SMOKE = Data("digits", mf.Recipe(hidden=(8,), epochs=2), (6, 6), (4, 4), records=200)
CASES = {f"{kind}-{data}": (kind, data) for kind in ("ablation", "attacks", "shadows") for data in DATA}
NOISY_MODELS, CURVE_TARGETS = 8, 8
VARIANCES = ("per-record", "pooled", "shrunken")
#: These ask noisy copies of every record, 100 times as many questions.
NOISY = ("merlin", "morgan", "noise-robustness")

#: Table IV and, for tables of numbers, the appendix: TPR in per cent at 0.1 % FPR on CIFAR-10, Purchase, Texas.
STEPS: dict[str, tuple[str | None, str | None, str | None]] = {
    "loss": ("0.0", "0.0", ".1"),
    "+ logit scaling": ("0.1", ".1", ".1"),
    "OUT thresholds": ("1.3", "1.5", "8.8"),
    "half OUT thresholds": (None, None, None),
    "OUT + logit scaling": ("4.7", "1.3", "19.0"),
    "OUT + percentile": (None, None, None),
    "OUT + Gaussian": ("4.7", "1.4", "24.6"),
    "OUT + shrunken variance": (None, None, None),
    "IN & OUT thresholds": ("1.7", "2.7", "14.9"),
    "IN & OUT + logit scaling": ("1.9", "0.2", "8.4"),
    "IN & OUT + Gaussian": ("5.6", "4.1", "33.2"),
    "IN & OUT + shrunken variance": (None, None, None),
}
#: Balanced accuracy and TPR at 0.1 % FPR in per cent, CIFAR-10 and CIFAR-100, 256 shadows.
PUBLISHED = {
    "LiRA online": ("63.8 / 82.6", "8.4 / 27.6"), "LiRA offline": ("", "7.1 / 22.3"),
    "Watson": ("59.1 / 70.1", "1.3 / 5.4"), "Sablayrolles": ("56.3 / 69.1", "1.7 / 7.4"),
    "Long": ("53.5 / 54.5", "2.2 / 4.7"), "Attack-R": ("60.3 / 76.9", ""), "Shokri mlp": ("59.6 / 74.5", "0.3 / 1.6"),
    "modified entropy, class-wise": ("59.5 / 77.3", "0.1 / 1.4"), "Morgan": ("59.4 / 76.9", "0 / 0"),
    "loss threshold": ("59.4 / 78.0", "0 / 0"),
}  # fmt: skip

OURS = (
    "Ours: location30, all 5,010 records, mlp 446-128-30; cifar100, 10,000 records as means over 4 x 4 pixels, mlp "
    "192-256-100; cifar100-conv, the same records whole, a small conv net; mnist, 10,000 records, mlp 784-256-10. Half "
    "of the records are members. Intervals are of 95 %: records vary, models do not. "
)
ABLATION_SAYS = OURS + (
    "Steps from the loss threshold to LiRA, every model in turn the target; with one query there is no step of queries."
    " OUT thresholds compare with the mean of the OUT models (Watson et al.), IN & OUT thresholds with the middle of "
    "both means (Sablayrolles et al.), half OUT thresholds with half the mean of the OUT models, which is that middle "
    "where members have no loss left, and each step adds to the one above; Gaussian has a variance per record and "
    "side, as the paper's. The percentile among the OUT models (Ye et al.'s R) needs no Gaussian, and cannot tell "
    "apart records above all OUT models. The loss and phi order records alike. Published: 256 models."
)
ATTACKS_SAYS = OURS + (
    "All attacks of `--attacks all`, every model in turn the target. Those that ask noisy copies: 8 models. Accuracy "
    "is balanced, at the best threshold in hindsight. Published: Table III, 256 shadows, CIFAR-10 / CIFAR-100 with "
    "WideResNets; Ye et al. is set beside Attack-R and Jayaraman et al. beside Morgan."
)
SHADOWS_SAYS = OURS + (
    f"LiRA by number of shadows and variance rule: {CURVE_TARGETS} targets whose members are fair coins, shadows in "
    "nested balanced sets, the same targets at every number. The paper (fig.): the variance per record overtakes the "
    "pooled one at about 64 models."
)
ABLATION_COLUMNS = (
    Column("data", "data"), Column("step", "step"), Column("TPR at 0.1 % FPR, %: 32 models", "few", "{:.2f}"),
    Column("95 %", "few_interval"), Column("all models", "models"), Column("TPR at 0.1 % FPR, %", "tpr3", "{:.2f}"),
    Column("95 %", "interval3"), Column("TPR at 1 % FPR, %", "tpr2", "{:.2f}"), Column("95 %", "interval2"),
    Column("AUC", "auc", "{:.3f}"), Column("published C-10", "cifar10"), Column("Purchase", "purchase"),
    Column("Texas", "texas"),
)  # fmt: skip
ATTACKS_COLUMNS = (
    Column("data", "data"), Column("attack", "attack"), Column("targets", "models"),
    Column("accuracy, %", "accuracy", "{:.1f}"), Column("published", "published_accuracy"),
    Column("TPR at 0.1 % FPR, %", "tpr3", "{:.2f}"), Column("95 %", "interval3"),
    Column("published", "published_tpr"), Column("TPR at 1 % FPR, %", "tpr2", "{:.2f}"), Column("95 %", "interval2"),
    Column("AUC", "auc", "{:.3f}"),
)  # fmt: skip
SHADOWS_COLUMNS = (
    Column("data", "data"), Column("mode", "mode"), Column("shadows", "shadows"), Column("variance", "variance"),
    Column("AUC", "auc", "{:.3f}"), Column("TPR at 0.1 % FPR, %", "tpr3", "{:.2f}"), Column("95 %", "interval3"),
    Column("TPR at 1 % FPR, %", "tpr2", "{:.2f}"), Column("95 %", "interval2"),
)  # fmt: skip
TABLES = {
    "ablation": (ABLATION_SAYS, ABLATION_COLUMNS),
    "attacks": (ATTACKS_SAYS, ATTACKS_COLUMNS),
    "shadows": (SHADOWS_SAYS, SHADOWS_COLUMNS),
}


def run(name: str, *, smoke: bool, data_dir: Path | None = None, workdir: Path | None = None) -> list[dict[str, Any]]:
    """One table on one data set; none where its files are not there."""
    kind, data = CASES[name]
    chosen = SMOKE if smoke else DATA[data]
    if not there(chosen.source, data_dir):
        return []
    table = {"ablation": ablation, "attacks": attacks, "shadows": shadows}[kind]
    return [{"case": name, "data": chosen.name, **row} for row in table(chosen, data_dir, workdir)]


def section(rows: list[dict[str, Any]]) -> Section:
    kind, _ = CASES[rows[0]["case"]]
    return Section(f"papers lira {kind}", *TABLES[kind], tuple(rows))


def loaded(data: Data, data_dir: Path | None) -> mf.Records:
    records = drawn(mf.load(data.source, data_dir=None if data.source == "digits" else data_dir), data.records)
    return shrunk(records) if data.tiles else records


def blocks_of(records: int, sizes: tuple[int, ...]) -> Array:
    return np.vstack([membership(records, size, seed=place) for place, size in enumerate(sizes)])


def ablation(data: Data, data_dir: Path | None, workdir: Path | None) -> list[dict[str, Any]]:
    signals = everything(data, data_dir, workdir).signals
    first = data.blocks[0]
    few, many = (steps(signals.phi[:count], signals.in_mask[:count]) for count in (first, signals.models))
    rows = []
    for step, (cifar10, purchase, texas) in STEPS.items():
        start = found(mf.roc(few[step], signals.in_mask[:first]))
        rows.append(
            {"step": step, "few": start.get("tpr3"), "few_interval": start.get("interval3"), "models": signals.models,
             **found(mf.roc(many[step], signals.in_mask)), "cifar10": cifar10, "purchase": purchase, "texas": texas}
        )  # fmt: skip
    return rows


def steps(phi: Array, mask: Array) -> dict[str, Array]:
    """Scores [models, records] of every step, higher = member, from phi [models, records, 1]."""
    loss, scaled = np.logaddexp(0.0, -phi[..., 0].astype(np.float64)), phi[..., 0]

    def out(score: Array, _: Array, out: Array) -> Array:
        return score - out

    def half(score: Array, _: Array, out: Array) -> Array:
        return score - out / 2

    def both(score: Array, into: Array, out: Array) -> Array:
        return score - (into + out) / 2

    return {
        "loss": -loss,
        "+ logit scaling": scaled,
        "OUT thresholds": leave_one_out(-loss, mask, out),
        "half OUT thresholds": leave_one_out(-loss, mask, half),
        "OUT + logit scaling": leave_one_out(scaled, mask, out),
        "OUT + percentile": AttackR().score_all(phi, mask),
        "OUT + Gaussian": mf.LiRA(mode="offline", variance="per-record").score_all(phi, mask),
        "OUT + shrunken variance": mf.LiRA(mode="offline").score_all(phi, mask),
        "IN & OUT thresholds": leave_one_out(-loss, mask, both),
        "IN & OUT + logit scaling": leave_one_out(scaled, mask, both),
        "IN & OUT + Gaussian": mf.LiRA(variance="per-record").score_all(phi, mask),
        "IN & OUT + shrunken variance": mf.LiRA().score_all(phi, mask),
    }


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


def attacks(data: Data, data_dir: Path | None, workdir: Path | None) -> list[dict[str, Any]]:
    rows = []
    for report in (everything(data, data_dir, workdir), noisy(data, data_dir, workdir)):
        asked = [each for each in report.results if report.signals.models > NOISY_MODELS or each.name in NOISY_NAMES]
        for result in asked:
            accuracy, tpr = PUBLISHED.get(result.name, ("", ""))
            facts = found(result.roc)
            rows.append(
                {"attack": result.name, "models": report.signals.models, "accuracy": 100 * facts["balanced"], **facts,
                 "published_accuracy": accuracy, "published_tpr": tpr}
            )  # fmt: skip
    return rows


NOISY_NAMES = tuple(ATTACKS[name]().name for name in NOISY)


@functools.lru_cache(maxsize=1)
def everything(data: Data, data_dir: Path | None, workdir: Path | None) -> mf.Report:
    """All attacks that ask a record once, on all models."""
    records = loaded(data, data_dir)
    chosen = [make() for name, make in ATTACKS.items() if name not in (*NOISY, *ON_DEMAND)]
    mask = blocks_of(len(records), data.blocks)
    return mf.audit(
        records, data.recipe, attack=chosen, shadows=len(mask), membership=mask,
        workdir=kept(workdir, f"lira-{data.name}"),
    )  # fmt: skip


def noisy(data: Data, data_dir: Path | None, workdir: Path | None) -> mf.Report:
    return mf.audit(
        loaded(data, data_dir), data.recipe, attack=[ATTACKS[name]() for name in NOISY], shadows=NOISY_MODELS,
        workdir=kept(workdir, f"lira-noisy-{data.name}"),
    )  # fmt: skip


def shadows(data: Data, data_dir: Path | None, workdir: Path | None) -> list[dict[str, Any]]:
    records = loaded(data, data_dir)
    balanced = blocks_of(len(records), data.shadows)
    targets = membership(len(records), CURVE_TARGETS, kind="coins", seed=len(data.shadows))
    mask = np.vstack([balanced, targets])
    phi = mf.audit(
        records, data.recipe, attack=mf.Threshold(), shadows=len(mask), membership=mask,
        workdir=kept(workdir, f"lira-shadows-{data.name}"),
    ).signals.phi  # fmt: skip
    rows = []
    for mode in ("online", "offline"):
        for count in np.cumsum(data.shadows):
            for variance in VARIANCES:
                attack = mf.LiRA(mode=mode, variance=variance)
                scores = np.stack([attack.score(row, phi[:count], mask[:count]) for row in phi[len(balanced) :]])
                rows.append(
                    {"mode": mode, "shadows": int(count), "variance": variance, **found(mf.roc(scores, targets))}
                )
    return rows
