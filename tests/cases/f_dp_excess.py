"""f_dp_excess."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.cases.registry import Case, cases


@cases("f_dp_excess", tolerance=lambda case, expected: 1e-9 * (1 + np.abs(expected)))
def _f_dp_excess() -> Iterator[Case]:
    for guesses, canaries in ((1, 1), (100, 100), (60, 500), (600, 1000)):
        right = np.unique(np.linspace(0, guesses, 30).astype(np.int64))
        levels = np.linspace(0.0, 8.0, len(right))
        for alpha in (0.05, 1e-6):
            options = {"guesses": guesses, "canaries": canaries, "alpha": alpha}
            name = f"{guesses}-of-{canaries}-{alpha}"
            yield Case(f"gaussian-{name}", (right, levels), options)
            yield Case(f"approximate-{name}", (right, levels, np.full(len(right), 1e-5)), options)
    yield Case("empty", (np.zeros(0, np.int64), np.zeros(0)), {"guesses": 5, "canaries": 9, "alpha": 0.05})
