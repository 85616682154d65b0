"""What a case is, and the cases of every op."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from miafast.ops.dispatch import BFLOAT16


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


def bfloat16(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(BFLOAT16)
