"""redraw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.cases.registry import Case, cases


@cases(
    "redraw",
    tolerance=lambda case, expected: (
        0 if case.args[0].dtype == np.uint8 else np.finfo(case.args[0].dtype).eps * np.abs(expected)
    ),
)
def _redraw() -> Iterator[Case]:
    draw = np.random.default_rng(0)
    for records, features in ((0, 3), (1, 1), (5, 4), (700, 33)):
        x = draw.integers(0, 2, (records, features)).astype(np.float32)
        k = draw.integers(0, features + 1, records)
        keys = draw.integers(0, 2**32, records, dtype=np.uint32)
        yield Case(f"binary-{records}x{features}", (x, k, keys))
        yield Case(f"bits-{records}x{features}", (x.astype(np.uint8), k, keys))
        yield Case(f"float64-{records}x{features}", (x.astype(np.float64), np.full(records, features), keys))
        low, high = np.sort(draw.normal(size=(2, features)), axis=0)
        yield Case(f"real-{records}x{features}", (x, k, keys, low, high))
    yield Case("strided", (x[::3, ::2], k[::3] // 2, keys[::3]))
    keys = draw.integers(0, 2**32, 3000, dtype=np.uint32)
    yield Case("threads", (draw.integers(0, 2, (3000, 700), dtype=np.uint8), np.arange(3000) % 9, keys))
