"""What the numbers were measured on: a result without its machine is no result."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np

PACKAGES = ("miafast", "numpy", "scipy", "numba", "torch", "scikit-learn")
SOURCES = ("miafast", "csrc", "setup.py", "benchmarks/*.py")


def describe(*, bandwidth_mib: int = 1024) -> dict[str, Any]:
    """Processor, memory, system, versions, commit and the measured memory bandwidths.

    `bandwidth_mib` is the size of the buffer read or copied; one that fits the caches measures the caches.
    """
    read, copy = memory_bandwidth(bandwidth_mib * 2**20)
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": commit(),
        "read_gb_per_s": round(read / 1e9, 1),
        "copy_gb_per_s": round(copy / 1e9, 1),
    }


def commit() -> str:
    """The short commit, with a plus when the sources differ from it."""
    head = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", *SOURCES], capture_output=True, text=True, check=True
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def slug(machine: dict[str, Any]) -> str:
    """A file name for this machine: its processor and cores."""
    words = re.sub(r"\((?:R|TM)\)|CPU|Processor|@.*", " ", machine["processor"], flags=re.IGNORECASE)
    return "-".join([*re.findall(r"[a-z0-9.]+", words.lower()), f"{machine['cores']}-cores"])


def memory_bandwidth(size: int) -> tuple[float, float]:
    """Bytes per second that all cores together read, and copy (reads and writes both counted)."""
    source = np.arange(size // 8, dtype=np.uint64)
    target = np.empty_like(source)
    workers = os.cpu_count() or 1
    parts = [slice(len(source) * k // workers, len(source) * (k + 1) // workers) for k in range(workers)]
    with ThreadPoolExecutor(workers) as pool:

        def read() -> None:
            list(pool.map(lambda part: _fold(source[part]), parts))

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

        return source.nbytes / _median_seconds(read), 2 * source.nbytes / _median_seconds(copy)


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def _fold(values: np.ndarray) -> int:
    # Four places at once: one running stream a core leaves a third of the bandwidth unused.
    quarter = len(values) // 4
    first = second = third = fourth = np.uint64(0)
    for k in range(quarter):
        first ^= values[k]
        second ^= values[k + quarter]
        third ^= values[k + 2 * quarter]
        fourth ^= values[k + 3 * quarter]
    return first ^ second ^ third ^ fourth


def _median_seconds(function: Callable[[], None], *, rounds: int = 9) -> float:
    function()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        function()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (name := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)):
        return name.group(1).strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
