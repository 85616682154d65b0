"""What the numbers were measured on: a result without its machine and its commit is no result."""

from __future__ import annotations

import re
import subprocess
from typing import Any

from miafast.bench import machine

SOURCES = ("miafast", "csrc", "setup.py", "benchmarks/*.py")


def describe(*, bandwidth_mib: int = 1024) -> dict[str, Any]:
    """`miafast.bench.machine.describe`, and the commit."""
    return {**machine.describe(bandwidth_mib=bandwidth_mib), "commit": commit()}


def commit() -> str:
    """The short commit, with a plus when the sources differ from it."""
    head = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", *SOURCES], capture_output=True, text=True, check=True
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def slug(where: dict[str, Any]) -> str:
    """A file name for this machine: its processor and cores, and its CUDA device."""
    words = re.sub(r"\((?:R|TM)\)|CPU|Processor|@.*", " ", where["processor"], flags=re.IGNORECASE)
    device = re.findall(r"[a-z0-9.]+", where.get("device", "").lower())
    return "-".join([*re.findall(r"[a-z0-9.]+", words.lower()), f"{where['cores']}-cores", *device])
