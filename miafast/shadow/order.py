"""The batches of many models on their device: what `Batches.draw` gives, bit for bit, without the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from miafast.shadow.capture import kernels_run_on
from miafast.shadow.random import stream
from miafast.tables import Array

_LARGEST = 2**63 - 1
_HALF = 0xFFFFFFFF


class Order:
    """The shuffled epochs of models, one after the other without a gap and cut into batches of one size."""

    def __init__(
        self, in_rows: Sequence[Array], *, size: int, seed: int, models: Sequence[int], device: torch.device
    ) -> None:
        self._size = size
        self._counts = np.array([len(rows) for rows in in_rows])
        rows = np.zeros((len(in_rows), self._counts.max()), np.int64)
        for row, each in zip(rows, in_rows, strict=True):
            row[: len(each)] = each
        keys = np.stack([stream(seed, model, "batches").state["state"]["key"] for model in models])
        self._rows = torch.as_tensor(rows, device=device)
        self._count = torch.as_tensor(self._counts[:, None], device=device)
        self._sortable = _sortable_on(device)
        self._keys = torch.as_tensor(keys.view(np.int64), device=device)

    def at(self, begin: int, steps: int) -> torch.Tensor:
        """Record indices of the batches begin … begin + steps, int64 [steps, models, size]."""
        models, width = self._rows.shape
        place = torch.arange(begin * self._size, (begin + steps) * self._size, device=self._rows.device)
        last = (begin + steps) * self._size - 1
        epochs = int((last // self._counts - begin * self._size // self._counts).max()) + 1
        first = place[:1] // self._count
        order = self._sortable(self._keys, self._count, first, epochs=epochs, width=width).argsort(-1).flatten(1)
        chosen = order.gather(1, (place // self._count - first) * width + place % self._count)
        return self._rows.gather(1, chosen).view(models, steps, self._size).transpose(0, 1)


def sortable(
    keys: torch.Tensor, count: torch.Tensor, first: torch.Tensor, *, epochs: int, width: int
) -> torch.Tensor:  # fmt: skip
    """What epochs first … first + epochs are sorted by: int64 [models, epochs, width], the largest beyond ``count``.

    ``keys`` is int64 [models, 2], ``count`` and ``first`` int64 [models, 1].
    """
    ranks = torch.arange(width, device=keys.device)
    draw = torch.arange(epochs, device=keys.device)[:, None] * count[:, :, None] + ranks
    raw = raw_draws(keys, first * count, epochs * width).gather(1, draw.flatten(1))
    raw = (raw ^ -(2**63)).view(-1, epochs, width)  # unsigned order, in signed numbers
    return raw.masked_fill_(ranks >= count[:, :, None], _LARGEST)


def _sortable_on(device: torch.device) -> Callable[..., torch.Tensor]:
    if kernels_run_on(device):
        from miafast.shadow import order_kernel

        return order_kernel.sortable
    return sortable


def raw_draws(keys: torch.Tensor, start: torch.Tensor, count: int) -> torch.Tensor:
    """Draws start … start + count of NumPy's `Philox.random_raw` for each key, their bits as int64 [keys, count].

    ``keys`` is int64 [keys, 2], ``start`` int64 [keys, 1].
    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x64-10).
    """
    blocks = torch.arange(count // 4 + 2, device=keys.device)
    zero = torch.zeros_like(keys[:, :1])
    a, b, c, d = start // 4 + 1 + blocks, zero, zero, zero
    left, right = keys[:, :1], keys[:, 1:]
    for _ in range(10):
        (high, low), (high_2, low_2) = _product(0xD2E7470EE14C6C93, a), _product(0xCA5A826395121157, c)
        a, b, c, d = high_2 ^ b ^ left, low_2, high ^ d ^ right, low
        left, right = left + _signed(0x9E3779B97F4A7C15), right + _signed(0xBB67AE8584CAA73B)
    lanes = torch.stack([a, b, c, d], dim=-1).flatten(1)
    return lanes.gather(1, start % 4 + torch.arange(count, device=keys.device))


def _product(factor: int, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The upper and the lower 64 bits of factor · values, all unsigned."""
    upper, lower = factor >> 32, factor & _HALF
    high, low = (values >> 32) & _HALF, values & _HALF
    first = upper * low + ((lower * low >> 32) & _HALF)
    second = lower * high + (first & _HALF)
    return upper * high + ((first >> 32) & _HALF) + ((second >> 32) & _HALF), values * _signed(factor)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
