"""Triton's interpreter, made quicker: it looks once for its language's builtins, not at every call of a function."""

from __future__ import annotations

import inspect
import os
from functools import cache
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

HERE = os.environ.get("TRITON_INTERPRET") == "1" and find_spec("triton") is not None

interpreted = pytest.mark.skipif(not HERE, reason="there is a device, on which other tests run the same; or no Triton")

if HERE:
    import triton.language as tl
    from triton.runtime import interpreter

    @cache
    def _builtins(package: Any) -> list[str]:
        return [name for name, member in inspect.getmembers(package) if tl.core.is_builtin(member)]

    def _members(package: Any) -> list[tuple[str, Any]]:
        return [(name, getattr(package, name)) for name in _builtins(package)]

    interpreter.inspect = SimpleNamespace(**{**vars(inspect), "getmembers": _members})
