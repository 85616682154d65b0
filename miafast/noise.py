"""Gaussian noise that belongs to a record, whatever batch it is asked in; and noisy copies of inputs."""

from __future__ import annotations

import math
import zlib

import numpy as np

from miafast.ops.dispatch import Array


def normals(seed: int, record: int, purpose: str, shape: tuple[int, ...]) -> Array:
    """Standard normal float32 numbers that are a function of (seed, record, purpose).

    >>> normals(0, 7, "example", (2,)).dtype
    dtype('float32')
    """
    key = np.random.SeedSequence([seed, record, zlib.crc32(purpose.encode())])
    return np.random.Generator(np.random.Philox(key)).standard_normal(shape, dtype=np.float32)


def noisy_inputs(x: Array, *, copies: int, sigma: float, seed: int, first: int) -> Array:
    """Copies of inputs with Gaussian noise added: float32 [batch, copies, ...].

    Args:
        x: [batch, ...] inputs as models see them; they are records first, first + 1, …
        copies: how many of each, at least 1. More copies begin with the same ones.
        sigma: the noise's standard deviation, positive.
        seed: of all noise; not negative.
        first: the number of the first record: a record has the same noise in every batch.

    Raises:
        ValueError: a number out of range.

    Source: Jayaraman et al. 2021, "Revisiting membership inference under realistic assumptions" (Merlin);
    Choquette-Choo et al. 2021, "Label-only membership inference attacks".

    >>> x = np.zeros((4, 3), np.float32)
    >>> together = noisy_inputs(x, copies=2, sigma=0.1, seed=0, first=10)
    >>> alone = noisy_inputs(x[2:3], copies=2, sigma=0.1, seed=0, first=12)
    >>> together.shape, bool((together[2] == alone[0]).all())
    ((4, 2, 3), True)
    """
    if copies < 1:
        raise ValueError(f"copies={copies}; give a whole number of noisy copies, at least 1.")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma={sigma}; give the noise's standard deviation, a positive number.")
    if seed < 0 or first < 0:
        raise ValueError(f"seed={seed}, first={first}; give whole numbers >= 0.")
    noisy = np.empty((len(x), copies, *x.shape[1:]), np.float32)
    for row, record in enumerate(x):
        drawn = normals(seed, first + row, "noisy copies", (copies, *x.shape[1:]))
        noisy[row] = record + np.float32(sigma) * drawn
    return noisy
