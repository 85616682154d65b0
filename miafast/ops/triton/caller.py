"""The caller's side of a twin on a CUDA device: its device, its current stream, and its kind of array.

Twins take and return torch tensors. CuPy arrays become such, and results CuPy arrays again, through DLPack: the memory
is shared. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch


def why_no_device() -> str:
    """Why kernels cannot run here, or "" if they can."""
    if torch.cuda.is_available():
        return ""
    how = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"no CUDA device: torch {torch.__version__} ({how}) finds none"


def run(twin: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a twin on the arrays' device and the caller's current stream; the result is of the caller's kind."""
    arrays = [each for each in (*args, *kwargs.values()) if _is_tensor(each) or _is_cupy(each)]
    from_cupy = not any(map(_is_tensor, arrays))
    device = arrays[0].device
    with torch.cuda.device(device.id if from_cupy else device), _stream(device, from_cupy=from_cupy):
        result = twin(*map(_tensor, args), **{name: _tensor(value) for name, value in kwargs.items()})
        return _cupy(result) if from_cupy else result


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _is_cupy(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "cupy" and hasattr(value, "__dlpack__")


def _stream(device: Any, *, from_cupy: bool) -> AbstractContextManager[Any]:
    """PyTorch's current stream as it is; CuPy's current stream made PyTorch's, on which Triton launches too."""
    if not from_cupy:
        return torch.cuda.stream(torch.cuda.current_stream(device))
    import cupy

    pointer = cupy.cuda.get_current_stream(device.id).ptr
    if pointer == 0:
        return torch.cuda.stream(torch.cuda.default_stream(device.id))
    return torch.cuda.stream(torch.cuda.ExternalStream(pointer, device=device.id))


def _tensor(value: Any) -> Any:
    """A tensor over the same memory; a copy on the device only where strides are negative, which torch has not."""
    if _is_tensor(value):
        return value.detach()
    if not _is_cupy(value):
        return value
    if any(stride < 0 for stride in value.strides):
        value = value.copy()
    if value.dtype == bool:
        return torch.from_dlpack(value.view("u1")).view(torch.bool)
    return torch.from_dlpack(value)


def _cupy(result: Any) -> Any:
    import cupy

    if isinstance(result, tuple):
        return type(result)(*map(_cupy, result))
    if result.dtype == torch.bool:
        return cupy.from_dlpack(result.view(torch.uint8)).view(bool)
    return cupy.from_dlpack(result)
