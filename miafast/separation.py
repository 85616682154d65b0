"""How far apart a record's signals lie under models trained with it and without it: what LiRA has to work with."""

from __future__ import annotations

import numpy as np

from miafast.tables import Array, Signals

#: Records looked at at once.
BLOCK = 65_536


def separation(signals: Signals, *, models: range) -> tuple[Array, Array]:
    """d' of every record over these models, and d' with each record's variance averaged with the typical one.

    The second is for ranking: with few models the plain d' puts first the records whose spread came out small by luck.
    NaN where a record has fewer than two models on a side. Several queries are averaged.
    """
    gap, variance = (np.full(signals.records, np.nan) for _ in range(2))
    rows = slice(models.start, models.stop)
    for start in range(0, signals.records, BLOCK):
        block = slice(start, start + BLOCK)
        phi = np.asarray(signals.phi[rows, block], dtype=np.float64).mean(axis=2)
        is_in = np.asarray(signals.in_mask[rows, block])
        count_in = is_in.sum(axis=0)
        count_out = len(models) - count_in
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_in = np.where(is_in, phi, 0).sum(axis=0) / count_in
            mean_out = np.where(is_in, 0, phi).sum(axis=0) / count_out
            squares = np.square(phi - np.where(is_in, mean_in, mean_out)).sum(axis=0)
            gap[block] = mean_in - mean_out
            enough = np.minimum(count_in, count_out) >= 2
            variance[block] = np.where(enough, squares / (len(models) - 2), np.nan)
    measured = np.isfinite(gap) & np.isfinite(variance)
    typical = np.median(variance[measured]) if measured.any() else np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return gap / np.sqrt(variance), gap / np.sqrt((variance + typical) / 2)
