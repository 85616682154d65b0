"""logit_confidence and signals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.cases.registry import Case, bfloat16, cases


def _logits_tolerance(case: Case, expected: np.ndarray) -> np.ndarray:
    """Some roundings of the difference z_y - max, which |phi| + log(classes) bounds, and of the sum's logarithm."""
    logits = case.args[0]
    rounding = np.finfo(np.float64 if logits.dtype == np.float64 else np.float32).eps
    return 4 * rounding * (1 + np.abs(expected.astype(np.float64)) + np.log(logits.shape[-1]))


def _logits_and_labels(
    *shape: int, dtype: type = np.float32, spread: float = 4.0, labels: type = np.int64
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(sum(shape))
    logits = (spread * rng.standard_normal(shape)).astype(dtype)
    return logits, rng.integers(0, shape[-1], shape[-2]).astype(labels)


@cases("signals", _logits_tolerance)
@cases("logit_confidence", _logits_tolerance)
def logits_cases() -> Iterator[Case]:
    for classes in (1, 2, 3, 5, 10, 63, 64, 65, 200, 255, 256, 257, 1000):
        yield Case(f"{classes}-classes", _logits_and_labels(150, classes))
    for records in (0, 1, 3, 16, 63, 64, 65, 1000):
        yield Case(f"{records}-records", _logits_and_labels(records, 10))
    for dtype in (np.float16, np.float64):
        for classes in (3, 10, 300):
            yield Case(f"{np.dtype(dtype)}-{classes}", _logits_and_labels(131, classes, dtype=dtype))
    for classes in (3, 10, 300):
        logits, labels = _logits_and_labels(131, classes)
        yield Case(f"bfloat16-{classes}", (bfloat16(logits), labels))
    for labels_type in (np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.uint64, ">i4"):
        yield Case(f"labels-{np.dtype(labels_type).str}", _logits_and_labels(70, 10, labels=labels_type))
    yield Case("threads", _logits_and_labels(3, 9000, 10))
    yield from _logits_laid_out_oddly()
    yield from _logits_of_odd_values()


def _logits_laid_out_oddly() -> Iterator[Case]:
    logits, labels = _logits_and_labels(4, 3, 90, 12)
    yield Case("leading-axes", (logits, labels))
    yield Case("leading-axes-permuted", (logits.transpose(1, 0, 2, 3), labels))
    yield Case("no-models", (logits[:0], labels))
    yield Case("rows-strided", (logits[0, 0, ::3, :7], labels[::3] % 7))
    yield Case("rows-reversed", (logits[0, 0, ::-1], labels[::-1]))
    yield Case("classes-strided", (logits[0, :, :, ::2], labels % 6))
    yield Case("classes-reversed", (logits[0, 0, :, ::-1], labels))
    yield Case("fortran-order", (np.asfortranarray(logits[0, 0]), labels))
    yield Case("broadcast-models", (np.broadcast_to(logits[0, 0], (5, 90, 12)), labels))
    yield Case("broadcast-records", (np.broadcast_to(logits[0, 0, :1], (90, 12)), labels))
    wide, wide_labels = _logits_and_labels(40, 700)
    for name, view in (("rows", wide[::2]), ("classes", wide[::2, ::2]), ("fortran", np.asfortranarray(wide)[::2])):
        yield Case(f"wide-{name}-strided", (view, wide_labels[::2] % view.shape[-1]))
    for dtype in (np.float16, np.float64):
        other, other_labels = _logits_and_labels(40, 30, dtype=dtype)
        yield Case(f"{np.dtype(dtype)}-strided", (other[::2, ::3], other_labels[::2] % 10))
    unaligned = np.zeros((50, 41), np.uint8)[:, 1:].view(np.float32)
    unaligned[...] = _logits_and_labels(50, 10)[0]
    yield Case("unaligned", (unaligned, np.arange(50) % 10))


def _logits_of_odd_values() -> Iterator[Case]:
    for classes in (7, 300):
        logits, labels = _logits_and_labels(80, classes)
        yield Case(f"ties-{classes}", (np.round(logits / 4), labels))
        yield Case(f"all-equal-{classes}", (np.zeros_like(logits), labels))
        yield Case(f"sure-{classes}", (logits * 30, labels))
        yield Case(f"huge-mean-small-spread-{classes}", (logits * np.float32(1e-3) + np.float32(1e4), labels))
        yield Case(f"huge-{classes}", (logits * np.float32(1e30), labels))
        for holes in (0.02, 0.6):
            rng = np.random.default_rng(classes)
            for name, values in (("minus-inf", [-np.inf]), ("inf", [np.inf, -np.inf]), ("nan", [np.nan, np.inf])):
                odd = np.where(rng.random(logits.shape) < holes, rng.choice(values, logits.shape), logits)
                yield Case(f"{name}-{holes}-{classes}", (odd.astype(np.float32), labels))
    every = np.array(np.meshgrid(*[[-np.inf, 0.0, 1.0, np.inf, np.nan]] * 3)).reshape(3, -1).T
    for label in range(3):
        yield Case(f"specials-{label}", (every, np.full(len(every), label)))
    yield Case("specials-one-class", (every[:, :1], np.zeros(len(every), np.int64)))
    largest = np.finfo(np.float32).max
    yield Case("largest-numbers", (np.array([[largest / 4, -largest / 4, 0.0]], np.float32), np.array([1])))
