"""The tables of Leino & Fredrikson (2020), "Stolen Memories", on data drawn or read here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import miafast as mf
from benchmarks.lenet import LeNet
from benchmarks.table import Column, Section
from miafast.shadow import train_modules
from miafast.whitebox.linear import halvings

Array = np.ndarray[Any, np.dtype[Any]]
CLASSES, FEATURES, SPREAD = 10, 75, 0.15
ALPHAS = (0.9, 0.99)
SHADOWS = 5


@dataclass(frozen=True)
class Case:
    """``published`` accuracy and precision by attack; ``per_class`` records (synthetic) or the name of a data set."""

    title: str
    recipe: mf.Recipe
    published: Mapping[str, tuple[float, float | None]]
    per_class: int | None = None
    data: str = ""
    layer: str = "2"
    at_most: int | None = None  # records drawn from the data set


def _synthetic(per_class: int, *accuracies: float) -> Case:
    names = ("omniscient", "bayes-wb", "general-wb", "general-wb, 16 units")
    recipe = mf.Recipe(model="logistic", learning_rate=1e-2, epochs=30, batch_size=32)
    published = {name: (value, None) for name, value in zip(names, accuracies, strict=True)}
    return Case(f"synthetic, n = {per_class} per class", recipe, published, per_class=per_class)


def _table(title: str, data: str, recipe: mf.Recipe, accuracy: Any, precision: Any, **more: Any) -> Case:
    names = ("naive", "shadow-bb", "bayes-wb", "general-wb")
    published = dict(zip(names, zip(accuracy, precision, strict=True), strict=True))
    return Case(title, recipe, published, data=data, **more)


_MLP = mf.Recipe(hidden=(64,), batch_size=32)
CASES = {
    "synthetic-100": _synthetic(100, 0.618, 0.605, 0.602, 0.590),
    "synthetic-200": _synthetic(200, 0.577, 0.570, 0.563, 0.562),
    "synthetic-400": _synthetic(400, 0.568, 0.550, 0.547, 0.542),
    "breast_cancer": _table(
        "Breast Cancer Wisconsin", "breast_cancer", replace(_MLP, epochs=30),
        (0.522, 0.500, 0.514, 0.523), (0.511, 0.500, 0.545, 0.528),
    ),
    "pima": _table(
        "Pima Diabetes", "pima", replace(_MLP, epochs=20), (0.517, 0.508, 0.517, 0.519), (0.511, 0.515, 0.537, 0.561)
    ),
    "hepatitis": _table(
        "Hepatitis", "hepatitis", replace(_MLP, epochs=120), (0.595, 0.553, 0.605, 0.618), (0.552, 0.528, 0.562, 0.609)
    ),
    "german_credit": _table(
        "German Credit", "german_credit", replace(_MLP, epochs=40),
        (0.618, 0.582, 0.623, 0.622), (0.572, 0.547, 0.603, 0.637),
    ),
    "adult": _table(
        "Adult", "adult", replace(_MLP, epochs=6, batch_size=128),
        (0.506, 0.524, 0.507, 0.516), (0.504, 0.514, 0.512, 0.516),
    ),
    "mnist": _table(
        "MNIST, LeNet, 6,000 records each", "mnist", mf.Recipe(model=LeNet, epochs=15, batch_size=64),
        (0.506, 0.506, 0.575, 0.521), (0.503, 0.506, 0.578, 0.640), layer="fc1", at_most=18_000,
    ),
}  # fmt: skip

COLUMNS = (
    Column("data", "title"),
    Column("attack", "attack"),
    Column("accuracy", "accuracy", "{:.3f}"),
    Column("± sd", "sd", "{:.3f}"),
    Column("95 % interval of the mean", "interval"),
    Column("published", "published", "{:.3f}"),
    Column("precision", "precision", "{:.3f}"),
    Column("published", "published_precision", "{:.3f}"),
    Column("precision, α = .90", "precision_0.9", "{:.3f}"),
    Column("precision, α = .99", "precision_0.99", "{:.3f}"),
    Column("repetitions", "repetitions"),
    Column("s per repetition", "seconds", "{:.1f}"),
)
SAYS = (
    "Records in thirds drawn at random: members, non-members, the attacker's. Accuracy of calling a member what scores "
    "above one half, over as many members as non-members; mean and standard deviation over repetitions, targets and "
    "thirds of their own. Calibrated precision: thresholds by class at the α-quantile of the attacker's scores, over "
    "the repetitions in which anybody was called a member."
)


def run(
    name: str, *, read_bytes_per_s: float, smoke: bool, data_dir: Path | None = None, repetitions: int = 20
) -> list[dict[str, Any]]:
    """One table's rows: the target's accuracies, then every attack."""
    del read_bytes_per_s
    case = CASES[name]
    if case.data not in ("", "breast_cancer") and data_dir is None:
        return []
    torch.set_num_threads(1)
    began = time.perf_counter()
    results = [_repeat(case, data_dir, seed=seed) for seed in range(1 if smoke else repetitions)]
    seconds = (time.perf_counter() - began) / len(results)
    shared = {"case": name, "title": case.title, "repetitions": len(results), "seconds": seconds}
    rows = []
    for attack in results[0]:
        row = {**shared, "attack": attack}
        for measure in results[0][attack]:
            values = np.array([each[attack][measure] for each in results])
            row[measure] = float(np.nanmean(values)) if np.isfinite(values).any() else None
            if measure == "accuracy" and len(values) > 1:
                row["sd"] = float(values.std(ddof=1))
                half = 1.96 * row["sd"] / np.sqrt(len(values))
                row["interval"] = f"{row[measure] - half:.3f}–{row[measure] + half:.3f}"
        published = case.published.get(attack, (None, None))
        rows.append(row | {"published": published[0], "published_precision": published[1]})
    if case.per_class:
        closed = mf.whitebox.bayes_optimal_accuracy(FEATURES, case.per_class)
        rows.append({**shared, "attack": "closed form Φ(½√(d/n_y))", "accuracy": closed})
    return rows


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("papers stolen-memories", SAYS, COLUMNS, tuple(rows))


def _repeat(case: Case, data_dir: Path | None, *, seed: int) -> dict[str, dict[str, float]]:
    """Every attack's measures against one target."""
    records, truth = _records(case, data_dir, seed=seed)
    third = len(records) // 3
    in_mask = np.arange(len(records))[None] < third
    (target,) = train_modules(case.recipe, records, in_mask, models=[0], seed=seed)
    asked, mine = _part(records, slice(2 * third)), _part(records, slice(2 * third, None))
    is_member = np.arange(2 * third) < third
    right = _probabilities(target, asked).argmax(axis=1) == asked.y
    scored: dict[str, Callable[[mf.Records], Array]] = {}
    if case.per_class:
        assert truth is not None
        members = _part(records, slice(third))
        centres = np.stack([members.x[members.y == each].mean(axis=0) for each in range(CLASSES)])
        omniscient = mf.whitebox.BayesOptimal(*truth)
        scored["omniscient"] = lambda which: omniscient.score(which.x, which.y, train_means=centres)
        scored["bayes-wb"] = mf.whitebox.LinearBayes(case.recipe).fit(target, mine, seed=seed + 1000).score
        for name, hidden in (("general-wb", 0), ("general-wb, 16 units", 16)):
            attack = mf.whitebox.LinearGeneral(case.recipe, splits=SHADOWS, hidden=hidden)
            scored[name] = attack.fit(target, mine, seed=seed + 1000).score
    else:
        scored["naive"] = lambda which: (_probabilities(target, which).argmax(axis=1) == which.y).astype(float)
        scored["shadow-bb"] = _shadow_black_box(case.recipe, target, mine, seed=seed)
        for name, attack in (
            ("bayes-wb", mf.whitebox.DeepBayes(case.layer, case.recipe)),
            ("general-wb", mf.whitebox.DeepGeneral(case.layer, case.recipe, splits=SHADOWS)),
        ):
            scored[name] = attack.fit(target, mine, seed=seed + 1000).score
    found = {"target, members": {"accuracy": float(right[is_member].mean())}}
    found["target, non-members"] = {"accuracy": float(right[~is_member].mean())}
    for name, score in scored.items():
        found[name] = _measures(score(asked), score(mine), asked, mine, is_member)
    return found


def _measures(
    scores: Array, attackers: Array, asked: mf.Records, mine: mf.Records, is_member: Array
) -> dict[str, float]:
    called = scores > 0.5
    found = {"accuracy": float((called == is_member).mean()), "precision": _precision(called, is_member)}
    for alpha in ALPHAS:
        thresholds = mf.whitebox.calibrate(attackers, mine.y, classes=mine.classes, alpha=alpha)
        found[f"precision_{alpha}"] = _precision(mf.whitebox.called_members(scores, asked.y, thresholds), is_member)
    return found


def _precision(called: Array, is_member: Array) -> float:
    return float(is_member[called].mean()) if called.any() else float("nan")


def _records(case: Case, data_dir: Path | None, *, seed: int) -> tuple[mf.Records, tuple[Array, Array] | None]:
    """Records in random order, and the true means and variances of those that are drawn here."""
    rng = np.random.default_rng([seed, case.per_class or 0])
    if case.per_class:
        means, variances = SPREAD * rng.normal(size=(CLASSES, FEATURES)), rng.uniform(0.5, 2.0, size=FEATURES)
        y = np.tile(np.arange(CLASSES), 3 * case.per_class)
        x = means[y] + rng.normal(size=(len(y), FEATURES)) * np.sqrt(variances)
        return mf.Records(x.astype(np.float32), y, classes=CLASSES), (means, variances)
    records = mf.load(case.data, data_dir=data_dir)
    order = rng.permutation(len(records))[: case.at_most]
    return replace(records, x=records.x[order], y=records.y[order]), None


def _part(records: mf.Records, which: slice) -> mf.Records:
    return replace(records, x=records.x[which], y=records.y[which])


def _probabilities(model: torch.nn.Module, records: mf.Records) -> Array:
    with torch.inference_mode():
        parts = [model(torch.from_numpy(records.inputs(slice(at, at + 2048)))) for at in range(0, len(records), 2048)]
    return torch.cat(parts).softmax(dim=1).numpy()


def _shadow_black_box(
    recipe: mf.Recipe, target: torch.nn.Module, mine: mf.Records, *, seed: int
) -> Callable[[mf.Records], Array]:
    """Shokri et al. (2017): per class, a classifier of prediction vectors in and out of shadows' training sets."""
    from sklearn.linear_model import LogisticRegression

    halves = halvings(len(mine), SHADOWS, seed=seed + 2000)
    shadows = train_modules(recipe, mine, halves, models=range(SHADOWS), seed=seed + 2000)
    x, y = np.concatenate([_probabilities(each, mine) for each in shadows]), np.tile(mine.y, SHADOWS)
    inside = halves.reshape(-1)
    attacks = {
        label: LogisticRegression(max_iter=500).fit(x[y == label], inside[y == label])
        for label in range(mine.classes)
        if 0 < inside[y == label].sum() < (y == label).sum()
    }

    def score(which: mf.Records) -> Array:
        out, seen = np.full(len(which), 0.5), _probabilities(target, which)
        for label, attack in attacks.items():
            rows = which.y == label
            if rows.any():
                out[rows] = attack.predict_proba(seen[rows])[:, 1]
        return out

    return score
