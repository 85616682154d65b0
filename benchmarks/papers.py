"""Tables of papers, measured again: ``python -m benchmarks papers NAME``. A paper has CASES, run and section."""

from __future__ import annotations

import importlib
from typing import Any

PAPERS = {"stolen-memories": "benchmarks.papers_stolen_memories"}


def paper(name: str) -> Any:
    """The module of a paper's tables."""
    return importlib.import_module(PAPERS[name])
