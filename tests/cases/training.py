"""Steps of stacked perceptrons: mlp_steps and dp_sgd_steps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from tests.cases.registry import Case, cases


def _mlp_case(
    name: str, widths: tuple[int, ...], *, models: int = 3, steps: int = 3, batch: int = 8, inputs: str = "normal",
    **options: Any,
) -> Case:  # fmt: skip
    draw = np.random.default_rng(len(name))
    parameters = sum((inside + 1) * outside for inside, outside in pairwise(widths))
    weights = draw.normal(size=(models, parameters)).astype(np.float32) / np.sqrt(np.float32(widths[0]))
    first, second = 0.01 * weights[::-1], 0.01 * weights**2
    size = (40, widths[0])
    x = draw.normal(size=size).astype(np.float32)
    if inputs != "normal":
        x = draw.integers(0, {"bytes": 256, "bits": 2}[inputs], size).astype(np.uint8)
    args = (
        weights, first, second, x, draw.integers(0, widths[-1], 40),
        draw.integers(0, 40, (models, steps, batch)), np.maximum(steps - np.arange(models), 0),
        0.05 * draw.random((models, steps)), draw.integers(0, 2**32, models, dtype=np.uint32),
    )  # fmt: skip
    plain = {
        "taken": 5, "activation": "relu", "optimizer": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0,
        "dropout": 0.0, "label_smoothing": 0.0, "bfloat16": False, "scale": 1.0, "shift": 0.0,
    }  # fmt: skip
    return Case(name, args, {"widths": widths, **plain, **options})


def _mlp_tolerance(case: Case, expected: np.ndarray) -> float:
    largest = float(np.abs(expected).max(initial=1.0, where=np.isfinite(expected)))
    return (2e-3 if case.kwargs.get("bfloat16") else 2e-6) * largest


def _not_finite(case: Case, x: int | None = None) -> Case:
    """One model's weight, and one record's feature where x says which argument, are NaN: other models train as ever."""
    args = [each.copy() for each in case.args]
    args[0][1, 2] = np.nan
    if x is not None:
        args[x][31, 0] = np.nan
    return Case(case.name, tuple(args), case.kwargs)


@cases("mlp_steps", tolerance=_mlp_tolerance)
def _mlp_steps() -> Iterator[Case]:
    everything = {"dropout": 0.3, "label_smoothing": 0.1, "weight_decay": 0.01}
    yield _mlp_case("logistic", (5, 3))
    yield _mlp_case("one-class", (5, 4, 1))
    yield _mlp_case("two-layers", (17, 33, 10), batch=10)
    yield _mlp_case("three-layers", (40, 64, 16, 70), batch=32)
    yield _mlp_case("multiples-of-the-tile", (64, 128, 48), batch=32)
    yield _mlp_case("wide-and-deep", (300, 144, 30, 20), batch=7)
    yield _mlp_case("no-models", (5, 4, 3), models=0)
    yield _mlp_case("no-steps", (5, 4, 3), steps=0)
    yield _mlp_case("one-record", (5, 4, 3), batch=1)
    yield _mlp_case("bytes", (20, 12, 5), inputs="bytes", scale=1 / 255, shift=-0.5, momentum=0.9)
    for optimizer in ("sgd", "adam"):
        yield _mlp_case(f"bits-{optimizer}", (83, 40, 18, 5), inputs="bits", batch=32, optimizer=optimizer)
    yield _mlp_case("bits-logistic", (446, 30), inputs="bits", batch=33, momentum=0.9)
    yield _mlp_case("bits-bfloat16", (65, 100, 9), inputs="bits", batch=26, bfloat16=True, **everything)
    yield _mlp_case("bits-small-batch", (20, 12, 5), inputs="bits", batch=7)
    yield _mlp_case("bits-few", (3, 4, 3), inputs="bits", batch=24)
    yield _mlp_case("bits-not-bits", (20, 12, 5), inputs="bits", batch=30, scale=2.0, shift=-1.0)
    case = _mlp_case("bits-not-finite", (20, 12, 5), inputs="bits", batch=25, models=4, steps=6)
    case.args[3][:, 2] = 0  # no record has the input whose weight is NaN, but 0 times NaN is NaN
    yield _not_finite(case)
    yield _mlp_case("momentum", (20, 12, 5), momentum=0.9, **everything)
    yield _mlp_case("nesterov", (20, 12, 5), momentum=0.9, nesterov=True, activation="tanh", **everything)
    yield _mlp_case("adam", (20, 12, 5), optimizer="adam", **everything)
    yield _mlp_case("adamw", (20, 12, 18, 5), optimizer="adamw", activation="tanh", **everything)
    yield _mlp_case("bfloat16", (65, 40, 18, 33), batch=33, bfloat16=True)
    yield _mlp_case("bfloat16-multiples", (64, 128, 96), batch=32, bfloat16=True, momentum=0.9)
    yield _mlp_case("bfloat16-options", (20, 12, 5), bfloat16=True, activation="tanh", momentum=0.9, **everything)
    yield _mlp_case("large-inputs", (20, 12, 5), scale=1e4, shift=0.0)
    for activation in ("relu", "tanh"):
        case = _mlp_case(f"not-finite-{activation}", (20, 12, 5), models=4, steps=6, activation=activation)
        yield _not_finite(case, 3)


def _private_case(name: str, widths: tuple[int, ...], *, rate: float = 0.3, as_bytes: bool = False, models: int = 3,
                  steps: int = 3, records: int = 90, **options: Any) -> Case:  # fmt: skip
    draw = np.random.default_rng(len(name))
    parameters = sum((inside + 1) * outside for inside, outside in pairwise(widths))
    weights = draw.normal(size=(models, parameters)).astype(np.float32) / np.sqrt(np.float32(widths[0]))
    x = (
        draw.integers(0, 256, (records, widths[0])).astype(np.uint8)
        if as_bytes
        else draw.normal(size=(records, widths[0]))
    )
    args = (
        weights, x if as_bytes else x.astype(np.float32), draw.integers(0, widths[-1], records),
        draw.random((models, records)) < 0.7, draw.integers(0, 2**32, (models, 2), dtype=np.uint32),
        draw.random(steps).astype(np.float32), np.array([0, parameters - 1, parameters // 2, 0]),
        draw.random((models, 4)) < 0.6,
    )  # fmt: skip
    plain = {
        "taken": 4, "sample_rate": rate, "clip": 1.0, "learning_rate": 0.5, "expected_batch": max(1.0, rate * records),
        "activation": "tanh", "clipping": "record", "scale": 1.0, "shift": 0.0,
    }  # fmt: skip
    return Case(name, args, {"widths": widths, **plain, **options})


@cases("dp_sgd_steps", tolerance=_mlp_tolerance)
def _dp_sgd_steps() -> Iterator[Case]:
    yield _private_case("logistic", (5, 3))
    yield _private_case("one-class", (5, 4, 1))
    yield _private_case("two-layers", (17, 33, 10))
    yield _private_case("three-layers", (40, 64, 16, 70), activation="relu")
    yield _private_case("all-sampled-in-several-parts", (20, 12, 5), rate=1.0, records=700)
    yield _private_case("hardly-anybody-sampled", (5, 4, 3), rate=1e-3)
    yield _private_case("bytes", (20, 12, 5), as_bytes=True, scale=1 / 255, shift=-0.5)
    yield _private_case("nothing-clipped", (17, 33, 10), clip=1e6)
    yield _private_case("clipped-hard", (17, 33, 10), clip=1e-3)
    yield _private_case("clips-the-mean", (17, 33, 10), clipping="batch", clip=0.05)
    yield _private_case("no-models", (5, 4, 3), models=0)
    yield _private_case("no-steps", (5, 4, 3), steps=0)
    yield _not_finite(_private_case("not-finite", (20, 12, 5), models=4, rate=0.1), 1)
