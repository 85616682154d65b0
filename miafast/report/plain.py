"""From whatever a user or NumPy hands over to what JSON can say: numbers, texts, lists and dicts, no bare NaN."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same value in JSON's terms: NaN and infinities become None, anything unknown its `repr`.

    >>> plain({"recipe": ("mlp", np.float32(0.5)), 3: float("nan")})
    {'recipe': ['mlp', 0.5], '3': None}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    return str(value) if isinstance(value, PurePath) else repr(value)


def as_json(facts: Any) -> str:
    """Text of a JSON file; a NaN left in `facts` is an error here, not in the reader's parser."""
    return json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
