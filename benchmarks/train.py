"""Stacked training against the same recipe one model at a time, in plain PyTorch without a DataLoader."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import miafast as mf
from benchmarks import loops
from benchmarks.cases import Disagreement
from benchmarks.made_up import images
from benchmarks.table import Column, Section, promise
from miafast.bench.throughput import bits
from miafast.bench.timing import Spread, interleaved, ratios
from miafast.canaries import joined
from miafast.collect import measure
from miafast.shadow import membership, recipe_for, stack_size, train
from miafast.tables import Array


@dataclass(frozen=True)
class Case:
    title: str
    records: Callable[[], mf.Records]
    recipe: mf.Recipe
    models: int
    looped: int  # models that the loop trains; its time is scaled up to all of them
    at_least: float | None = None  # promised: the float32 loop's time over the stack's
    at_most_s: float | None = None  # promised for all models
    device: str = "cpu"


def digits() -> mf.Records:
    return mf.load("digits")


def purchase_shaped() -> mf.Records:
    """20,000 records of 600 bits in 100 classes."""
    return bits(20_000)


STACKED, LOOP = "miafast, stacked", "plain PyTorch loop"
SMALL = mf.Recipe(hidden=(64,), batch_size=32, epochs=60)
WIDE = mf.Recipe(hidden=(128,), batch_size=64, epochs=4)
CASES: dict[str, Case | None] = {
    "digits": Case("64 MLPs 64-64-10, digits, batch 32", digits, SMALL, 64, 4, 8.0),
    "purchase-64": Case("16 MLPs 600-128-100, batch 64", purchase_shaped, WIDE, 16, 4, 2.5),
    "purchase-256": Case(
        "16 MLPs 600-128-100, batch 256", purchase_shaped, replace(WIDE, batch_size=256), 16, 4, 1.5
    ),
    "purchase-64-bfloat16": Case(
        "16 MLPs 600-128-100, batch 64, bfloat16", purchase_shaped, replace(WIDE, dtype="bfloat16"), 16, 4, 3.0
    ),
    "purchase-256-bfloat16": Case(
        "16 MLPs 600-128-100, batch 256, bfloat16", purchase_shaped,
        replace(WIDE, batch_size=256, dtype="bfloat16"), 16, 4, 3.0,
    ),
    "device-bfloat16": Case(
        "256 MLPs 600-128-100, batch 256, 100 epochs, bfloat16", purchase_shaped,
        replace(WIDE, batch_size=256, epochs=100, dtype="bfloat16"), 256, 1, at_most_s=3.0, device="cuda",
    ),
    "device-float32": Case(
        "256 MLPs 600-128-100, batch 256, 100 epochs", purchase_shaped,
        replace(WIDE, batch_size=256, epochs=100), 256, 1, device="cuda",
    ),
    "resnet9": None,  # a case of its own: no loop beside it
}  # fmt: skip

COLUMNS = (
    Column("case", "title"),
    Column("way", "way"),
    Column("s for all models", "s", "{:.2f}"),
    Column("models/s", "models_per_s", "{:.1f}"),
    Column("miafast is faster ×", "ratio", "{:.1f}"),
    Column("quartiles", "ratio_quartiles"),
    Column("accuracy IN", "train_accuracy", "{:.3f}"),
    Column("accuracy OUT", "test_accuracy", "{:.3f}"),
    Column("ran", "ran"),
    Column("promised", "promised"),
    Column("kept", "kept"),
)
SAYS = (
    "Adam, the same number of steps on batches of the same size, PyTorch with all cores' threads. The loop is float32, "
    "one model after the other, on index batches of tensors in memory; it trains 4 of the models, and its time is "
    "scaled up to all of them (cases on a device: 1 of the models). Three rounds in which every way is run in turn. "
    "Accuracies are means over the models trained: those of the stack must equal the loop's within three standard "
    "errors and a point. resnet9 trains two models by its recipe on the 50,000 training images of CIFAR-10; OUT are "
    "the 10,000 test images."
)


def run(name: str, *, smoke: bool, device: str, data_dir: Path | None) -> list[dict[str, Any]]:
    """Train both ways in turn: a row for the stack, then one for each loop.

    Raises Disagreement when the stack's models are less or more accurate than the loop's.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    case = CASES[name]
    if case is None:
        if smoke:
            return _resnet9(images(64), images(32), device=device, epochs=1)
        if device == "cpu" or data_dir is None:
            return []
        members, others = (mf.load("cifar10", data_dir=data_dir, part=part) for part in ("train", "test"))
        return _resnet9(members, others, device=device)
    if smoke:
        case = replace(case, recipe=replace(case.recipe, epochs=1), models=4, looped=2, at_least=None, at_most_s=None)
    elif case.device != device.partition(":")[0]:
        return []
    records = case.records()
    if smoke:
        records = records.only(slice(1000))
    in_mask = membership(len(records), case.models, seed=0)

    def stack() -> list[Any]:  # cut as `miafast.audit` cuts it
        size = stack_size(case.recipe, records, device=device)
        chunks = [range(start, min(start + size, case.models)) for start in range(0, case.models, size)]
        return _finished(
            [train(case.recipe, records, in_mask, models=models, seed=0, device=device) for models in chunks]
        )

    def loop(*, fused: bool = False) -> list[Any]:
        return _finished([
            loops.train_one(records, in_mask[k], case.recipe, seed=k, fused=fused, device=device)
            for k in range(case.looped)
        ])  # fmt: skip

    stacks = stack()
    accuracies = {STACKED: _stack_accuracies(stacks, records, in_mask)}
    models = loop()
    accuracies[LOOP] = np.array([loops.accuracy(model, records, in_mask[k]) for k, model in enumerate(models)])
    if case.looped > 1 and not smoke:
        _check_alike(case.title, *accuracies.values())
    ways = {STACKED: stack, LOOP: loop, "the loop, fused Adam": lambda: loop(fused=True)}
    taken = interleaved(ways, rounds=3, budget_s=120)
    rows = [_row(name, case, way, taken) for way in taken]
    for row in rows:
        if row["way"] in accuracies:
            row["train_accuracy"], row["test_accuracy"] = accuracies[row["way"]].mean(axis=0).tolist()
    rows[0]["ran"] = stacks[0].how
    return rows


def _row(name: str, case: Case, way: str, taken: dict[str, list[float]]) -> dict[str, Any]:
    """One way's time for all models, and the loops' over the stack's."""
    is_stack = way == STACKED
    whole = [value * (1 if is_stack else case.models / case.looped) for value in taken[way]]
    spread, ratio = Spread.of(whole), ratios(whole, taken[STACKED])
    row: dict[str, Any] = {
        "case": name, "title": case.title, "way": way, "s": spread.median, "rounds": spread.rounds,
        "models_per_s": case.models / spread.median,
    }  # fmt: skip
    if not is_stack:
        row |= {"ratio": ratio.median, "ratio_quartiles": f"{ratio.low:.1f}–{ratio.high:.1f}"}
    elif case.at_most_s is not None:
        row |= promise(f"≤ {case.at_most_s:g} s", kept=spread.median <= case.at_most_s)
    if way == LOOP and case.at_least is not None:
        row |= promise(f"≥ {case.at_least:g} ×", kept=ratio.median >= case.at_least)
    return row


def _resnet9(
    members: mf.Records, others: mf.Records, *, device: str, epochs: int | None = None
) -> list[dict[str, Any]]:
    """Two models trained side by side on the same members."""
    records = joined(members, others)
    recipe = recipe_for(members, model="resnet9")
    recipe = replace(recipe, epochs=epochs or recipe.epochs)
    in_mask = np.tile(np.arange(len(records)) < len(members), (2, 1))
    began = time.perf_counter()
    models = train(recipe, records, in_mask, models=[0, 1], seed=0, device=device)
    taken = time.perf_counter() - began
    found, _ = measure(models, records, ["identity"], layout={"phi": (1,), "correct": (1,)})
    right = found["correct"][:, :, 0].mean(axis=0)
    inside, outside = float(right[in_mask[0]].mean()), float(right[~in_mask[0]].mean())
    row = {
        "case": "resnet9", "title": f"2 ResNet-9, {records.name}, {recipe.epochs} epochs", "way": "miafast", "s": taken,
        "rounds": 1, "models_per_s": 2 / taken, "train_accuracy": inside, "test_accuracy": outside, "ran": models.how,
    }  # fmt: skip
    if epochs is None:
        row |= promise("OUT ≥ 0.93", kept=outside >= 0.93)
    return [row]


def _finished(result: Any) -> Any:
    """The result, once the device has made it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("train", SAYS, COLUMNS, tuple(rows))


def _stack_accuracies(stacks: list[Any], records: mf.Records, in_mask: Array) -> Array:
    """[models, 2]: accuracy on IN and on OUT records."""
    inputs = records.inputs()
    right = np.concatenate([stack.logits(inputs).argmax(-1).cpu().numpy() == records.y for stack in stacks])
    return np.array([(row[mask].mean(), row[~mask].mean()) for row, mask in zip(right, in_mask, strict=True)])


def _check_alike(title: str, ours: Array, theirs: Array) -> None:
    difference = np.abs(ours.mean(axis=0) - theirs.mean(axis=0))
    error = np.sqrt(ours.var(axis=0, ddof=1) / len(ours) + theirs.var(axis=0, ddof=1) / len(theirs))
    if np.any(difference > 3 * error + 0.01):
        raise Disagreement(f"{title}: accuracies IN and OUT differ by {difference}, standard errors {error}")
