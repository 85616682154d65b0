"""A report on made-up signals: some records leak a lot, most a little. For the report's tests and for looking at it."""

from __future__ import annotations

from typing import Any

import numpy as np

from miafast.guards import Check
from miafast.report import AttackResult, Report
from miafast.roc import roc
from miafast.tables import Array, Signals

VULNERABLE = 24


def demo_report(
    *,
    models: int = 32,
    records: int = 600,
    queries: int = 1,
    has_target: bool = False,
    attacks: int = 3,
    leak: float = 1.0,
    unscored: int = 0,
    seed: int = 7,
    **overrides: Any,
) -> Report:
    """Records 0 … 23 are recognisable, the more the lower their index; the first `unscored` ones have NaN scores."""
    rng = np.random.default_rng(seed)
    signals = demo_signals(rng, models=models, records=records, queries=queries, has_target=has_target, leak=leak)
    scores = demo_scores(signals)
    for each in scores.values():
        each[..., :unscored] = np.nan
    is_member = signals.in_mask[-1] if has_target else signals.in_mask
    results = tuple(
        AttackResult(
            name=name,
            options=f"LiRA(mode={name.split()[-1]!r})" if "LiRA" in name else "Threshold()",
            scores=each,
            is_member=is_member,
            roc=roc(each[..., unscored:], is_member[..., unscored:]),
        )
        for name, each in list(scores.items())[:attacks]
    )
    made = {
        "results": results,
        "signals": signals,
        "name": "demo",
        "class_names": ("cat", "dog", "horse", "ship"),
        "settings": {
            "recipe": {"model": "mlp", "hidden": [64], "epochs": 30, "optimizer": "sgd", "dropout": 0.0},
            "seed": seed, "shadows": models, "membership": "balanced", "queries": ["identity", "mirror"][:queries],
        },
        "seconds": {"train": 12.3, "query": 0.84, "attack": 0.012, "measure": 0.4},
        "versions": {"miafast": "0.1.0", "python": "3.11.2", "numpy": "2.1.0"},
        "backends": {"lira": "cpp", "logit_confidence": "cpp", "roc_counts": "cpp"},
        "warnings": ("The target was trained on 300 records, the shadows on 270 on average.",),
        "checks": (
            Check("size", False, "The target was trained on 300 records, the shadows on 270 on average."),
            Check("duplicates", True, "No record has an equal input on the other side of the split."),
            Check("blind classifier", None, "Not run: it needs scikit-learn."),
        ),
    }  # fmt: skip
    return Report(**{**made, **overrides})


def demo_signals(
    rng: np.random.Generator, *, models: int, records: int, queries: int, has_target: bool, leak: float
) -> Signals:
    """Normal phi per record, shifted where the model was trained with the record."""
    in_mask = rng.permuted(np.repeat([[True, False]], models // 2, axis=1).repeat(records, axis=0), axis=1).T
    if has_target:
        in_mask = np.vstack([in_mask, rng.random(records) < 0.5])
    centre, spread = rng.normal(3.0, 1.5, records), rng.uniform(0.6, 1.2, records)
    gap = np.abs(rng.normal(0, 0.5, records))
    gap[:VULNERABLE] = np.linspace(9, 3, VULNERABLE)[:records]
    phi = centre - leak * gap / 2 + leak * gap * in_mask + spread * rng.normal(size=in_mask.shape)
    phi = phi[..., None] + 0.2 * rng.normal(size=(*in_mask.shape, queries))
    train = rng.normal(0.99, 0.004, len(in_mask)).clip(0, 1)
    return Signals(
        phi=phi.astype(np.float32), in_mask=np.ascontiguousarray(in_mask), labels=rng.integers(0, 4, records),
        has_target=has_target, train_accuracy=train, test_accuracy=rng.normal(0.87, 0.01, len(in_mask)),
    )  # fmt: skip


def demo_scores(signals: Signals) -> dict[str, Array]:
    """Likelihood ratio, one-sided test and loss threshold in their plainest form."""
    phi = signals.phi.mean(axis=2, dtype=np.float64)
    targets = [len(phi) - 1] if signals.has_target else range(len(phi))
    rows: dict[str, list[Array]] = {"LiRA online": [], "LiRA offline": [], "loss threshold": []}
    for target in targets:
        others = np.arange(len(phi)) != target
        mask, shadow = signals.in_mask[others], phi[others]
        mean_in = np.where(mask, shadow, 0).sum(0) / mask.sum(0)
        mean_out = np.where(mask, 0, shadow).sum(0) / (~mask).sum(0)
        variance = np.square(shadow - np.where(mask, mean_in, mean_out)).mean(0) + 1e-6
        rows["LiRA online"].append((np.square(phi[target] - mean_out) - np.square(phi[target] - mean_in)) / variance)
        rows["LiRA offline"].append((phi[target] - mean_out) / np.sqrt(variance))
        rows["loss threshold"].append(-np.logaddexp(0, -phi[target]))
    return {name: (each[0] if signals.has_target else np.stack(each)).astype(np.float32) for name, each in rows.items()}
