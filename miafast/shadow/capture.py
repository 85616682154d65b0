"""A function on static tensors, captured as a CUDA graph where that is possible."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

WARM_UPS = 3  # calls: libraries and kernels choose and compile in the first ones, which a capture cannot hold


def kernels_run_on(device: torch.device) -> bool:
    """Whether our Triton kernels run there, in the place of PyTorch's operations."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


class Captured(NamedTuple):
    """What `captured` made of a function."""

    run: Callable[[], None]
    how: str  # "captured CUDA graph", or "eager" and, on a device, why
    draws: bool  # whether it draws from the device's global generator


def captured(function: Callable[[], None], device: torch.device) -> Captured:
    """The function as one CUDA graph on a CUDA device, and itself on the processor.

    It must work in place on tensors that stay where they are, and is called WARM_UPS times first: its tensors must be
    set afterwards. The rule for what is not captured: a function that waits for the device (``.item()``, a branch on a
    tensor, a copy from main memory) or fails while it is captured runs eagerly, and ``how`` says why. Errors of the
    first call, which is made as usual, are raised.
    """
    if device.type != "cuda":
        return Captured(function, "eager", False)
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        state = torch.cuda.get_rng_state(device)
        with torch.cuda.stream(side):
            function()
        draws = not torch.equal(state, torch.cuda.get_rng_state(device))
        graph = torch.cuda.CUDAGraph()
        try:
            with _waiting_refused(), torch.cuda.stream(side):
                for _ in range(WARM_UPS - 1):
                    function()
            with torch.cuda.graph(graph, stream=side):
                function()
        except RuntimeError as error:
            why = str(error).partition("\n")[0]
            return Captured(function, f"eager ({why})", draws)
        finally:
            torch.cuda.current_stream().wait_stream(side)
    return Captured(graph.replay, "captured CUDA graph", draws)


@contextmanager
def _waiting_refused() -> Iterator[None]:
    """Inside, what waits for the device raises RuntimeError: sooner, and cleaner, than a capture that fails."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that this mode is young
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)
