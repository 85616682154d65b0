"""Made-up records for `--smoke`, which needs no data."""

from __future__ import annotations

import numpy as np

from miafast.tables import Records


def images(records: int) -> Records:
    """Noise in the shape of CIFAR-10."""
    random = np.random.default_rng(0)
    x = random.integers(256, size=(records, 3, 32, 32), dtype=np.uint8)
    return Records(x, random.integers(10, size=records), classes=10, name="noise")
