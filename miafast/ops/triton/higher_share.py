"""Merlin's ratio on the device, from PyTorch's kernels."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.triton.log_ratio import result_type


def higher_share(loss: Any, noisy_loss: Any) -> Any:
    own, noisy = loss[..., :1].double(), noisy_loss.double()
    known = own[..., 0].isfinite() & noisy.isfinite().all(-1)
    return torch.where(known, (noisy > own).double().mean(-1), torch.nan).to(result_type(loss, noisy_loss))
