"""What would wait for a device, found on the processor: twins may not call it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: Ops whose results have as many entries as the values say, so that the host must wait to know how many.
WAITING = {"roc_counts"}

_READS_BACK = {
    "__bool__", "__float__", "__index__", "__int__", "cpu", "item", "masked_select", "nonzero", "numpy", "tolist",
    "unique",
}  # fmt: skip


class NeverWaits(TorchFunctionMode):
    """Inside, PyTorch's functions that read values back raise; so does a number set at places, which is copied."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in _READS_BACK:
            raise AssertionError(f"{name} waits for the device")
        if name in ("__getitem__", "__setitem__"):
            at = [each for each in (args[1] if isinstance(args[1], tuple) else args[1:2]) if torch.is_tensor(each)]
            if any(each.dtype == torch.bool for each in at) or (at and len(args) > 2 and not torch.is_tensor(args[2])):
                raise AssertionError(f"{name} waits for the device: use index_fill_, or torch.where for a mask")
        return function(*args, **(kwargs or {}))
