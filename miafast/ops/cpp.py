"""C++ twins: the compiled functions of `miafast._native`, under their ops' names."""

from __future__ import annotations

from typing import Any

from miafast import _native
from miafast.ops.mlp_steps import MlpState


def mlp_steps(*args: Any, **kwargs: Any) -> MlpState:
    return MlpState(*_native.mlp_steps(*args, **kwargs))
