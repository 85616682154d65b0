"""Shokri et al. 2017, section V-C and fig. 9: what shadow models learn from where the attacker has no real records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import miafast as mf
from benchmarks.papers import mean_interval
from benchmarks.table import Column
from miafast import synthesis
from miafast.attacks import Shokri
from miafast.shadow import Models, membership, train
from miafast.tables import Array

SHADOWS, REPETITIONS = 10, 5

#: Purchase: precision, and recall of the model-based attack; Location has the noisy shadows only, as a figure.
PUBLISHED = {"real": ".935", "model-based": ".896 (recall .526)", "marginals": ".795"}
SAYS = (
    "A quarter of location30 are the target's members, a quarter its non-members, half the attacker's; shadows train "
    f"on as many records as the target, {SHADOWS} of them. Real: the attacker's records. Noisy: those with 10 % or 20 "
    "% of their features flipped, labels kept. Model-based: as many records climbed to by asking the target, of the "
    "attacker's classes. Marginals: features drawn from those of the attacker's records one by one, labelled by the "
    "target. `Shokri()` learns from the shadows' answers on their own records and judges the target's at log-odds of "
    "0. Means and 95 % intervals (t) over repetitions. Published: precision on Purchase-100."
)
COLUMNS = (
    Column("data", "title"), Column("shadows learn from", "source"), Column("precision", "precision"),
    Column("published", "published"), Column("recall", "recall"), Column("accuracy", "accuracy"),
    Column("test accuracy of shadows on real records", "fidelity"), Column("queries per record", "queries", "{:.0f}"),
    Column("climbs accepted", "accepted", "{:.2f}"), Column("repetitions", "repetitions"),
)  # fmt: skip


def rows(
    whole: mf.Records, recipe: mf.Recipe, *, smoke: bool, repetitions: int | None = None
) -> Iterator[dict[str, Any]]:
    """A row per source of records."""
    found: dict[str, list[dict[str, float]]] = {}
    count = 2 if smoke else repetitions or REPETITIONS
    for repetition in range(count):
        for source, facts in repeat(whole, recipe, seed=repetition, shadows=4 if smoke else SHADOWS).items():
            found.setdefault(source, []).append(facts)
    for source, each in found.items():
        columns = {name: [facts[name] for facts in each] for name in each[0]}
        yield {
            "source": source, "published": PUBLISHED.get(source), "each": columns, "repetitions": count,
            **{name: mean_interval(columns[name]) for name in ("precision", "recall", "accuracy", "fidelity")},
            **{name: float(np.mean(columns[name])) for name in ("queries", "accepted") if name in columns},
        }  # fmt: skip


def repeat(whole: mf.Records, recipe: mf.Recipe, *, seed: int, shadows: int) -> dict[str, dict[str, float]]:
    """Every source of shadows' records against one target."""
    from benchmarks.papers_shokri import verdict

    binary = np.isin(whole.x, (0, 1)).all()
    x, order = whole.inputs(), np.random.default_rng(seed).permutation(len(whole))
    x = x if binary else (x > np.median(x, axis=0)).astype(np.float32)
    asked, own = np.split(order[: len(order) // 4 * 4], 2)
    is_member = np.arange(len(asked)) < len(asked) // 2
    target_records = mf.Records(x[asked], whole.y[asked], classes=whole.classes)
    target = train(recipe, target_records, is_member[None], models=range(1), seed=seed)
    logits = target.logits(target_records.x).numpy()[0]
    found = {}
    for source, (pool, labels, facts) in pools(x[own], whole.y[own], target, seed=seed).items():
        records = mf.Records(pool, labels, classes=whole.classes)
        in_mask = membership(len(records), shadows, seed=seed)
        models = train(recipe, records, in_mask, models=range(shadows), seed=seed + 1000)
        answers = models.logits(records.x).numpy()
        scores = Shokri().score(logits, answers, in_mask, labels=labels, target_labels=target_records.y)
        right = models.logits(target_records.x).numpy().argmax(axis=-1) == target_records.y
        found[source] = {**verdict(scores > 0, is_member), "fidelity": float(right.mean()), **facts}
    return found


def pools(x: Array, y: Array, target: Models, *, seed: int) -> dict[str, tuple[Array, Array, dict[str, float]]]:
    """What the attacker can train on: source -> x, labels and what is worth telling."""

    def predict(x: Array) -> Array:
        return target.logits(x).softmax(dim=-1).numpy()[0]

    climbed = synthesis.climb(predict, y, features=x.shape[1], seed=seed)
    drawn = synthesis.from_marginals(x, len(x), seed=seed)
    told = {"queries": float(climbed.queries.mean()), "accepted": float(climbed.accepted.mean())}
    return {
        "real": (x, y, {}),
        "noisy, 10 %": (synthesis.from_noisy(x, share=0.1, seed=seed), y, {}),
        "noisy, 20 %": (synthesis.from_noisy(x, share=0.2, seed=seed), y, {}),
        "model-based": (climbed.x, y, told),
        "marginals": (drawn, predict(drawn).argmax(axis=-1), {}),
    }
