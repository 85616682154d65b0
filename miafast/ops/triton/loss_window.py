"""The best loss window on the device: counts by PyTorch's scatter, the search over all windows at once."""

from __future__ import annotations

from typing import Any

import torch

from miafast.ops.loss_window import STEPS
from miafast.ops.triton.log_ratio import result_type
from miafast.ops.triton.others import others_of


def loss_window(loss: Any, ratio: Any, in_mask: Any, *, fpr: float, leave_one_out: bool) -> Any:
    """Low equals high, not an error, where in_mask has one side only."""
    losses, ratios = loss.double().contiguous(), ratio.double()
    edges = _edges(loss.device)
    known = losses.isfinite() & ratios.isfinite()
    bins = (torch.searchsorted(edges, losses, right=True) - 1).clamp(0, len(edges) - 2)
    steps = torch.where(known, (ratios * STEPS).round(), 0.0).long()
    cells = (in_mask * (len(edges) - 1) + bins) * (STEPS + 1) + steps

    def window(used: Any) -> Any:
        counts = torch.zeros(2 * (len(edges) - 1) * (STEPS + 1), dtype=torch.int64, device=loss.device)
        counts.scatter_add_(0, cells.flatten(), (known & used).flatten().long())
        return edges[_widest(counts.reshape(2, len(edges) - 1, STEPS + 1), fpr)]

    if not leave_one_out:
        return window(torch.ones_like(known)).to(result_type(loss))
    return torch.stack(list(map(window, others_of(in_mask)))).to(result_type(loss))


def _edges(device: Any) -> Any:
    """`miafast.ops.loss_window.EDGES`, made on the device: a copy would be waited for."""
    ends = (torch.full((1,), each, dtype=torch.float64, device=device) for each in (0.0, torch.inf))
    zero, endless = ends
    return torch.cat([zero, torch.logspace(-8, 2, 41, dtype=torch.float64, device=device), endless])


def _widest(counts: Any, fpr: float) -> Any:
    """[2] edges' places, low and high, from counts [out and in, loss bins, ratio steps]."""
    least = counts.flip(2).cumsum(2)  # at or above each ratio
    up_to = torch.cat([torch.zeros_like(least[:, :1]), least.cumsum(1)], 1)
    out, found = up_to[:, None, :] - up_to[:, :, None]  # [low, high, ratio]
    allowed = (out.double() <= fpr * counts[0].sum().double()) & (found >= 0) & (out >= 0)
    worth = torch.where(allowed, found * (counts.sum() + 1) - out, -1).flatten()
    place = torch.arange(len(worth), device=worth.device)
    first = torch.where(worth == worth.max(), place, len(worth)).min()
    edges, ratios = out.shape[1:]
    return torch.stack([first // (edges * ratios), first // ratios % edges])
