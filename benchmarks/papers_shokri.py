"""Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models": the gap against precision.

``main(data_dir, out)`` keeps prediction vectors in ``out/work``, so a stopped run resumes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import miafast as mf
from benchmarks import machine, table
from benchmarks.papers_lira import part_of
from benchmarks.table import Column, Section
from miafast.ops.lira_leave_one_out import has_fixed_counts
from miafast.shadow import membership, stack_size, train
from miafast.store import write_array, write_text

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Case:
    data: str
    records: int  # half of them are members, as in the paper
    recipe: mf.Recipe
    shadows: int
    classes: int | None = None  # merged to so many
    published: tuple[float, float, float] | None = None  # train and test accuracy, precision


TANH = mf.Recipe(hidden=(128,), activation="tanh", epochs=100)
CASES = {
    "location30-2": Case("location30", 3200, TANH, 60, classes=2),
    "location30-5": Case("location30", 3200, TANH, 60, classes=5),
    "location30-10": Case("location30", 3200, TANH, 60, classes=10),
    "location30-30": Case("location30", 3200, TANH, 60, published=(1.0, 0.673, 0.678)),
    "adult": Case("adult", 20_000, mf.Recipe(model="logistic", epochs=10), 20, published=(0.848, 0.842, 0.503)),
    "mnist": Case("mnist", 20_000, mf.Recipe(hidden=(128,), epochs=8), 20, published=(0.984, 0.928, 0.517)),
}
TARGETS = 4  # models attacked, each with all others as shadows
BINS = 10

SAYS = (
    "An attack model per class (64 hidden units, ReLU, as in the paper) on the logarithms of the shadow models' ten "
    "largest confidences and of the label's, at its own threshold of one half; members and non-members in equal "
    "number. Means ± sd over targets, each attacked with all other models. Accuracy is balanced. Published: Table II "
    "and fig. 11 of the paper, models trained by cloud services on the same data; Purchase with 2/10/20/50/100 classes "
    "went .505 .550 .590 .860 .935. Location's classes are merged by clustering their mean records."
)
COLUMNS = (
    Column("data", "data"), Column("classes", "classes"), Column("train", "train", "{:.3f}"),
    Column("test", "test", "{:.3f}"), Column("gap", "gap", "{:.3f}"), Column("precision", "precision"),
    Column("recall", "recall"), Column("accuracy", "accuracy"), Column("naive precision", "naive", "{:.3f}"),
    Column("published train, test, precision", "published"),
)  # fmt: skip
CLASSES_SAYS = (
    "Precision of the attack per class, over the targets together: quantiles over classes (fig. 10 of the paper shows "
    "CIFAR's and Purchase's). Classes with fewer members among the training records, or a wider gap, leak more."
)
CLASSES_COLUMNS = (
    Column("data", "data"), Column("classes", "classes"),
    *(Column(f"{share} % quantile", f"q{share}", "{:.3f}") for share in (0, 25, 50, 75, 100)),
    Column("correlation with the class's gap", "correlation", "{:.2f}"),
)  # fmt: skip
ENTROPY_SAYS = (
    "Share (per cent) of the targets' predictions by normalised entropy -Σ p log p / log n, members and non-members "
    "(fig. 12 of the paper): what the attack sees. The distance is the largest between both cumulative shares."
)
ENTROPY_COLUMNS = (
    Column("data", "data"), Column("who", "who"),
    *(Column(f"{place / BINS:.1f}–", f"bin{place}", "{:.1f}") for place in range(BINS)),
    Column("distance", "distance", "{:.3f}"),
)  # fmt: skip


def main(data_dir: Path, out: Path, *, only: tuple[str, ...] = tuple(CASES)) -> None:
    """The table and the histograms for the named cases, printed and saved into ``out``, with histograms as pictures."""
    where, out = machine.describe(bandwidth_mib=64), Path(out)
    for name in only:
        case = CASES[name]
        records = loaded(case, data_dir)
        in_mask = membership(len(records), case.shadows, seed=0)
        vectors = predictions(case, records, in_mask, out / "work" / f"shokri-{name}.npy")
        members, others = entropies(vectors, in_mask)
        verdicts = attacked(vectors, in_mask, records)
        for section in (
            Section("papers shokri gap", SAYS, COLUMNS, (row(name, case, records, vectors, in_mask, verdicts),)),
            Section(
                "papers shokri classes",
                CLASSES_SAYS,
                CLASSES_COLUMNS,
                (class_row(name, records, vectors, in_mask, verdicts),),
            ),
            Section("papers shokri entropy", ENTROPY_SAYS, ENTROPY_COLUMNS, histogram_rows(name, members, others)),
        ):
            print(section.markdown(), end="\n\n", flush=True)
            table.save(section, where, out)
        draw(out / f"entropy-{name}.png", members, others, title=f"{name}: {records.classes} classes")


def loaded(case: Case, data_dir: Path) -> mf.Records:
    records = part_of(mf.load(case.data, data_dir=data_dir), case.records)
    return records if case.classes is None else merged(records, case.classes)


def merged(records: mf.Records, classes: int) -> mf.Records:
    """Classes joined to fewer by Ward's clustering of their mean records: alike ones come together."""
    from scipy.cluster.hierarchy import fcluster, linkage

    means = np.stack([records.inputs(records.y == each).mean(axis=0) for each in range(records.classes)])
    group = fcluster(linkage(means, "ward"), classes, "maxclust") - 1
    return mf.Records(records.x, group[records.y], classes=classes, name=f"{records.name}, {classes} classes")


def predictions(case: Case, records: mf.Records, in_mask: Array, path: Path) -> Array:
    """Prediction vectors float32 [models, records, classes], kept in a file of this run's fingerprints."""
    path.parent.mkdir(parents=True, exist_ok=True)
    identity, mark = f"{records.fingerprint} {case.recipe.fingerprint} {in_mask.shape}", path.with_suffix(".txt")
    if path.exists() and mark.exists() and mark.read_text() == identity:
        return np.load(path, mmap_mode="r")
    chunk, parts = stack_size(case.recipe, records), []
    for start in range(0, len(in_mask), chunk):
        models = train(case.recipe, records, in_mask, models=range(start, min(start + chunk, len(in_mask))), seed=0)
        logits = models.logits(records.inputs()).numpy()
        parts.append(np.exp(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)))
    write_array(path, np.concatenate(parts))
    write_text(mark, identity)
    return np.load(path, mmap_mode="r")


def row(name: str, case: Case, records: mf.Records, vectors: Array, in_mask: Array, verdicts: Array) -> dict[str, Any]:
    right = vectors.argmax(axis=-1) == records.y
    train_accuracy, test_accuracy = (float(right[side].mean()) for side in (in_mask, ~in_mask))
    members = in_mask[:TARGETS]
    precision = [each[mask].sum() / max(each.sum(), 1) for each, mask in zip(verdicts, members, strict=True)]
    recall = [each[mask].mean() for each, mask in zip(verdicts, members, strict=True)]
    accused = [each[~mask].mean() for each, mask in zip(verdicts, members, strict=True)]
    balanced = [(found + 1 - wrong) / 2 for found, wrong in zip(recall, accused, strict=True)]
    return {
        "case": name, "data": case.data, "classes": records.classes, "train": train_accuracy, "test": test_accuracy,
        "gap": train_accuracy - test_accuracy, "precision": spread(precision), "recall": spread(recall),
        "accuracy": spread(balanced),
        "naive": train_accuracy / (train_accuracy + test_accuracy),
        "published": None if case.published is None else " ".join(f"{each:.3f}" for each in case.published),
    }  # fmt: skip


def class_row(name: str, records: mf.Records, vectors: Array, in_mask: Array, verdicts: Array) -> dict[str, Any]:
    members, right = in_mask[:TARGETS], vectors.argmax(axis=-1) == records.y
    precision, gap = [], []
    for each in range(records.classes):
        rows = records.y == each
        accused = verdicts[:, rows]
        if accused.any():
            precision.append(members[:, rows][accused].mean())
            gap.append(right[:, rows][in_mask[:, rows]].mean() - right[:, rows][~in_mask[:, rows]].mean())
    quantiles = np.quantile(precision, np.linspace(0, 1, 5))
    return {
        "case": name, "data": name, "classes": records.classes,
        **{f"q{25 * place}": each for place, each in enumerate(quantiles)},
        "correlation": np.corrcoef(precision, gap)[0, 1] if len(gap) > 2 else None,
    }  # fmt: skip


def attacked(vectors: Array, in_mask: Array, records: mf.Records) -> Array:
    """bool [TARGETS, records]: the verdict of an attack model per class, trained on the other models' vectors."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    assert has_fixed_counts(in_mask)  # harmless here: the attack model cannot tell records apart
    verdicts = np.zeros((TARGETS, len(records)), bool)
    seen = np.log(np.sort(vectors, axis=-1)[..., ::-1][..., :10] + 1e-6)
    label = np.take_along_axis(vectors, records.y[None, :, None], -1)
    seen = np.concatenate([seen, np.log(label + 1e-6)], axis=-1)
    for target in range(TARGETS):
        others = np.arange(len(vectors)) != target
        for each in range(records.classes):
            rows = records.y == each
            x, y = seen[others][:, rows].reshape(-1, seen.shape[-1]), in_mask[others][:, rows].ravel()
            part = np.random.default_rng(0).permutation(len(x))[:20_000]
            scale = StandardScaler().fit(x[part])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model = MLPClassifier((64,), max_iter=20, random_state=0).fit(scale.transform(x[part]), y[part])
            verdicts[target, rows] = model.predict(scale.transform(seen[target, rows]))
    return verdicts


def entropies(vectors: Array, in_mask: Array) -> tuple[Array, Array]:
    """Normalised entropies of the targets' predictions of members, and of non-members."""
    p = np.asarray(vectors[:TARGETS], np.float64)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=-1) / np.log(p.shape[-1])
    return entropy[in_mask[:TARGETS]], entropy[~in_mask[:TARGETS]]


def histogram_rows(name: str, members: Array, others: Array) -> tuple[dict[str, Any], ...]:
    edges = np.sort(np.concatenate([members, others]))
    distance = max(abs(np.searchsorted(np.sort(members), edges, "right") / len(members)
                       - np.searchsorted(np.sort(others), edges, "right") / len(others)))  # fmt: skip
    rows = []
    for who, values in (("members", members), ("non-members", others)):
        share = np.histogram(np.clip(values, 0, 1), bins=BINS, range=(0, 1))[0] / len(values)
        rows.append({"case": name, "data": name, "who": who, "distance": distance,
                     **{f"bin{place}": 100 * each for place, each in enumerate(share)}})  # fmt: skip
    return tuple(rows)


def draw(path: Path, members: Array, others: Array, *, title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for values, label in ((members, "members"), (others, "non-members")):
        axes.hist(values, bins=25, range=(0, 1), weights=np.full(len(values), 1 / len(values)), alpha=0.6, label=label)
    axes.set(xlabel="normalised entropy", ylabel="share of predictions", title=title)
    axes.legend()
    figure.savefig(path, dpi=120)


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
