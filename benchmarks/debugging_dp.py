"""Debugging DP: DP-SGD on MNIST with planted mistakes claims an epsilon, and an audit refutes it; the correct one not.

After Tramèr et al. 2022, "Debugging Differential Privacy: A Case Study for Privacy Auditing".
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import miafast as mf
from benchmarks.table import Column, Section, promise
from miafast.audit_dp import audit_dp
from miafast.ops.mlp_confidence import mlp_confidence
from miafast.shadow import PrivateRecipe, train_private, train_privately

RECORDS, RUNS, OPACUS_MODELS = 2000, 1000, 3
RECIPE = PrivateRecipe(hidden=(32,), batch_size=128, steps=150, noise_multiplier=4.0, learning_rate=0.5)


@dataclass(frozen=True)
class Case:
    title: str
    mistake: str
    canary: str = "random"
    sees: str = "final"
    refuted: bool = True  # promised


CASES: dict[str, Case] = {
    "correct": Case("correct", "none", refuted=False),
    "correct-last-update": Case(
        "correct, every update seen", "none", canary="gradient", sees="last-update", refuted=False
    ),
    "noise": Case("noise divided by the batch size", "noise over batch size"),
    "clipping": Case("clips after averaging", "clips after averaging"),
    "last-batch": Case(
        "no noise in the last batch", "no noise in the last batch", canary="gradient", sees="last-update"
    ),
    "opacus": Case("training alone, against Opacus", "none"),
}  # fmt: skip

COLUMNS = (
    Column("case", "title"),
    Column("canary, what is seen", "canary"),
    Column("models", "models", "{:,}"),
    Column("claim ε", "claim", "{:.3f}"),
    Column("audit: ε ≥", "epsilon", "{:.3f}"),
    Column("refuted", "refuted"),
    Column("s", "s", "{:.1f}"),
    Column("models/s", "models_per_s", "{:.1f}"),
    Column("Opacus, models/s", "opacus_models_per_s", "{:.3f}"),
    Column("miafast is faster ×", "ratio", "{:.0f}"),
    Column("accuracy on test records", "accuracy", "{:.3f}"),
    Column("promised", "promised"),
    Column("kept", "kept"),
)
SAYS = (
    f"MLP 784-32-10 on the first {RECORDS:,} training records of MNIST and one canary, DP-SGD with batches of 128 "
    "(Poisson), 150 steps, noise multiplier 4, δ = 1e-5; the claim is dp-accounting's ε of the correct algorithm. "
    f"Up to 2 × {RUNS:,} models with and without the canary after 2 × 250 that fix the threshold; Clopper–Pearson, "
    "95 % over all four looks, and the "
    "audit stops when the claim is refuted (`models` counts those judged). Opacus trains the same network for the "
    "same number of steps one model after the other, on index batches of tensors in memory, without a DataLoader."
)


def mnist(data_dir: Path) -> mf.Records:
    return mf.load("mnist", data_dir=data_dir, part="train").only(slice(RECORDS))


def run(name: str, *, smoke: bool, data_dir: Path) -> list[dict[str, Any]]:
    """One audit, or the comparison with Opacus."""
    records, recipe = mnist(data_dir), replace(RECIPE, steps=10) if smoke else RECIPE
    if name == "opacus":
        return [_against_opacus(records, recipe, models=8 if smoke else 100, data_dir=data_dir)]
    case = CASES[name]
    recipe = replace(recipe, mistake=case.mistake)
    report = audit_dp(
        records, recipe, delta=1e-5, canary=case.canary, sees=case.sees, runs=16 if smoke else RUNS, seed=0
    )  # fmt: skip
    row = {
        "case": name, "title": case.title, "canary": f"{case.canary}, {case.sees}", "models": len(report.scores),
        "claim": report.claim, "epsilon": report.epsilon, "refuted": "yes" if report.refuted else "no",
        "s": report.seconds, "looks": [[each.runs, each.epsilon] for each in report.looks],
    }  # fmt: skip
    if not smoke:
        promised = "refuted" if case.refuted else "not refuted"
        row |= promise(f"{promised}, < 900 s", kept=report.refuted == case.refuted and report.seconds < 900)
    return [row]


def _against_opacus(records: mf.Records, recipe: PrivateRecipe, *, models: int, data_dir: Path) -> dict[str, Any]:
    alike = mf.Recipe(
        hidden=recipe.hidden, optimizer="sgd", learning_rate=recipe.learning_rate, batch_size=recipe.batch_size,
        epochs=recipe.steps * recipe.batch_size / len(records),
    )  # fmt: skip
    train = functools.partial(
        train_privately, recipe=alike, noise_multiplier=recipe.noise_multiplier, clip=recipe.clip, pool=len(records)
    )
    everything = np.arange(len(records))
    train(records, everything[:200], 0)  # imports and first calls
    one = min(_seconds(lambda: train(records, everything, 1)) for _ in range(OPACUS_MODELS))
    in_mask = np.ones((models, len(records)), bool)
    found: list[Any] = []
    stacked = min(
        _seconds(lambda: found.append(train_private(recipe, records, in_mask, models=range(models), seed=0)))
        for _ in range(2)
    )
    test = mf.load("mnist", data_dir=data_dir, part="test")
    right = mlp_confidence(
        test.inputs().reshape(len(test), -1), found[0][:8], test.y, widths=(784, 32, 10), activation="relu"
    ).correct
    ratio = one * models / stacked
    return {
        "case": "opacus", "title": CASES["opacus"].title, "models": models, "s": stacked,
        "models_per_s": models / stacked, "opacus_models_per_s": 1 / one, "ratio": ratio,
        "accuracy": float(right.mean()), **promise("≥ 20 ×", kept=ratio >= 20),
    }  # fmt: skip


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("debugging-dp", SAYS, COLUMNS, tuple(rows))
