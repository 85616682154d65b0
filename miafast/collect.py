"""Ask every model every record -> Signals. The one loop over models of the whole project."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch

from miafast.boundary_distance import boundary_distance
from miafast.gradient_norms import gradient_signal
from miafast.measurements import OF_LOGITS, Layout, kind_of, layers_of, noise_of
from miafast.noise import noisy_inputs
from miafast.ops.dispatch import note
from miafast.ops.linear_confidence import Confidence
from miafast.ops.signals import signals as signals_of
from miafast.progress import Progress
from miafast.queries import Query, ask, query_name
from miafast.store import Facts, Store
from miafast.tables import Array, Records, Signals

#: Numbers that one batch may hold, inputs or logits of all models: on the processor they stay in cache, and a device is
#: kept busy.
BATCH_NUMBERS = {"cpu": 1 << 21, "cuda": 1 << 24}


class Models(Protocol):
    """What is asked of trained models: see `miafast.shadow.Models`."""

    @property
    def count(self) -> int: ...

    @property
    def how(self) -> str: ...

    @property
    def keeps_logits(self) -> bool: ...

    @property
    def device(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def modules(self) -> Callable[[], Sequence[torch.nn.Module]] | None: ...

    def reader(self, records: Records) -> Callable[[slice], tuple[Any, Any]]: ...  # rows -> inputs, labels

    def confidence(self, x: Any, labels: Any) -> Confidence: ...  # [batch, ...], [batch] -> [count, batch]

    def logits(self, x: Any) -> torch.Tensor: ...  # [batch, ...] -> [count, batch, classes]


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
    device = torch.device(models.device)
    shape = (models.count, len(records))
    found = {name: torch.empty(*shape, *axes, device=device) for name, axes in layout.items()}
    correct = torch.empty(shape, dtype=torch.bool, device=device)
    more = len(layout) > 1
    copies = [axes[0] for name, axes in layout.items() if kind_of(name).startswith("noisy_")]
    numbers = max([1, *copies]) * math.prod(records.shape)
    if more or models.keeps_logits:
        numbers = max(numbers, models.count * records.classes)
    inside = _modules(models) if any(kind_of(name) == "gradient_norm" for name in layout) else []
    read = models.reader(records)
    for rows in _batches(len(records), max(1, BATCH_NUMBERS[device.type] // numbers)):
        inputs, labels = read(rows)
        for column, query in enumerate(queries):
            asked = ask(query, inputs)
            right = (
                _reduce(models.logits(asked), labels, found, rows, column)
                if more
                else _confidence(models.confidence(asked, labels), found["phi"], rows, column)
            )
            if column == 0:
                correct[:, rows] = right
            for name in (name for name in found if kind_of(name) == "gradient_norm"):
                x, y = (torch.as_tensor(each, device=device) for each in (asked, labels))
                for model, module in enumerate(inside):
                    found[name][model, rows, column] = gradient_signal(module, x, y, layers=layers_of(name))
        for name, array in found.items():
            if kind_of(name).startswith("noisy_"):
                array[:, rows] = _noisy(models, records, rows, name, seed=seed).to(device)
            elif kind_of(name) == "boundary_distance":
                array[:, rows, 0] = _distances(models, records, rows, name, seed=seed).to(device)
        _check_finite(found["phi"][:, rows], first, rows.start, queries)
        if progress is not None:
            progress.advance(models.count * len(labels))
    return {name: array.cpu().numpy() for name, array in found.items()}, correct.cpu().numpy()


def _modules(models: Models) -> Sequence[torch.nn.Module]:
    if models.modules is None:
        raise TypeError(f"gradient_norm looks inside models, and {models.names[0]} is no torch.nn.Module; give one.")
    return models.modules()


def _noisy(models: Models, records: Records, rows: slice, name: str, *, seed: int) -> torch.Tensor:
    """Loss or correctness on noisy copies, [count, batch, copies]; a record's noise is a function of (seed, record)."""
    sigma, copies = noise_of(name)
    x = noisy_inputs(records.inputs(rows), copies=copies, sigma=sigma, seed=seed, first=rows.start)
    column = torch.empty(models.count, len(x), copies)
    for copy in range(copies):
        stats = signals_of(models.logits(x[:, copy]).cpu(), records.y[rows])
        column[:, :, copy] = stats.loss if kind_of(name) == "noisy_loss" else stats.correct
    return column


def _distances(models: Models, records: Records, rows: slice, name: str, *, seed: int) -> torch.Tensor:
    """Distance to the decision boundary, [count, batch], by at most so many questions as the name says."""
    asked_at_most = int(name.partition("@")[2])

    def of_model(model: int) -> Array:
        return boundary_distance(
            lambda x: models.logits(x)[model].argmax(dim=-1).cpu().numpy(), records.inputs(rows), records.y[rows],
            queries=asked_at_most, seed=seed, first=rows.start,
        )  # fmt: skip

    return torch.stack([torch.as_tensor(of_model(model)) for model in range(models.count)])


def _confidence(answer: Confidence, phi: torch.Tensor, rows: slice, column: int) -> torch.Tensor:
    phi[:, rows, column] = answer.phi
    return answer.correct


def _reduce(
    logits: torch.Tensor, labels: Any, found: dict[str, torch.Tensor], rows: slice, column: int
) -> torch.Tensor:
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


def _check_finite(phi: torch.Tensor, first: int, start: int, queries: Sequence[Query]) -> None:
    bad = (~torch.isfinite(phi)).nonzero()
    if len(bad):
        model, record, query = bad[0].tolist()
        raise ValueError(
            f"model {first + model} gives NaN or infinite logits ({len(bad)} signals; first: record {start + record}, "
            f"query {query_name(queries[query])}); its training diverged: lower the learning rate."
        )
