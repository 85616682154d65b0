"""What the numbers were measured on: a result without its machine is no result."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np

ROUNDS = 9
PACKAGES = ("miafast", "numpy", "scipy", "numba", "torch", "triton", "scikit-learn")


def describe(*, bandwidth_mib: int = 1024) -> dict[str, Any]:
    """Processor, memory, system, versions and the measured memory bandwidths, those of a CUDA device included.

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
        "read_gb_per_s": round(read / 1e9, 1),
        "copy_gb_per_s": round(copy / 1e9, 1),
        **_cuda(bandwidth_mib * 2**20),
    }


def lines(where: dict[str, Any]) -> list[str]:
    """A description in two or three lines."""
    versions = ", ".join(f"{name} {version}" for name, version in where["packages"].items() if version)
    found = [
        f"{where['processor']}, {where['cores']} cores, {where['memory_gib']} GiB of memory, read at "
        f"{where['read_gb_per_s']} GB/s and copied at {where['copy_gb_per_s']} GB/s (measured, all cores)",
        f"{where['system']}, Python {where['python']}, {versions}",
    ]
    if "device" in where:
        found.append(
            f"{where['device']}, CUDA {where['device_cuda']}, memory copied at {where['device_copy_gb_per_s']} GB/s"
        )
    return found


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
def _fold(values: Any) -> Any:
    # Four places at once: one running stream a core leaves a third of the bandwidth unused.
    quarter = len(values) // 4
    first = second = third = fourth = np.uint64(0)
    for k in range(quarter):
        first ^= values[k]
        second ^= values[k + quarter]
        third ^= values[k + 2 * quarter]
        fourth ^= values[k + 3 * quarter]
    return first ^ second ^ third ^ fourth


def _median_seconds(function: Callable[[], None]) -> float:
    function()
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        function()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _cuda(size: int) -> dict[str, Any]:
    """Name, driver's CUDA version and copy bandwidth of the CUDA device, empty without one."""
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    if not torch.cuda.is_available():
        return {}
    source = torch.zeros(size, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    taken = []
    for _ in range(ROUNDS):  # by the device's clock, after another copy: a busy host has no part in it
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        target.copy_(source)
        start.record()
        target.copy_(source)
        stop.record()
        stop.synchronize()
        taken.append(start.elapsed_time(stop) / 1e3)
    return {
        "device": torch.cuda.get_device_name(),
        "device_cuda": torch.version.cuda,
        "device_copy_gb_per_s": round(2 * size / statistics.median(taken) / 1e9, 1),
    }


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
