"""The share of a population that the target has a higher loss on than on the record."""

from __future__ import annotations

from typing import Any

import numpy as np

from miafast.ops.dispatch import Array, as_float, op, result_dtype
from miafast.ops.lira import check_floating
from miafast.ops.rmia import check_columns


def _contract(phi: Array, population: Array, *, columns: Any = None) -> None:
    check_floating("phi", phi)
    check_floating("population", population)
    if phi.ndim < 2 or phi.shape[-1] == 0:
        raise ValueError(f"phi has shape {phi.shape}; give [..., records, queries] with at least one query.")
    if population.ndim != phi.ndim - 1 or population.shape[:-1] != phi.shape[:-2] or population.shape[-1] == 0:
        raise ValueError(
            f"population has shape {population.shape}; give [..., population] with at least one record and the leading "
            f"axes of phi, {phi.shape[:-2]}."
        )
    if columns is not None:
        check_columns(columns, records=phi.shape[-2], population=population.shape[-1])


@op(contract=_contract, on_host=("columns",))
def population_share(phi: Array, population: Array, *, columns: Any = None) -> Array:
    """How many of the population have a lower phi (a higher loss) under the same model: ties count half.

    Args:
        phi: [..., records, queries], floating; the shares of several queries are averaged.
        population: phi [..., population], one query.
        columns: [population] integers: population record j is record columns[j], and not compared with itself.

    Returns:
        shares [..., records] in [0, 1], float64 for float64 signals, else float32. NaN where a signal of the record or
        of the population is not finite, or a record has nobody to be compared with.

    Raises:
        ValueError: shapes, dtypes or columns that do not fit; of columns on a device as `rmia`.

    Source: Ye et al. 2022, "Enhanced membership inference attacks against machine learning models" (Attack-P).

    >>> population_share(np.array([[1.0], [3.0]]), np.array([0.0, 1.0, 2.0, 4.0]))
    array([0.375, 0.75 ])
    """
    values, against = as_float(phi), as_float(population)
    records, queries = values.shape[-2:]
    itself = np.zeros(records, bool)
    if columns is not None:
        itself[np.asarray(columns)] = True
    flat, others = values.reshape(-1, records, queries), np.sort(against.reshape(-1, against.shape[-1]), axis=1)
    own = np.full((len(flat), records), np.nan)
    if columns is not None:
        own[:, np.asarray(columns)] = against.reshape(len(flat), -1)
    shares = np.empty(flat.shape[:2])
    count = others.shape[1] - itself
    with np.errstate(invalid="ignore", divide="ignore"):
        for model, (row, sorted_row, alike) in enumerate(zip(flat, others, own, strict=True)):
            below = (np.searchsorted(sorted_row, row, "left") + np.searchsorted(sorted_row, row, "right")) / 2
            mine = itself[:, None] * ((alike[:, None] < row) + (alike[:, None] == row) / 2)
            broken = ~np.isfinite(row) | ~np.isfinite(sorted_row[[0, -1]]).all()
            shares[model] = np.where(broken, np.nan, (below - mine) / count[:, None]).mean(axis=1)
    return shares.reshape(values.shape[:-1]).astype(result_dtype(phi, population))
