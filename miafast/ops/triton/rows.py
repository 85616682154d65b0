"""How a kernel walks logits [..., records, classes]: as [leads, records, classes], a tile of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch

#: Records with more classes than this are read in chunks, one record per program.
LARGEST_TILE = 4096

#: Classes of one record that a thread holds: at most, where it loads several at once; and all of so few.
OF_A_RECORD, WHOLE = 32, 16

#: Lanes of a chunk, each with a running maximum and sum of its own, and how many classes a lane takes at once.
LANES, DEEP = 1024, 4


class Tile(NamedTuple):
    """A program's tile [rows, deep, lanes]: class c of a record is at (c // lanes, c % lanes).

    Threads share lanes, and each holds what is deep of few records, so that little is left to add up between threads.
    Records lie one after the other if dense; wide offsets take 64 bits.
    """

    rows: int
    deep: int
    lanes: int
    dense: bool
    wide: bool


def result(logits: Any, dtype: Any = None) -> Any:
    """Room for one number per record."""
    default = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return torch.empty(logits.shape[:-1], dtype=dtype or default, device=logits.device)


def parts(logits: Any, *results: Any) -> Iterator[tuple[Any, ...]]:
    """Logits as [leads, records, classes] and results as [leads, records], in as few parts as need no copy."""
    if results[0].numel() == 0:
        return
    leading = [axis for axis in zip(logits.shape[:-2], logits.stride()[:-2], strict=True) if axis[0] != 1]
    if all(outer == size * stride for (_, outer), (size, stride) in pairwise(leading)):
        stride = leading[-1][1] if leading else 0
        records, classes = logits.shape[-2:]
        leads = results[0].numel() // records
        yield logits.as_strided((leads, records, classes), (stride, *logits.stride()[-2:])), *results
    else:
        for each in zip(logits, *results, strict=True):
            yield from parts(*each)


def tile_of(logits: Any) -> Tile | None:
    """The tile for logits [leads, records, classes]; None if the classes are too many for one."""
    classes = logits.shape[-1]
    columns = 1 << (classes - 1).bit_length()
    if columns > LARGEST_TILE:
        return None
    rows = min(1024, max(1, LARGEST_TILE // columns))
    together = math.gcd(classes, 16 // logits.element_size())  # classes that a thread loads at once
    fewest = max(2, together) if columns <= WHOLE else 16
    lanes = min(columns, max(fewest, columns * together // OF_A_RECORD))
    _, row_stride, class_stride = logits.stride()
    dense = class_stride == 1 and row_stride == classes
    return Tile(rows, columns // lanes, lanes, dense, rows * row_stride + columns * class_stride >= 2**31)
