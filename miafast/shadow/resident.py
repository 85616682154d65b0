"""Records kept where models train: as small as they are stored, and numbers only when a batch is asked for."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch

from miafast.shadow.capture import kernels_run_on
from miafast.tables import Records

_WORD = 8  # bytes that are taken at a time: a byte at a time, taking costs more than training


class Packed(NamedTuple):
    """Records' bits, still eight to a byte, for kernels that spread them themselves."""

    rows: torch.Tensor  # uint8 [records, bytes], the first bit in the highest place
    which: torch.Tensor  # int64 [...]: the records taken
    zero: float  # what models are fed for a bit that is not set, and for one that is
    one: float


class Resident:
    """Inputs and labels on a device. Bytes stay bytes, bits are eight to a byte; images lie channels-last."""

    def __init__(self, records: Records, device: str | torch.device) -> None:
        small = records.x.dtype in (np.uint8, np.bool_)
        x = records.x.view(np.uint8) if small else records.inputs()
        self._scale, self._shift = (records.scale, records.shift) if small else (1.0, 0.0)
        self._stored = torch.uint8 if small else torch.float32
        self._is_image = x.ndim == 4
        rows = np.ascontiguousarray(x.transpose(0, 2, 3, 1) if self._is_image else x)
        self._shape, flat = rows.shape[1:], rows.reshape(len(rows), -1)
        self._bits = None
        if small and flat.max(initial=0) <= 1:
            self._bits = torch.as_tensor(_bits_of_every_byte(), device=device)
            flat = np.packbits(flat, axis=1)
        if spare := -flat.shape[1] * flat.itemsize % _WORD:
            flat = np.pad(flat, ((0, 0), (0, spare // flat.itemsize)))
        self._words = torch.as_tensor(flat.view(np.int64), device=device)
        self.y = torch.as_tensor(records.y, device=device)
        self.device = self.y.device

    @property
    def nbytes(self) -> int:
        """Bytes of the device's memory that the inputs take."""
        return int(self._words.nbytes)

    def inputs(self, which: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """What models are fed for the records ``which``, int64 of any shape: [*which.shape, ...]."""
        x = (self._taken_at_once if kernels_run_on(self.device) else self._taken)(which.reshape(-1), dtype)
        x = x.unflatten(1, self._shape)
        return (x.permute(0, 3, 1, 2) if self._is_image else x).unflatten(0, which.shape)

    @property
    def packs(self) -> bool:
        """Whether `packed` gives the inputs: bits whose order is the records'."""
        return self._bits is not None and not (self._is_image and self._shape[-1] > 1)

    def packed(self, which: torch.Tensor) -> Packed:
        """The records ``which`` as they are stored."""
        return Packed(self._words.view(torch.uint8), which, self._shift, self._shift + self._scale)

    def _taken(self, which: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        stored = self._words.index_select(0, which).view(self._stored)
        if self._bits is not None:
            stored = self._bits.index_select(0, stored.flatten().int()).view(torch.uint8).view(len(stored), -1)
        x = stored[:, : prod(self._shape)]
        if self._scale != 1.0 or self._shift != 0.0:
            x = torch.add(torch.tensor(self._shift), x, alpha=self._scale)
        return x.to(dtype)

    def _taken_at_once(self, which: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        from miafast.shadow.resident_kernel import taken

        rows, features = self._words.view(self._stored), prod(self._shape)
        return taken(
            rows, which, features=features, bits=self._bits is not None, scale=self._scale, shift=self._shift,
            dtype=dtype,
        )  # fmt: skip


def _bits_of_every_byte() -> np.ndarray[Any, Any]:
    """[256] words: the bits of 0, 1, ... 255, each a byte."""
    return np.unpackbits(np.arange(256, dtype=np.uint8)).view(np.int64)
