"""The tables of Leino & Fredrikson (2020), "Stolen Memories", on data drawn or read here."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import miafast as mf
from benchmarks.lenet import LeNet
from benchmarks.machine import commit
from benchmarks.papers import kept
from benchmarks.table import Column, Section
from miafast.attacks import Sablayrolles
from miafast.shadow import train_modules
from miafast.shadow.private_module import train_privately
from miafast.tables import Array
from miafast.whitebox import DeepBayes, DeepGeneral, DeepRatio, LayerMeta, LinearBayes, LinearGeneral
from miafast.whitebox.linear import Linear, against, halvings, linear_of

Score = Callable[[mf.Records], Array]
Repeated = tuple[dict[str, dict[str, float]], float]
CLASSES, FEATURES, SPREAD = 10, 75, 0.15
ALPHAS = (0.9, 0.99)
SHADOWS, SHADOWS_OF_IMAGES = 5, 2
LAYERS = ("conv1", "conv2", "fc1", "fc2")
META = "bayes-wb, all layers"


class Scored(NamedTuple):
    """``score``: above 0 says member. ``own``: that of the attacker's own records, by proxies not trained on them."""

    score: Score
    own: Array
    per_class: bool = True  # thresholds


@dataclass(frozen=True)
class Case:
    """``published`` accuracy and precision by attack; ``per_class`` records (synthetic) or the name of a data set."""

    title: str
    recipe: mf.Recipe
    published: Mapping[str, tuple[float, float | None]]
    per_class: int | None = None
    data: str = ""
    layers: tuple[str, ...] = ("2",)
    of_each: int | None = None  # members, and as many non-members and attacker's records; all there are by default
    fewest_of_class: int = 0  # smaller classes are left out
    epsilon: float | None = None  # the target is trained by DP-SGD
    most: int | None = None  # repetitions, however many are asked for
    informed: int = 0  # in place of the paper's attacks, ones with so many shadow models trained on the records asked

    @property
    def shadows(self) -> int:
        return SHADOWS if len(self.layers) == 1 else SHADOWS_OF_IMAGES

    @property
    def ratio(self) -> DeepRatio:
        return DeepRatio(self.layers[0], self.recipe, splits=8 if len(self.layers) == 1 else 4)


def _synthetic(per_class: int, *accuracies: float) -> Case:
    names = ("omniscient", "bayes-wb", "general-wb", "general-wb, 16 units")
    recipe = mf.Recipe(model="logistic", learning_rate=1e-2, epochs=30, batch_size=32)
    published = {name: (value, None) for name, value in zip(names, accuracies, strict=True)}
    return Case(f"synthetic, n = {per_class} per class", recipe, published, per_class=per_class, layers=("0",))


def _table(title: str, data: str, recipe: mf.Recipe, accuracy: Any = (), precision: Any = (), **more: Any) -> Case:
    bayes = "bayes-wb" if len(more.get("layers", "2")) == 1 else META
    published = dict(zip(("naive", "shadow-bb", bayes, "general-wb"), zip(accuracy, precision, strict=True)))  # noqa: B905
    return Case(title, recipe, published, data=data, **more)


_MLP = mf.Recipe(hidden=(64,), batch_size=32)
_GERMAN = replace(_MLP, epochs=40)
_PRIVATE = replace(_GERMAN, learning_rate=1e-2, batch_size=111)  # above the larger class's share at ε = 16
_ADULT = replace(_MLP, epochs=6, batch_size=128)
_LENET = mf.Recipe(model=LeNet, epochs=15, batch_size=64)
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
        "German Credit", "german_credit", _GERMAN, (0.618, 0.582, 0.623, 0.622), (0.572, 0.547, 0.603, 0.637)
    ),
    "adult": _table("Adult", "adult", _ADULT, (0.506, 0.524, 0.507, 0.516), (0.504, 0.514, 0.512, 0.516)),
    "mnist": _table(
        "MNIST, LeNet, 4,000 members", "mnist", _LENET, (0.506, 0.506, 0.575, 0.521), (0.503, 0.506, 0.578, 0.640),
        layers=LAYERS, of_each=4000, most=10,
    ),
    "mnist-informed": _table(
        "MNIST, LeNet, 4,000 members, 16 shadows of the records asked", "mnist", _LENET, layers=LAYERS, of_each=4000,
        most=1, informed=16,
    ),
    "lfw": _table(
        "LFW, LeNet", "lfw", replace(_LENET, epochs=30, batch_size=32),
        (0.582, 0.597, 0.618, 0.619), (0.545, 0.557, 0.581, 0.586), layers=LAYERS, fewest_of_class=100, most=5,
    ),
    "cifar10": _table(
        "CIFAR-10, LeNet", "cifar10", replace(_LENET, epochs=25),
        (0.666, 0.684, 0.686, 0.709), (0.600, 0.605, 0.638, 0.646), layers=LAYERS, of_each=3000, most=3,
    ),
    **{
        f"adult-{size}": _table(
            f"Adult, {size:,} members", "adult", replace(_ADULT, epochs=60, batch_size=32), of_each=size
        )
        for size in (100, 300, 1000, 3000)
    },
    **{
        f"german_credit, dropout {share}": _table(
            f"German Credit, dropout {share}", "german_credit", replace(_GERMAN, dropout=share)
        )
        for share in (0.25, 0.5)
    },
    **{
        f"german_credit, dp-sgd {epsilon:g}": _table(
            f"German Credit, DP-SGD ε = {epsilon:g}", "german_credit", _PRIVATE, epsilon=epsilon, most=10
        )
        for epsilon in (16.0, 4.0, 1.0, 0.25)
    },
}  # fmt: skip

COLUMNS = (
    Column("data", "title"),
    Column("attack", "attack"),
    Column("accuracy", "accuracy", "{:.3f}"),
    Column("± sd", "sd", "{:.3f}"),
    Column("published", "published", "{:.3f}"),
    Column("less bayes-wb ± s.e.", "less"),
    Column("AUC", "auc", "{:.3f}"),
    Column("precision", "precision", "{:.3f}"),
    Column("published", "published_precision", "{:.3f}"),
    Column("α = .90", "precision_0.9", "{:.3f}"),
    Column("α = .99 (95 % interval)", "interval_0.99"),
    Column("alarms a time", "alarms_0.99", "{:.0f}"),
    Column("false, of non-members", "false_0.99", "{:.3f}"),
    Column("repetitions", "repetitions"),
    Column("core s", "seconds", "{:.0f}"),
)
SAYS = (
    "Records in thirds drawn at random: members, non-members, the attacker's. Accuracy of calling a member what scores "
    "above one half, over as many members as non-members: mean and standard deviation over repetitions, each with a "
    "target and thirds of its own; its paired difference from bayes-wb (on images, all layers together). Precision is "
    "that of the alarms of all repetitions together; calibrated, of those above the α-quantile, in their class, of the "
    "attacker's own records, scored by proxies that were not trained on them; with a bootstrap interval over "
    "repetitions. Proxies begin as the target did. ratio-wb (`DeepRatio`, on images of the first layer) is not the "
    "paper's; it has one threshold for all classes. Best threshold: the one that is best on the answers, of attacks "
    "whose shadow models are trained on the records asked, which no attack of the paper sees."
)


def run(
    name: str, *, smoke: bool, data_dir: Path | None = None, workdir: Path | None = None,
    repetitions: int = 20,
) -> list[dict[str, Any]]:  # fmt: skip
    """One table's rows: the target's accuracies, then every attack. ``workdir`` keeps every repetition's measures."""
    case = CASES[name]
    if case.data not in ("", "breast_cancer") and data_dir is None:
        return []
    count = 1 if smoke else min(repetitions, case.most or repetitions)
    repeated = _side_by_side(functools.partial(_repeated, name, data_dir, workdir), count)
    results = [each for each, _ in repeated]
    shared = {"case": name, "title": case.title, "repetitions": count}
    shared["seconds"] = sum(seconds for _, seconds in repeated)
    compared = next(name for name in ("bayes-wb", META, *results[0]) if name in results[0])
    base = np.array([each[compared]["accuracy"] for each in results])
    rows = []
    for attack in results[0]:
        found = {measure: np.array([each[attack][measure] for each in results]) for measure in results[0][attack]}
        published = case.published.get(attack, (None, None))
        row = {**shared, "attack": attack, "published": published[0], "published_precision": published[1]}
        less = found["accuracy"] - base
        if attack != compared and not attack.startswith("target") and count > 1:
            row["less"] = f"{less.mean():+.4f} ± {less.std(ddof=1) / np.sqrt(count):.4f}"
        rows.append(row | _summary(found))
    if case.per_class:
        closed = mf.whitebox.bayes_optimal_accuracy(FEATURES, case.per_class)
        rows.append({**shared, "attack": "closed form Φ(½√(d/n_y))", "accuracy": closed})
    return rows


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("papers stolen-memories", SAYS, COLUMNS, tuple(rows))


def _summary(found: Mapping[str, Array]) -> dict[str, Any]:
    """Over repetitions: accuracy's mean and deviation, and precision of all alarms together."""
    out: dict[str, Any] = {"accuracy": float(found["accuracy"].mean())}
    if len(found["accuracy"]) > 1:
        out["sd"] = float(found["accuracy"].std(ddof=1))
    if "auc" in found:
        out["auc"] = float(found["auc"].mean())
    drawn = np.random.default_rng(0).integers(len(found["accuracy"]), size=(2000, len(found["accuracy"])))
    for level in ("", *(f"_{alpha}" for alpha in ALPHAS)):
        if f"alarms{level}" not in found or not found[f"alarms{level}"].any():
            continue
        right, alarms = found[f"right{level}"], found[f"alarms{level}"]
        again = right[drawn].sum(axis=1) / np.maximum(alarms[drawn].sum(axis=1), 1)
        low, high = np.quantile(again, [0.025, 0.975])
        out[f"precision{level}"] = float(right.sum() / alarms.sum())
        out[f"interval{level}"] = f"{out[f'precision{level}']:.3f} ({low:.3f}–{high:.3f})"
        out[f"alarms{level}"], out[f"false{level}"] = float(alarms.mean()), float(found[f"false{level}"].mean())
    return out


def _side_by_side(repeated: Callable[[int], Repeated], count: int) -> list[Repeated]:
    """Seeds below ``count``, a process for every core."""
    processes = min(count, os.cpu_count() or 1)
    if processes == 1:
        return [repeated(seed) for seed in range(count)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(repeated, range(count)))


def _repeated(name: str, data_dir: Path | None, workdir: Path | None, seed: int) -> Repeated:
    """A repetition's measures and its seconds, read back if this commit measured them before."""
    torch.set_num_threads(1)
    described = hashlib.sha256(f"{commit()} {CASES[name]}".encode()).hexdigest()[:16]
    path = kept(workdir, f"stolen-memories-{name}-{seed}-{described}.json")
    if not path.exists():
        began = time.perf_counter()
        measures = _repeat(CASES[name], data_dir, seed=seed)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps([measures, time.perf_counter() - began]))
        os.replace(temporary, path)
    measures, seconds = json.loads(path.read_text())
    return measures, seconds


def _repeat(case: Case, data_dir: Path | None, *, seed: int) -> dict[str, dict[str, float]]:
    """Every attack's measures against one target."""
    records, truth = _records(case, data_dir, seed=seed)
    third = len(records) // 3
    members, asked = records.only(slice(third)), records.only(slice(2 * third))
    mine, is_member = records.only(slice(2 * third, None)), np.arange(2 * third) < third
    target = _target(case, members, seed=seed)
    right = _logits(target, asked).argmax(axis=1) == asked.y
    found = {"target, members": {"accuracy": float(right[is_member].mean())}}
    found["target, non-members"] = {"accuracy": float(right[~is_member].mean())}
    if case.informed:
        return found | _informed(case, target, asked, is_member, seed=seed)
    scored: dict[str, Scored] = {}
    if truth is not None:
        scored |= {name: Scored(score, score(mine)) for name, score in _omniscient(truth, members, target).items()}
        scored["bayes-wb"] = _scored(LinearBayes(case.recipe).fit(target, mine, seed=seed))
        for name, hidden in (("general-wb", 0), ("general-wb, 16 units", 16)):
            attack = LinearGeneral(case.recipe, splits=SHADOWS, hidden=hidden)
            scored[name] = _scored(attack.fit(target, mine, seed=seed))
    else:
        blind = {
            "naive": lambda which: (_probabilities(target, which).argmax(axis=1) == which.y) - 0.5,
            "shadow-bb": _shadow_black_box(case, target, mine, seed=seed),
        }
        scored |= {name: Scored(score, score(mine)) for name, score in blind.items()}
        scored |= _white_box(case, target, mine, seed=seed)
    scored["ratio-wb"] = _scored(case.ratio.fit(target, mine, seed=seed))._replace(per_class=False)
    for name, each in scored.items():
        found[name] = _measures(each, asked, mine, is_member)
    return found


def _scored(fitted: mf.whitebox.Fitted) -> Scored:
    return Scored(fitted.logit, np.asarray(fitted.held_out))


def _omniscient(truth: tuple[Array, Array], members: mf.Records, target: torch.nn.Module) -> dict[str, Score]:
    """Who knows the distribution: against the training set's class means, and against the target's learnt weights."""
    means, variances = truth
    centres = np.stack([members.x[members.y == each].mean(axis=0) for each in range(CLASSES)])
    best = mf.whitebox.BayesOptimal(means, variances)
    true = Linear(means / variances, -(np.square(means) / variances).sum(axis=1) / 2)
    return {
        "omniscient": lambda which: best.score(which.x, which.y, train_means=centres) - 0.5,
        "omniscient, learnt weights": against(linear_of(target), true).logit,
    }


def _white_box(case: Case, target: torch.nn.Module, mine: mf.Records, *, seed: int) -> dict[str, Scored]:
    first = case.layers[0]
    general = _scored(DeepGeneral(first, case.recipe, splits=case.shadows).fit(target, mine, seed=seed))
    if len(case.layers) == 1:
        return {"bayes-wb": _scored(DeepBayes(first, case.recipe).fit(target, mine, seed=seed)), "general-wb": general}
    found = LayerMeta(case.layers, case.recipe, partitions=case.shadows).fit(target, mine, seed=seed)
    each = {f"bayes-wb, {layer}": _scored(attack) for layer, attack in found.layers.items()}
    return {**each, META: _scored(found), "general-wb": general}


def _measures(scored: Scored, asked: mf.Records, mine: mf.Records, is_member: Array) -> dict[str, float]:
    scores = scored.score(asked)
    called = {"": scores > 0}
    labels, own_labels, classes = (asked.y, mine.y, mine.classes) if scored.per_class else (None, None, 1)
    for alpha in ALPHAS:
        thresholds = mf.whitebox.calibrate(scored.own, own_labels, classes=classes, alpha=alpha)
        called[f"_{alpha}"] = mf.whitebox.called_members(scores, labels, thresholds)
    found = {"accuracy": float((called[""] == is_member).mean()), "auc": mf.roc(scores, is_member).auc}
    for level, alarms in called.items():
        found[f"alarms{level}"], found[f"right{level}"] = int(alarms.sum()), int((alarms & is_member).sum())
        found[f"false{level}"] = float(alarms[~is_member].mean())
    return found


def _target(case: Case, members: mf.Records, *, seed: int) -> torch.nn.Module:
    everything = np.ones((1, len(members)), bool)
    if case.epsilon is None:
        return train_modules(case.recipe, members, everything, models=[0], seed=seed)[0]
    return train_privately(
        members, np.arange(len(members)), seed, recipe=case.recipe, epsilon=case.epsilon, delta=1e-5, clip=1.0
    )


def _records(case: Case, data_dir: Path | None, *, seed: int) -> tuple[mf.Records, tuple[Array, Array] | None]:
    """Records in random order, and the true means and variances of those that are drawn here."""
    rng = np.random.default_rng([seed, case.per_class or 0])
    if case.per_class:
        means, variances = SPREAD * rng.normal(size=(CLASSES, FEATURES)), rng.uniform(0.5, 2.0, size=FEATURES)
        y = np.tile(np.arange(CLASSES), 3 * case.per_class)
        x = means[y] + rng.normal(size=(len(y), FEATURES)) * np.sqrt(variances)
        return mf.Records(x.astype(np.float32), y, classes=CLASSES), (means, variances)
    records = _loaded(case.data, data_dir)
    large = np.bincount(records.y) >= case.fewest_of_class
    rows = rng.permutation(np.flatnonzero(large[records.y]))[: case.of_each and 3 * case.of_each]
    y = np.cumsum(large)[records.y[rows]] - 1
    return replace(records, x=records.x[rows], y=y, classes=int(large.sum()), class_names=None), None


@functools.lru_cache(maxsize=1)
def _loaded(data: str, data_dir: Path | None) -> mf.Records:
    return mf.load(data, data_dir=data_dir)


def _informed(
    case: Case, target: torch.nn.Module, asked: mf.Records, is_member: Array, *, seed: int
) -> dict[str, dict[str, float]]:
    """What attacks find that know more than any of the paper's, at the threshold that is best on the answers."""
    mask = mf.membership(len(asked), case.informed, seed=seed + 3000)
    shadows = train_modules(case.recipe, asked, mask, models=range(case.informed), seed=seed + 3000)
    phi, *others = (mf.logit_confidence(_logits(each, asked), asked.y) for each in (target, *shadows))
    found = {}
    for attack in (mf.LiRA(), mf.LiRA(mode="offline"), Sablayrolles()):
        roc = mf.roc(attack.score(phi, np.stack(others), mask), is_member)
        found[f"{attack.name}, best threshold"] = {"accuracy": roc.balanced_accuracy, "auc": roc.auc}
    return found


def _logits(model: torch.nn.Module, records: mf.Records) -> Array:
    with torch.inference_mode():
        parts = [model(torch.from_numpy(records.inputs(slice(at, at + 2048)))) for at in range(0, len(records), 2048)]
    out: Array = torch.cat(parts).numpy()
    return out


def _probabilities(model: torch.nn.Module, records: mf.Records) -> Array:
    out: Array = torch.from_numpy(_logits(model, records)).softmax(dim=1).numpy()
    return out


def _shadow_black_box(case: Case, target: torch.nn.Module, mine: mf.Records, *, seed: int) -> Score:
    """Shokri et al. (2017): per class, a classifier of prediction vectors in and out of shadows' training sets."""
    from sklearn.linear_model import LogisticRegression

    halves = halvings(len(mine), case.shadows, seed=seed + 2000)
    shadows = train_modules(case.recipe, mine, halves, models=range(case.shadows), seed=seed + 2000)
    x, y = np.concatenate([_probabilities(each, mine) for each in shadows]), np.tile(mine.y, case.shadows)
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
        return out - 0.5

    return score
