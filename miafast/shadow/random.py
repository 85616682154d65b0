"""Randomness that depends on (seed, model, step) alone: named Philox streams and one 32-bit counter hash.

A stream is asked for by name, so drawing more from one (say the batch order) never moves another. The hash makes
dropout masks: the same bits in NumPy, in PyTorch and in C++, whatever else is computed beside them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from miafast.tables import Array


def stream(seed: int, model: int, purpose: str) -> np.random.Philox:
    """The counter-based bit generator of one model and purpose."""
    return np.random.Philox(np.random.SeedSequence([seed, model, zlib.crc32(purpose.encode())]))


def uniform(bits: np.random.Philox, size: int) -> Array:
    """``size`` float64 values uniform in [0, 1), from the 53 upper bits of raw draws (no library version matters)."""
    draws: Array = (bits.random_raw(size) >> np.uint64(11)) * 2.0**-53
    return draws


def permutation(bits: np.random.Philox, size: int) -> Array:
    """A uniformly random order of 0 … size - 1, int64: the ranks of 64-bit draws."""
    order: Array = np.argsort(bits.random_raw(size))
    return order


def integer(seed: int, model: int, purpose: str) -> int:
    """One number below 2^31, to seed a generator that is not ours."""
    return int(stream(seed, model, purpose).random_raw()) >> 33


def dropout_bases(seed: int, models: Sequence[int]) -> Array:
    """The uint32 dropout keys [models] that models start from."""
    return np.array([integer(seed, model, "dropout") for model in models], np.uint32)
