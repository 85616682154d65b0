"""Records of noise, and training that leaks as much of its own as it is told to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import miafast as mf

N, CLASSES = 300, 4
X = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)
RECORDS = mf.Records(X, np.arange(N) % CLASSES, classes=CLASSES, name="toy")
Model = Callable[[np.ndarray], np.ndarray]


def train_leaky(bump: float) -> Callable[[mf.Records, np.ndarray, int], Model]:
    """A train function whose models answer noise, plus ``bump`` for the label of every record they saw."""

    def train(records: mf.Records, in_indices: np.ndarray, seed: int) -> Model:
        noise = np.random.default_rng(seed).normal(size=(len(records), records.classes))
        noise[in_indices, records.y[in_indices]] += bump
        index = {x.tobytes(): number for number, x in enumerate(records.inputs())}
        return lambda x: noise[[index[row.tobytes()] for row in np.asarray(x)]]

    return train
