"""Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models": gap against precision, precision
per class, entropies. Cases are TABLE-DATA; the tables of one data set share its models."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import miafast as mf
from benchmarks import papers_synthesis
from benchmarks.papers import drawn, kept, mean_interval, shrunk, there
from benchmarks.table import Column, Section
from miafast.attacks import Shokri
from miafast.tables import Array


@dataclass(frozen=True)
class Data:
    name: str
    records: int  # half of them are members, as in the paper
    recipe: mf.Recipe
    classes: int | None = None  # k-means clusters of the records; None: the labels that come with them
    published: str | None = None  # train and test accuracy, precision
    models: int = 20
    repetitions: int = 3


TANH = mf.Recipe(hidden=(128,), activation="tanh", epochs=100)
PURCHASE = mf.Recipe(hidden=(128,), activation="tanh", epochs=50)
PIXELS = mf.Recipe(hidden=(128,), epochs=60)
DATA = {
    "location30": Data("location30", 3200, TANH, published="1.000 .673 .678"),
    **{f"location-{k}": Data("location30", 3200, TANH, classes=k, repetitions=5) for k in (2, 5, 10, 30)},
    "adult": Data("adult", 20_000, mf.Recipe(model="logistic", epochs=10), published=".848 .842 .503"),
    "mnist": Data("mnist", 20_000, mf.Recipe(hidden=(128,), epochs=8), published=".984 .928 .517"),
    "cifar10": Data("cifar10", 10_000, PIXELS),
    "cifar100": Data("cifar100", 10_000, PIXELS),
    **{
        f"purchase-{k}": Data("purchase100", 20_000, PURCHASE, classes=k if k < 100 else None, published=published)
        for k, published in {
            2: ".999 .984 .505", 10: ".999 .866 .550", 20: "1.000 .781 .590", 50: "1.000 .693 .860",
            100: ".999 .659 .935",
        }.items()
    },
    "texas": Data("texas100", 20_000, PURCHASE, published=".668 .517 .657", models=10),
}  # fmt: skip
SMOKE = Data("digits", 400, mf.Recipe(hidden=(8,), epochs=4), classes=3, models=6, repetitions=2)
BINS = 10

GAP_SAYS = (
    "`Shokri()`: an attack model per class on sorted prediction vectors, its verdict at log-odds of 0; as many members "
    "as non-members; accuracy is balanced. Means and 95 % intervals (t) over repetitions, each with records, clusters, "
    "members and models of its own; within one every model is the target in turn. Published: Table II and fig. 11 "
    "(train and test accuracy, precision), Location and Adult by Google, MNIST by Amazon, Purchase and Texas. Ours: "
    "mlps of 128 tanh units (Location, Purchase, Texas) or ReLU (MNIST, CIFAR as 8 x 8 x 3 means of pixels), logistic "
    "regression (Adult). location-K and purchase-K have classes made as the paper made them: k-means of the records, "
    "with the same number of members whatever K; location30 and purchase-100 have the labels that come with them."
)
CLASSES_SAYS = (
    "Precision per class, over all targets of the first repetition: quantiles over classes (the paper's fig. 10). "
    "Correlated with the gap of the class and with its number of records (Spearman)."
)
ENTROPY_SAYS = (
    "Share (per cent) of predictions by normalised entropy -Σ p log p / log n, members and non-members, first "
    f"repetition (the paper's fig. 12), in {BINS} bins from 0 to 1. The distance is the largest between the two "
    "cumulative shares."
)
GAP_COLUMNS = (
    Column("data", "title"), Column("classes", "classes"), Column("train", "train"), Column("test", "test"),
    Column("gap", "gap"), Column("precision", "precision"), Column("published train, test, precision", "published"),
    Column("recall", "recall"), Column("accuracy", "accuracy"), Column("AUC", "auc"),
    Column("precision of naive", "naive"), Column("models", "models"), Column("repetitions", "repetitions"),
)  # fmt: skip
CLASSES_COLUMNS = (
    Column("data", "title"), Column("classes", "classes"),
    *(Column(f"{share} % quantile", f"q{share}", "{:.3f}") for share in (0, 25, 50, 75, 100)),
    Column("correlation with gap", "with_gap", "{:.2f}"), Column("with records", "with_records", "{:.2f}"),
)  # fmt: skip
ENTROPY_COLUMNS = (
    Column("data", "title"), Column("who", "who"),
    *(Column(f"{place / BINS:.1f}–", f"bin{place}", "{:.1f}") for place in range(BINS)),
    Column("distance", "distance", "{:.3f}"),
)  # fmt: skip
TABLES = {
    "gap": (GAP_SAYS, GAP_COLUMNS),
    "classes": (CLASSES_SAYS, CLASSES_COLUMNS),
    "entropy": (ENTROPY_SAYS, ENTROPY_COLUMNS),
    "synthesis": (papers_synthesis.SAYS, papers_synthesis.COLUMNS),
}
CASES = {
    **{f"{kind}-{data}": (kind, data) for data in DATA for kind in ("gap", "classes", "entropy")},
    "synthesis-location30": ("synthesis", "location30"),
}


def run(
    name: str, *, smoke: bool, data_dir: Path | None = None, workdir: Path | None = None,
    repetitions: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One table on one data set; none where its files are not there."""
    kind, title = CASES[name]
    data = SMOKE if smoke else DATA[title]
    if not there(data.name, data_dir):
        return []
    shared = {"case": name, "title": data.name if smoke else title}
    if kind == "synthesis":
        whole = read(data, data_dir)
        return [shared | row for row in papers_synthesis.rows(whole, data.recipe, smoke=smoke, repetitions=repetitions)]
    if kind == "gap":
        return [shared | gap_row(data, data_dir, workdir, repetitions or data.repetitions)]
    report, records = measured(data, data_dir, workdir, 0)
    if kind == "classes":
        return [shared | class_row(report, records)]
    return [shared | row for row in entropy_rows(report)]


def section(rows: list[dict[str, Any]]) -> Section:
    kind, _ = CASES[rows[0]["case"]]
    return Section(f"papers shokri {kind}", *TABLES[kind], tuple(rows))


@functools.lru_cache(maxsize=1)
def read(data: Data, data_dir: Path | None) -> mf.Records:
    records = mf.load(data.name, data_dir=None if data.name == "digits" else data_dir)
    return shrunk(drawn(records, 2 * data.records)) if len(records.shape) == 3 and data.name != "mnist" else records


@functools.lru_cache(maxsize=1)
def measured(data: Data, data_dir: Path | None, workdir: Path | None, repetition: int) -> tuple[mf.Report, mf.Records]:
    """The attack on every model of one repetition."""
    records = drawn(read(data, data_dir), data.records, seed=repetition)
    records = records if data.classes is None else clustered(records, data.classes, seed=repetition)
    if data.name == "mnist":
        records = replace(records, x=records.x.reshape(len(records), -1))
    folder = kept(workdir, f"shokri-{data.name}-{data.classes or 'labels'}-{repetition}")
    report = mf.audit(records, data.recipe, attack=Shokri(), shadows=data.models, seed=repetition, workdir=folder)
    return report, records


def clustered(records: mf.Records, classes: int, *, seed: int) -> mf.Records:
    """The records with k-means clusters as their classes, as the paper made those of Purchase and Location."""
    from sklearn.cluster import KMeans

    x = records.inputs().reshape(len(records), -1)
    y = KMeans(classes, n_init=3, random_state=seed).fit_predict(x)
    return mf.Records(records.x, y, classes=classes, name=f"{records.name}, {classes} clusters")


def gap_row(data: Data, data_dir: Path | None, workdir: Path | None, repetitions: int) -> dict[str, Any]:
    found: dict[str, list[float]] = {}
    for repetition in range(repetitions):
        report, records = measured(data, data_dir, workdir, repetition)
        for name, value in gap_facts(report).items():
            found.setdefault(name, []).append(value)
    return {
        "classes": records.classes, **{name: mean_interval(values) for name, values in found.items()},
        "each": found, "published": data.published, "models": data.models, "repetitions": repetitions,
    }  # fmt: skip


def gap_facts(report: mf.Report) -> dict[str, float]:
    train, test = (float(np.mean(each)) for each in (report.signals.train_accuracy, report.signals.test_accuracy))
    result = report.results[0]
    return {
        "train": train, "test": test, "gap": train - test, **verdict(result.scores > 0, result.is_member),
        "auc": result.roc.auc, "naive": train / (train + test),
    }  # fmt: skip


def verdict(called: Array, is_member: Array) -> dict[str, float]:
    """Precision, recall and balanced accuracy of calling members [..., records] so; each target's, then their mean."""
    hits, alarms = (called & is_member).sum(axis=-1), (called & ~is_member).sum(axis=-1)
    recall, false = hits / is_member.sum(axis=-1), alarms / (~is_member).sum(axis=-1)
    precision = hits / np.maximum(hits + alarms, 1)
    return {
        "precision": float(np.mean(precision)), "recall": float(np.mean(recall)),
        "accuracy": float(np.mean((recall + 1 - false) / 2)),
    }  # fmt: skip


def class_row(report: mf.Report, records: mf.Records) -> dict[str, Any]:
    from scipy.stats import spearmanr

    result, logits = report.results[0], report.signals.named("logits")
    right = logits[:, :, 0].argmax(axis=-1) == records.y
    facts = []
    for each in range(records.classes):
        rows = records.y == each
        called, member = result.scores[:, rows] > 0, result.is_member[:, rows]
        if called.any():
            facts.append((member[called].mean(), right[:, rows][member].mean() - right[:, rows][~member].mean(),
                          rows.sum()))  # fmt: skip
    precision, gap, count = np.array(facts).T
    several = len(facts) > 3 and len(set(count)) > 1
    return {
        "classes": records.classes,
        **{f"q{25 * place}": float(each) for place, each in enumerate(np.quantile(precision, np.linspace(0, 1, 5)))},
        "with_gap": float(spearmanr(precision, gap)[0]) if several else None,
        "with_records": float(spearmanr(precision, count)[0]) if several else None,
    }  # fmt: skip


def entropy_rows(report: mf.Report) -> Iterator[dict[str, Any]]:
    logits = report.signals.named("logits")[:, :, 0].astype(np.float64)
    log_p = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    entropy = -(np.exp(log_p) * log_p).sum(axis=-1) / np.log(logits.shape[-1])
    members, others = (np.sort(entropy[side]) for side in (report.signals.in_mask, ~report.signals.in_mask))
    shares = (np.searchsorted(each, np.r_[members, others], "right") / len(each) for each in (members, others))
    distance = float(np.abs(np.subtract(*shares)).max())
    for who, values in (("members", members), ("non-members", others)):
        share = np.histogram(np.clip(values, 0, 1), bins=BINS, range=(0, 1))[0] / len(values)
        yield {"who": who, "distance": distance, **{f"bin{place}": 100 * each for place, each in enumerate(share)}}
