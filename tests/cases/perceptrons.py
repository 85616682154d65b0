"""mlp_confidence."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from miafast.ops.dispatch import as_float
from miafast.ops.mlp_confidence import layers
from tests.cases.registry import Case, cases


def _mlp_confidence_tolerance(case: Case, expected: np.ndarray) -> Any:
    """As if every layer's activations were as large as those bounds; errors pass through the layers above."""
    if expected.dtype == bool:
        return 0.5
    x, weights, _ = case.args
    rounding = np.finfo(np.float64 if np.float64 in (x.dtype, weights.dtype) else np.float32).eps
    size = np.abs(as_float(x))[None]
    for weight, bias in layers(np.abs(as_float(weights)), case.kwargs["widths"]):
        size = size @ weight.swapaxes(-1, -2) + bias[:, None, :]
    depth = len(case.kwargs["widths"]) - 1
    return rounding * depth * (4 * size.max(axis=-1) + 4 * (1 + np.abs(expected) + np.log(size.shape[-1])))


def _stack_case(name: str, widths: tuple[int, ...], *, models: int = 3, records: int = 100, activation: str = "relu",
                dtype: Any = np.float32) -> Case:  # fmt: skip
    draw = np.random.default_rng(sum(widths))
    parameters = sum((inside + 1) * outside for inside, outside in pairwise(widths))
    weights = draw.normal(size=(models, parameters)) / np.sqrt(max(widths[:-1])) * 2
    x = draw.normal(size=(records, widths[0]))
    labels = draw.integers(0, widths[-1], records)
    return Case(name, (x.astype(dtype), weights.astype(dtype), labels), {"widths": widths, "activation": activation})


@cases("mlp_confidence", _mlp_confidence_tolerance)
def mlp_confidence_cases() -> Iterator[Case]:
    yield _stack_case("logistic", (5, 3))
    yield _stack_case("one-of-everything", (1, 1, 1), models=1, records=1)
    yield _stack_case("two-layers", (17, 33, 10))
    yield _stack_case("tanh", (17, 33, 10), activation="tanh")
    yield _stack_case("three-layers", (40, 64, 16, 70), records=65)
    yield _stack_case("four-layers-tanh", (40, 9, 97, 16, 5), records=130, activation="tanh")
    yield _stack_case("wide", (300, 200, 130), models=2, records=90)
    yield _stack_case("float64", (20, 30, 12), dtype=np.float64, activation="tanh")
    yield _stack_case("float16", (20, 30, 12), dtype=np.float16)
    yield _stack_case("no-models", (5, 4, 3), models=0)
    yield _stack_case("no-records", (5, 4, 3), records=0)
    yield _stack_case("many-models", (8, 12, 3), models=70, records=20)
    yield _stack_case("pieces", (3, 300, 4), models=1, records=3000)
    for name, share, widths, dtype, activation in (
        ("mostly-zero", 0.3, (70, 40, 30), np.float32, "tanh"),
        ("near-half-zero", 0.6, (100, 90, 3), np.float32, "relu"),
        ("few-not-zero", 0.05, (70, 20, 5), np.float64, "relu"),
        ("mostly-one-value", 0.3, (130, 70, 10), np.float32, "relu"),
    ):
        some = _stack_case(name, widths, models=2, records=2500, dtype=dtype, activation=activation)
        value = -2 if name == "mostly-one-value" else 0
        some.args[0][np.random.default_rng(0).random(some.args[0].shape) >= share] = value
        yield some
        if name == "few-not-zero":
            yield Case("few-bits", ((some.args[0] != 0).astype(dtype), *some.args[1:]), some.kwargs)
    bits = _stack_case("bits", (70, 40, 30), records=200)
    yield Case("bits", ((bits.args[0] > 0).astype(np.float32), *bits.args[1:]), bits.kwargs)
    yield Case("strided", (bits.args[0][::2, :], bits.args[1][::2], bits.args[2][::2]), bits.kwargs)
    diverged = bits.args[1].copy()
    diverged[1, 17] = np.nan
    diverged[2, -1] = np.inf
    yield Case("not-finite", (bits.args[0], diverged, bits.args[2]), bits.kwargs)
    deep = _stack_case("deep", (70, 40, 50, 30), records=200)
    x, weights, labels = deep.args
    for name, factor in (("huge", 1e8), ("infinite", np.inf), ("tiny", 1e-20)):  # hidden layers' outputs
        scaled = weights.copy()
        scaled[1, : 71 * 40] *= np.float32(factor)
        yield Case(f"{name}-hidden", (x, scaled, labels), deep.kwargs)
    x, weights, labels = _stack_case("", (30, 20, 7), activation="tanh").args
    sizes = np.repeat([1e-6, 1e6, 1.0], [31 * 20, 20 * 7, 7]).astype(np.float32)
    yield Case("small-hidden", (x, weights * sizes, labels), {"widths": (30, 20, 7), "activation": "tanh"})
    yield _stack_case("weights-beyond-the-cache", (600, 700, 200), models=2, records=70)
