"""What the numbers were measured on: a result without its machine and its commit is no result."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from miafast.bench import machine

SOURCES = ("miafast", "csrc", "setup.py", "benchmarks/*.py")


def describe(*, bandwidth_mib: int = 1024) -> dict[str, Any]:
    """`miafast.bench.machine.describe`, and the commit."""
    return {**machine.describe(bandwidth_mib=bandwidth_mib), "commit": commit()}


def commit() -> str:
    """What COMMIT says, for sources that travel without their history; else the short commit, a plus if they differ."""
    if given := os.environ.get("COMMIT"):
        return given
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if _git("status", "--porcelain", "--", *SOURCES) else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()


def slug(where: dict[str, Any]) -> str:
    """A file name for this machine: its processor and cores, and its CUDA device."""
    words = re.sub(r"\((?:R|TM)\)|CPU|Processor|@.*", " ", where["processor"], flags=re.IGNORECASE)
    device = re.findall(r"[a-z0-9.]+", where.get("device", "").lower())
    return "-".join([*re.findall(r"[a-z0-9.]+", words.lower()), f"{where['cores']}-cores", *device])
