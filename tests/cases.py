"""Inputs that every twin of an op must agree on with the float64 NumPy truth.

``@cases("op_name", tolerance=...)`` marks a function that yields cases. ``tolerance(case, expected)`` says how far a
result may lie from the truth computed in float64: what honest rounding of the same computation in its dtype costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    slow: bool = False


Tolerance = Callable[[Case, np.ndarray], Any]
CASES: dict[str, tuple[Callable[[], Iterator[Case]], Tolerance]] = {}


def cases(op_name: str, tolerance: Tolerance) -> Callable[[Callable[[], Iterator[Case]]], Callable[[], Iterator[Case]]]:
    def register(function: Callable[[], Iterator[Case]]) -> Callable[[], Iterator[Case]]:
        CASES[op_name] = (function, tolerance)
        return function

    return register
