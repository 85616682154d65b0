"""Hill climbing on a target (Shokri's model-based synthesis): all records together against one record at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.cases import Disagreement
from benchmarks.table import Column, Section, promise
from miafast.bench.timing import Spread
from miafast.synthesis import climb
from miafast.tables import Array

#: Algorithm 1 with the paper's numbers where it gives them; rounds, and records of the loop, whose time is scaled up.
HIDDEN, CLIMBERS, LOOPED, ROUNDS, AT_LEAST = 128, 10_000, 40, 5, 20.0
OPTIONS = {"conf_min": 0.2, "k_max": 128, "k_min": 4, "rej_max": 10, "iter_max": 1000}
CASES = {"purchase-shape": (600, 100), "location-shape": (446, 30)}  # features, classes
COLUMNS = (
    Column("case", "title"), Column("way", "way"), Column("records", "records"),
    Column("accepted", "accepted", "{:.0%}"), Column("queries per record", "queries", "{:.1f}"),
    Column("µs per query", "us", "{:.2f}"), Column("quartiles", "quartiles"),
    Column("miafast is faster ×", "ratio", "{:.1f}"), Column("promised", "promised"), Column("kept", "kept"),
)  # fmt: skip
SAYS = (
    "A torch module trained on noisy prototypes (one per class) is the target of every way, asked under "
    "inference mode; time includes the target's. The loop is Algorithm 1 written plainly in NumPy, one record after "
    f"the other. Processor time of all threads, which other programs stretch little; median of {ROUNDS} rounds taken "
    "in turns, by query."
)


def run(name: str, *, smoke: bool) -> list[dict[str, Any]]:
    """A row for miafast, its floor (the target alone), then the loop. Raises Disagreement where their records differ
    in how many queries they take."""
    features, count = CASES[name]
    predict = _target(features, count, epochs=2 if smoke else 10)
    records, looped, rounds = (60, 3, 1) if smoke else (CLIMBERS, LOOPED, ROUNDS)
    classes = np.arange(records) % count
    asked: dict[str, list[Array]] = {"miafast": [], "one record at a time": []}
    taken: dict[str, list[float]] = {name: [] for name in (*asked, "the target alone, 1024 at once")}
    accepted: dict[str, list[float]] = {name: [] for name in asked}
    x = np.random.default_rng(0).integers(0, 2, (1024, features)).astype(np.float32)
    for seed in range(rounds):
        began = time.process_time()
        made = climb(predict, classes, features=features, seed=seed, **OPTIONS)  # type: ignore[arg-type]
        taken["miafast"].append((time.process_time() - began) / made.queries.sum())
        asked["miafast"].append(made.queries)
        accepted["miafast"].append(float(made.accepted.mean()))
        rng, began = np.random.default_rng(seed), time.process_time()
        found = [_plain(predict, int(label), features, rng, **OPTIONS) for label in classes[seed * looped :][:looped]]  # type: ignore[arg-type]
        taken["one record at a time"].append((time.process_time() - began) / sum(each[0] for each in found))
        asked["one record at a time"].append(np.array([each[0] for each in found]))
        accepted["one record at a time"].append(float(np.mean([each[1] for each in found])))
        began = time.process_time()
        for _ in range(20):
            predict(x)
        taken["the target alone, 1024 at once"].append((time.process_time() - began) / 20 / len(x))
    queries = {way: np.concatenate(each) for way, each in asked.items()}
    spread = sum(np.var(each) / len(each) for each in queries.values()) ** 0.5
    apart = abs(float(np.subtract(*(each.mean() for each in queries.values()))))
    if apart > 5 * spread and not smoke:
        raise Disagreement(f"climbing is {apart:.1f} queries off the loop, standard error {spread:.1f}")
    rows = []
    for way, seconds in taken.items():
        found_in = Spread.of(seconds)
        row: dict[str, Any] = {
            "case": name,
            "title": f"MLP {features}-{HIDDEN}-{count}",
            "way": way,
            "us": found_in.median * 1e6,
        }
        row["quartiles"] = f"{found_in.low * 1e6:.2f}–{found_in.high * 1e6:.2f}"
        if way in queries:
            counts = {"records": len(queries[way]), "queries": float(queries[way].mean())}
            row |= {**counts, "accepted": float(np.mean(accepted[way]))}
        if way == "one record at a time":
            row["ratio"] = found_in.median / Spread.of(taken["miafast"]).median
            if not smoke:
                row |= promise(f"≥ {AT_LEAST:g} ×", kept=row["ratio"] >= AT_LEAST)
        rows.append(row)
    return rows


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("climbing", SAYS, COLUMNS, tuple(rows))


def _target(features: int, classes: int, *, epochs: int) -> Callable[[Array], Array]:
    """Probabilities of a perceptron that tells noisy prototypes apart, 20 % of their features flipped."""
    rng = np.random.default_rng(0)
    prototypes = rng.integers(0, 2, (classes, features))
    y = np.arange(4000) % classes
    x = torch.from_numpy((prototypes[y] ^ (rng.random((len(y), features)) < 0.2)).astype(np.float32))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(features, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.from_numpy(rng.permutation(len(y))).split(100):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), torch.from_numpy(y)[rows]).backward()
            optimizer.step()

    def predict(asked: Array) -> Array:
        with torch.inference_mode():
            return np.asarray(torch.softmax(model(torch.from_numpy(asked)), -1).numpy())

    return predict


def _plain(
    predict: Callable[[Array], Array], label: int, features: int, rng: np.random.Generator, *, conf_min: float,
    k_max: int, k_min: int, rej_max: int, iter_max: int,
) -> tuple[int, bool]:  # fmt: skip
    """How many queries one record took by Algorithm 1, and whether it was accepted."""
    x = best = rng.integers(0, 2, features).astype(np.float32)
    confidence, rejected, k = 0.0, 0, k_max
    for asked in range(1, iter_max + 1):
        y = predict(x[None])[0]
        if y[label] >= confidence:
            if y[label] > conf_min and y.argmax() == label and rng.random() < y[label]:
                return asked, True
            best, confidence, rejected = x, y[label], 0
        else:
            rejected += 1
            if rejected > rej_max:
                k, rejected = max(k_min, -(-k // 2)), 0
        x = best.copy()
        chosen = rng.choice(features, k, replace=False)
        x[chosen] = 1 - x[chosen]
    return iter_max, False
