"""A function on static tensors, captured as a CUDA graph where that is possible."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import NamedTuple

import torch

_WARM_UPS = 3  # libraries and kernels choose and compile in the first calls, which a capture cannot hold


class Captured(NamedTuple):
    """What `captured` made of a function."""

    run: Callable[[], None]
    how: str  # "captured CUDA graph", or "eager" and, on a device, why
    draws: bool  # whether it draws from the device's global generator


def captured(function: Callable[[], None], device: torch.device) -> Captured:
    """The function as one CUDA graph on a CUDA device, and itself on the processor.

    It must work in place on tensors that stay where they are, and is called a few times first: its tensors must be
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
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS - 1):
                    function()
        except RuntimeError as error:
            return Captured(function, f"eager ({_first_line(error)})", draws)
        finally:
            torch.cuda.set_sync_debug_mode(mode)
            torch.cuda.current_stream().wait_stream(side)
        gc.collect()  # what earlier graphs held comes back
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=side):
                function()
        except RuntimeError as error:
            return Captured(function, f"eager ({_first_line(error)})", draws)
    return Captured(graph.replay, "captured CUDA graph", draws)


def _first_line(error: RuntimeError) -> str:
    return str(error).partition("\n")[0]
