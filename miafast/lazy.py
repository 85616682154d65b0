"""Names of a package that run models: their modules, and with them torch, are imported when first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, home: Mapping[str, str], *, purpose: str) -> Callable[[str], Any]:
    """A package's ``__getattr__`` for names that live in the modules ``home`` says, relative to the package.

    A module ".name" lies beside the package. Without PyTorch they raise ModuleNotFoundError: ``purpose`` "needs
    PyTorch", and how to install it.
    """

    def find(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(f".{home[name]}", package), name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise ModuleNotFoundError(f"{purpose} needs PyTorch: pip install 'miafast[train]'.") from None

    return find
