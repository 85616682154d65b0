"""From a source in csrc/cuda to a launch on PyTorch's current stream; CuPy compiles, and keeps what it made on disk."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: C++ names of element types, by PyTorch's.
TYPES = {
    "float32": "float", "float64": "double", "float16": "Half", "bfloat16": "BFloat16", "int8": "signed char",
    "uint8": "unsigned char", "int16": "short", "uint16": "unsigned short", "int32": "int", "uint32": "unsigned int",
    "int64": "long long", "uint64": "unsigned long long",
}  # fmt: skip

INCLUDE = re.compile(r'^#include "(.+)"\n', re.MULTILINE)

#: Functions that are no kernels run on the device: sources need no word for it, and a processor can run them too.
OPTIONS = ("-std=c++17", "-default-device")


def source(name: str) -> str:
    """The text of csrc/cuda/NAME.cu, each header where it is first included: CuPy's cache knows one text, no files.

    They lie beside this file when installed, in csrc/cuda in a source tree.
    """
    beside = Path(__file__).parent
    folder = beside if (beside / f"{name}.cu").exists() else beside.parents[2] / "csrc" / "cuda"
    seen: set[str] = set()

    def text_of(file: str) -> str:
        seen.add(file)
        text = (folder / file).read_text().replace("#pragma once\n", "")
        return INCLUDE.sub(lambda found: "" if found[1] in seen else text_of(found[1]), text)

    return text_of(f"{name}.cu")


def type_of(tensor: Any) -> str:
    return TYPES[str(tensor.dtype).removeprefix("torch.")]


def launch(
    name: str, kernel: str, arguments: Sequence[Any], *, blocks: int, threads: tuple[int, ...], shared: int
) -> None:
    """Launch ``kernel`` of a source (an instance of a template) with ``shared`` bytes of memory per block.

    Arguments are tensors, passed as pointers, and NumPy numbers, passed as they are. Nothing is waited for.
    """
    import torch

    function = _compiled(name, kernel)
    if shared > 48 * 1024:
        function.max_dynamic_shared_size_bytes = shared
    given = tuple(np.uint64(each.data_ptr()) if hasattr(each, "data_ptr") else each for each in arguments)
    current = torch.cuda.current_stream()
    with stream_of(current.device_index, current.cuda_stream):
        function((blocks,), threads, given, shared_mem=shared)


@functools.cache
def most_shared(device: int) -> int:
    """Bytes of shared memory with which two blocks fit a multiprocessor of a device; CUDA keeps a KiB of each."""
    import cupy

    return int(cupy.cuda.Device(device).attributes["MaxSharedMemoryPerMultiprocessor"]) // 2 - 1024


class _Foreign(NamedTuple):
    """A stream by its address, as `cuda.Stream.from_external` wants it."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


@functools.cache
def stream_of(device: int, pointer: int) -> Any:
    """CuPy's view of PyTorch's stream, kept as long as the process: some versions destroy the stream with the view."""
    import cupy

    if hasattr(cupy.cuda.Stream, "from_external"):  # since CuPy 14, which deprecates the other
        return cupy.cuda.Stream.from_external(_Foreign(pointer))
    return cupy.cuda.ExternalStream(pointer, device)


@functools.cache
def _compiled(name: str, kernel: str) -> Any:
    import cupy

    module = cupy.RawModule(code=source(name), options=OPTIONS, name_expressions=(kernel,))
    return module.get_function(kernel)
