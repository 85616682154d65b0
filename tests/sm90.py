"""Compiles what Triton twins launch for a Hopper GPU on a machine without any, and launches nothing.

``python -m tests.sm90 OP ...`` calls every twin on a few inputs; each launch compiles with the types, strides and
constants it would run with. One line per op names the kernels. In a process of its own: it must not interpret.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.driver import CudaDriver
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from tests.as_torch import as_torch
from tests.cases import CASES

#: Which cases of an op differ in what is compiled.
NAMES = {
    "logit_confidence": ("10-classes", "1000-classes", "bfloat16-10", "float16-300", "float64-300", "fortran-order"),
    "signals": ("10-classes", "bfloat16-300", "float64-3"),
    "lira": ("float32-online-one-sided-mean-shrunken", "float64-offline-one-sided-median-pooled",
             "float32-offline-two-sided-mean-total", "bfloat16-online-one-sided-mean-per-record"),
    "lira_leave_one_out": (
        "coins-float32-online-one-sided-mean-per-record", "balanced-float64-online-one-sided-mean-shrunken",
        "coins-float64-offline-one-sided-median-shrunken", "bfloat16-online-one-sided-mean-per-record",
        "balanced-float32-offline-two-sided-mean-total", "coins-float32-offline-two-sided-mean-pooled",
    ),
    "linear_confidence": ("no-bias", "void16-101", "bfloat16-features", "strided"),
    "mlp_confidence": ("two-layers", "wide"),
    "roc_counts": (),  # PyTorch's kernels
    "tpr_at": (),
    "trimmed_mean": (),
    "above_class_threshold": (),
    "higher_share": (),
    "neighbour_share": (),
    "population_share": (),
    "lira_released_code": (),
    "negative_loss": (),
    "log_ratio": (),
    "log_ratio_leave_one_out": (),
    "rmia": ("1025x1000-2.0", "1025x1000-2.0-float32", "3-queries-pool"),
}  # fmt: skip


class _Hopper(CudaDriver):
    def __init__(self) -> None:
        pass

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def many_classes() -> Iterator[tuple[Any, Any]]:
    for dtype in (torch.float32, torch.bfloat16):
        yield torch.zeros(4, 50_257, dtype=dtype), torch.zeros(4, dtype=torch.int64)


def inputs_of(op_name: str) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for case in CASES[op_name][0]():
        if op_name not in NAMES or case.name in NAMES[op_name]:
            yield tuple(map(as_torch, case.args)), {name: as_torch(value) for name, value in case.kwargs.items()}
    if op_name in ("logit_confidence", "signals"):
        for each in many_classes():
            yield each, {}


@contextmanager
def compile_only() -> Iterator[dict[str, set[bytes]]]:
    """Inside, launches compile and do nothing else; gives kernel -> its binaries."""
    found: dict[str, set[bytes]] = {}
    run = JITFunction.run

    def compile_(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        name = f"{self.fn.__module__.rpartition('.')[2]}.{self.fn.__name__}"
        found.setdefault(name, set()).add(kernel.asm["cubin"])
        return kernel

    driver.set_active(_Hopper())
    JITFunction.run = compile_
    try:
        yield found
    finally:
        JITFunction.run = run


def compiled(op_name: str) -> dict[str, int]:
    """Kernel -> how many versions of it the op's inputs asked for."""
    twin = getattr(importlib.import_module(f"miafast.ops.triton.{op_name}"), op_name)
    with compile_only() as found:
        for args, kwargs in inputs_of(op_name):
            twin(*args, **kwargs)
    return {name: len(each) for name, each in found.items()}


if __name__ == "__main__":
    np.seterr(all="ignore")
    for op_name in sys.argv[1:]:
        print(op_name, *(f"{name}:{versions}" for name, versions in compiled(op_name).items()))
