"""Refusing numbers that a defence cannot work with."""

from __future__ import annotations

import math
from typing import Any


def check_number(name: str, value: Any, *, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low < value < high:
        bounds = f"greater than {low:g}" + (f" and below {high:g}" if math.isfinite(high) else "")
        raise ValueError(f"{name}={value!r}; give a number {bounds}.")
