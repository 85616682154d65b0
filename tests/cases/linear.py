"""linear_confidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from miafast.ops.dispatch import BFLOAT16, as_float
from tests.cases.registry import Case, bfloat16, cases


def _linear_tolerance(case: Case, expected: np.ndarray) -> Any:
    """What sums of `width` products in the computed type cost, and the roundings of phi itself; no wrong verdict."""
    if expected.dtype == bool:
        return 0.5
    features, weight, bias = (None if each is None else as_float(each) for each in case.args[:3])
    rounding = np.finfo(np.float64 if np.float64 in [each.dtype for each in case.args[:2]] else np.float32).eps
    sizes = [np.nan_to_num(np.abs(each), posinf=0.0) for each in (features, weight, 0.0 if bias is None else bias)]
    largest = np.max(sizes[0] @ sizes[1].swapaxes(-1, -2), axis=-1, initial=0.0) + np.max(sizes[2], initial=0.0)
    steps = 4 + np.sqrt(features.shape[-1])
    return rounding * (steps * largest + 4 * (1 + np.abs(expected) + np.log(weight.shape[-2])))


def _linear(
    records: int, classes: int, width: int, *, models: tuple[int, ...] = (), shared: str = "", dtype: Any = np.float32,
    spread: float = 4.0, bias: bool = True,
) -> tuple[Any, ...]:  # fmt: skip
    draw = np.random.default_rng(records + classes + width)

    def some(name: str, *shape: int) -> np.ndarray:
        values = draw.standard_normal((*(() if name in shared else models), *shape)).astype(np.float32)
        return bfloat16(values) if dtype == BFLOAT16 else values.astype(dtype)

    weight = some("weight", classes, width)
    if dtype != BFLOAT16:
        weight = (weight * (spread / np.sqrt(width))).astype(dtype)
    labels = draw.integers(0, classes, records)
    return some("features", records, width), weight, some("bias", classes) if bias else None, labels


@cases("linear_confidence", _linear_tolerance)
def linear_confidence_cases() -> Iterator[Case]:
    for records, classes, width in (
        (0, 3, 4), (1, 1, 1), (3, 2, 1), (17, 5, 7), (63, 6, 127), (64, 7, 128), (65, 95, 129), (130, 96, 64),
        (131, 97, 63), (200, 193, 300), (1100, 10, 33), (2500, 13, 5),
    ):  # fmt: skip
        yield Case(f"{records}x{classes}x{width}", _linear(records, classes, width))
    for dtype in (np.float16, np.float64, BFLOAT16):
        for classes in (1, 10, 101):
            yield Case(f"{np.dtype(dtype).name}-{classes}", _linear(70, classes, 40, dtype=dtype))
    yield Case("no-bias", _linear(70, 11, 40, bias=False))
    for shared in ("", "features", "weight", "bias", "features bias", "features weight", "weight bias"):
        for models in (0, 1, 5):
            args = _linear(77, 12, 20, models=(models,), shared=shared)
            yield Case(f"{models}-models-{shared.replace(' ', '-') or 'nothing'}-shared", args)
    features, weight, bias, labels = _linear(120, 30, 24, models=(4,))
    yield Case("strided", (features[::2, ::3, ::2], weight[::2, ::3, ::2], bias[::2, ::3], labels[::3] % 10))
    yield Case("reversed", (features[:, ::-1, ::-1], weight[::-1, ::-1], bias[:, ::-1], labels[::-1].astype(">i4")))
    turned = features[0].astype(np.float16, order="F"), np.asfortranarray(weight[0])
    yield Case("fortran-order-and-mixed-types", (*turned, bias[0].astype(np.float64), labels))
    bits = (features[0] > 0).astype(np.float32)  # exact in bfloat16, which kernels may make use of
    for name, exact, matrix in (
        ("bits", bits, weight[0]), ("bits-broken-weight", bits, np.where(weight[0] > 2, np.nan, weight[0])),
        ("bits-infinite-weight", bits, np.where(weight[0] > 2, np.inf, weight[0])), ("bits-tiny-weight", bits,
        weight[0] * np.float32(1e-30)), ("bits-largest-weight", bits * 0.125, weight * np.float32(2.0**125)),
        ("bytes", np.round(features[0] * 50), weight), ("bfloat16-features", bfloat16(features[0]), weight),
        ("bfloat16-infinite-features", bfloat16(np.where(features[0] > 2, np.inf, features[0])), weight),
        ("float16-bits", bits.astype(np.float16), weight.astype(np.float16)),
    ):  # fmt: skip
        yield Case(name, (exact, matrix.astype(exact.dtype if exact.dtype == np.float16 else np.float32), bias, labels))
    yield Case("broadcast", (np.broadcast_to(features[0], (3, 120, 24)), weight[0], None, labels))
    yield from _linear_of_odd_values()
    yield from _linear_of_odd_sizes()
    yield Case("many-classes", _linear(150, 5003, 32), slow=True)


def _linear_of_odd_values() -> Iterator[Case]:
    for classes in (4, 200):
        features, weight, bias, labels = _linear(90, classes, 16)
        whole = np.round(features), np.round(weight), np.round(bias)
        yield Case(f"ties-{classes}", (*whole, labels))
        yield Case(f"all-equal-{classes}", (np.zeros_like(features), weight, np.ones_like(bias), labels))
        yield Case(f"huge-{classes}", (whole[0] * np.float32(2.0**100), *whole[1:], labels))
        yield Case(f"sure-{classes}", (features * 100, weight, bias, labels))
        yield Case(f"huge-mean-{classes}", (features, weight, bias + np.float32(1e4), labels))
        for name, values in (("inf", [np.inf, -np.inf]), ("minus-inf", [-np.inf]), ("nan", [np.nan, np.inf])):
            draw = np.random.default_rng(classes)
            for share in (0.02, 0.5):
                odd = np.where(draw.random(bias.shape) < share, draw.choice(values, bias.shape), bias)
                yield Case(f"{name}-bias-{share}-{classes}", (features, weight, odd.astype(np.float32), labels))
            odd = np.where(draw.random(features.shape) < 0.02, draw.choice(values, features.shape), features)
            yield Case(f"{name}-features-{classes}", (odd.astype(np.float32), weight, bias, labels))
    every = np.array(np.meshgrid(*[[-np.inf, 0.0, 1.0, np.inf, np.nan]] * 3)).reshape(3, -1).T  # as biases of models
    for label in range(3):
        args = np.zeros((2, 1)), np.zeros((len(every), 3, 1)), every, np.full(2, label)
        yield Case(f"specials-{label}", args)


def _linear_of_odd_sizes() -> Iterator[Case]:
    """Numbers that kernels which split a float32 into smaller numbers may lose digits of, or not hold at all."""
    features, weight, bias, labels = _linear(100, 70, 40, models=(2,), shared="features")
    small = np.float32(2.0) ** -np.arange(40, dtype=np.float32)  # by column
    largest, smallest = np.finfo(np.float32).max, np.float32(2.0**-126)
    edge = np.where(features > 1, np.float32(2.0**32), features)
    for name, x, matrix in (
        ("columns-of-many-sizes", features * small * np.float32(1e6), weight / small * np.float32(1e-6)),
        ("records-of-many-sizes", features * 10.0 ** (np.arange(100)[:, None] % 9), weight),
        ("tiny-features", features * smallest, weight), ("denormal-features", features * smallest / 64, weight),
        ("tiny-by-huge", features * smallest, weight / smallest / 4), ("at-the-limit", edge, weight),
        ("below-the-limit", np.nextafter(edge, np.float32(0)), weight), ("tiny-weight", features, weight * smallest),
        ("largest-features", np.where(features > 2, largest, features), weight * np.float32(1e-3)),
        ("whole-numbers", np.round(features * 1e6), weight), ("almost-bfloat16", 1 + np.round(features) / 256, weight),
        ("one-broken-model", features, np.where(np.arange(2)[:, None, None] & (weight > 8), np.inf, weight)),
    ):  # fmt: skip
        yield Case(name, (x.astype(np.float32), matrix.astype(np.float32), bias, labels))
    own = np.stack([features, np.where(features > 2, np.float32(1e20), features)])
    yield Case("one-model-of-huge-features", (own, weight, bias, labels))
