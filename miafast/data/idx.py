"""MNIST's idx files: a magic number, the lengths of the axes, the bytes. Format: Y. LeCun, the MNIST database page."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from miafast.data.intact import MOST_BYTES, broken, opened, reading
from miafast.tables import Array

UNSIGNED_BYTE = 8


def read_idx(path: Path, axes: int) -> Array:
    """The uint8 array in an idx file (.gz or not) with that many axes: 3 for images, 1 for labels."""
    with reading(path, "idx"), opened(path) as stream:
        magic = stream.read(4)
        if magic != bytes([0, 0, UNSIGNED_BYTE, axes]):
            raise broken(path, "idx", f"it starts with {magic.hex() or 'nothing'}, not 000008{axes:02x}")
        shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
        expected = math.prod(shape)
        if expected > MOST_BYTES:
            raise broken(path, "idx", f"its header asks for {shape}, more than {MOST_BYTES >> 30} GiB")
        content = stream.read(expected)
        if len(content) != expected or stream.read(1):
            kind = "fewer" if len(content) < expected else "more"
            raise broken(path, "idx", f"its header promises {' x '.join(map(str, shape))} bytes, it holds {kind}")
    return np.frombuffer(content, np.uint8).reshape(shape)
