"""Ask every model every record -> Signals. The one loop over models of the whole project."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from miafast.boundary_distance import boundary_distance
from miafast.measurements import OF_LOGITS, Layout, kind_of, noise_of
from miafast.noise import noisy_inputs
from miafast.ops.dispatch import note
from miafast.ops.linear_confidence import Confidence
from miafast.ops.signals import signals as signals_of
from miafast.queries import Query, ask, query_name
from miafast.store import Facts, Store
from miafast.tables import Array, Records, Signals

#: Numbers that one batch may hold, logits of all models or, where there are none, inputs: they stay in cache.
BATCH_NUMBERS = 1 << 21


class Models(Protocol):
    """What is asked of trained models: see `miafast.shadow.Models`."""

    @property
    def count(self) -> int: ...

    @property
    def how(self) -> str: ...

    @property
    def keeps_logits(self) -> bool: ...

    def confidence(self, x: Array, labels: Array) -> Confidence: ...  # [batch, ...], [batch] -> [count, batch]

    def logits(self, x: Array) -> torch.Tensor: ...  # [batch, ...] -> [count, batch, classes]


class Progress(Protocol):
    def advance(self, amount: int) -> None: ...


def check_device(device: str) -> None:
    """Raise ValueError for a device that models cannot run on here."""
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise ValueError(f"device={device!r} is not available here; use 'cpu', or 'cuda' where torch sees a GPU.")


def collect(
    train: Callable[[Sequence[int]], Models],
    records: Records,
    store: Store,
    *,
    chunk: int,
    queries: Sequence[Query],
    progress: Progress | None = None,
) -> Signals:
    """Train chunk after chunk of the store's models, measure each on all records, and append the rows.

    ``train(models)`` gives the trained models of these rows of the store's mask. Chunks are cut at fixed places and
    redone whole after a kill, so a resumed run repeats the arithmetic of an uninterrupted one bit for bit.
    """
    total = len(store.in_mask) - int(store.identity["has_target"])
    for start in range(0, total, chunk):
        models = range(start, min(start + chunk, total))
        if all(model in store.done for model in models):
            continue
        began = time.perf_counter()
        trained = train(models)
        note("shadow training", trained.how)
        trained_at = time.perf_counter()
        found, correct = measure(
            trained,
            records,
            queries,
            layout=store.layout,
            seed=int(store.identity.get("seed", 0)),
            progress=progress,
            first=start,
        )
        queried_at = time.perf_counter()
        seconds = {
            "train_seconds": (trained_at - began) / len(models),
            "query_seconds": (queried_at - trained_at) / len(models),
        }
        rows = [accuracies(right, store.in_mask[model]) for model, right in zip(models, correct, strict=True)]
        store.append(models, found, [{**row, **seconds} for row in rows])
    return store.signals()


def measure(
    models: Models, records: Records, queries: Sequence[Query], *, layout: Layout, seed: int = 0,
    progress: Progress | None = None, first: int = 0,
) -> tuple[dict[str, Array], Array]:  # fmt: skip
    """Every model's signals, float32 [count, records, ...], and who is right on the first query [count, records].

    Raises ValueError naming the model when logits are not finite.
    """
    found = {name: np.empty((models.count, len(records), *axes), np.float32) for name, axes in layout.items()}
    correct = np.empty((models.count, len(records)), bool)
    more = len(layout) > 1
    numbers = models.count * records.classes if more or models.keeps_logits else math.prod(records.shape)
    noisy = [axes[0] for name, axes in layout.items() if kind_of(name).startswith("noisy_")]
    numbers = max([numbers, *(copies * math.prod(records.shape) for copies in noisy)])
    for rows in _batches(len(records), max(1, BATCH_NUMBERS // numbers)):
        inputs, labels = records.inputs(rows), records.y[rows]
        for column, query in enumerate(queries):
            asked = ask(query, inputs)
            right = (
                _reduce(models.logits(asked).numpy(), labels, found, rows, column)
                if more
                else _confidence(models.confidence(asked, labels), found["phi"], rows, column)
            )
            if column == 0:
                correct[:, rows] = right
        for name, array in found.items():
            if kind_of(name).startswith("noisy_"):
                array[:, rows] = _noisy(models, inputs, labels, name, seed=seed, first=rows.start)
            elif kind_of(name) == "boundary_distance":
                asked_at_most = int(name.partition("@")[2])
                for model in range(models.count):
                    array[model, rows, 0] = boundary_distance(
                        lambda x, model=model: models.logits(x)[model].numpy().argmax(axis=-1),  # type: ignore[misc]
                        inputs, labels, queries=asked_at_most, seed=seed, first=rows.start,
                    )  # fmt: skip
        _check_finite(found["phi"][:, rows], first, rows.start, queries)
        if progress is not None:
            progress.advance(models.count * len(labels))
    return found, correct


def _noisy(models: Models, inputs: Array, labels: Array, name: str, *, seed: int, first: int) -> Array:
    """Loss or correctness on noisy copies, [count, batch, copies]; a record's noise is a function of (seed, record)."""
    sigma, copies = noise_of(name)
    x = noisy_inputs(inputs, copies=copies, sigma=sigma, seed=seed, first=first)
    column = np.empty((models.count, len(labels), copies), np.float32)
    for copy in range(copies):
        stats = signals_of(models.logits(x[:, copy]).numpy(), labels)
        column[:, :, copy] = stats.loss if kind_of(name) == "noisy_loss" else stats.correct
    return column


def _confidence(answer: Confidence, phi: Array, rows: slice, column: int) -> Array:
    phi[:, rows, column] = answer.phi
    return answer.correct


def _reduce(logits: Array, labels: Array, found: dict[str, Array], rows: slice, column: int) -> Array:
    """Keep what attacks asked for of one query's logits [count, batch, classes]; who is right [count, batch]."""
    stats = signals_of(logits, labels)
    for name, array in found.items():
        if name in OF_LOGITS:
            array[:, rows, column] = getattr(stats, name)
    if "logits" in found:
        found["logits"][:, rows, column] = logits
    return stats.correct


def accuracies(right: Array, in_row: Array) -> Facts:
    """Share of right predictions on a model's IN records (train) and on its OUT records (test)."""
    return {"train_accuracy": float(right[in_row].mean()), "test_accuracy": float(right[~in_row].mean())}


def _batches(records: int, size: int) -> Iterator[slice]:
    for start in range(0, records, size):
        yield slice(start, min(start + size, records))


def _check_finite(phi: Array, first: int, start: int, queries: Sequence[Query]) -> None:
    bad = np.argwhere(~np.isfinite(phi))
    if len(bad):
        model, record, query = bad[0]
        raise ValueError(
            f"model {first + model} gives NaN or infinite logits ({len(bad)} signals; first: record {start + record}, "
            f"query {query_name(queries[query])}); its training diverged: lower the learning rate."
        )
