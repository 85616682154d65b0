"""RMIA's pairwise test: the share of population records that a record dominates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from miafast.ops.dispatch import Array, Outline, as_float, op, result_dtype
from miafast.ops.lira import check_floating

#: Pairs that the matrix holds at once.
_BLOCK = 1 << 22


def check_gamma(gamma: Any) -> None:
    """Raises ValueError unless gamma is a positive number."""
    if isinstance(gamma, bool) or not isinstance(gamma, (int, float)) or not 0 < gamma < math.inf:
        raise ValueError(f"gamma={gamma!r}; give a positive number, 1.0 or a little more.")


def _contract(log_ratio_x: Array, log_ratio_z: Array, *, gamma: float = 1.0, columns: Any = None) -> None:
    check_gamma(gamma)
    check_floating("log_ratio_x", log_ratio_x)
    check_floating("log_ratio_z", log_ratio_z)
    if log_ratio_x.ndim < 2 or log_ratio_x.shape[-1] == 0:
        raise ValueError(f"log_ratio_x has shape {log_ratio_x.shape}; give [..., records, queries] with a query.")
    if log_ratio_z.ndim < 1 or log_ratio_z.shape[:-1] != log_ratio_x.shape[:-2] or log_ratio_z.shape[-1] == 0:
        raise ValueError(
            f"log_ratio_z has shape {log_ratio_z.shape}; give [..., population] with at least one record and the "
            f"leading axes of log_ratio_x, {log_ratio_x.shape[:-2]}."
        )
    if columns is not None:
        check_columns(columns, records=log_ratio_x.shape[-2], population=log_ratio_z.shape[-1])


def check_columns(columns: Any, *, records: int, population: int) -> None:
    """Raises ValueError unless columns [population] names records, each once; on a device values are not looked at."""
    if not hasattr(columns, "shape") or tuple(columns.shape) != (population,):
        got = f"shape {tuple(columns.shape)}" if hasattr(columns, "shape") else f"type {type(columns).__name__}"
        raise ValueError(f"columns has {got}; give an array of one index per population record, [{population}].")
    if isinstance(columns, Outline):
        return
    host = np.asarray(columns)
    if host.dtype.kind not in "iu" or (host < 0).any() or (host >= records).any():
        raise ValueError(f"columns holds what is no index of a record; give integers from 0 to {records - 1}.")
    if len(host) and np.bincount(host.astype(np.int64)).max() > 1:
        raise ValueError("columns names a record twice; give every record of the population once.")


@op(contract=_contract, on_host=("columns",))
def rmia(log_ratio_x: Array, log_ratio_z: Array, *, gamma: float = 1.0, columns: Any = None) -> Array:
    """Score = Pr over z [ratio_x / ratio_z >= gamma], as log ratio_x - log ratio_z >= log gamma in float64.

    With several queries a pair counts if more than half of the record's queries say so. Twins sort the population once
    and search it with this very comparison, which only turns from true to false as ratio_z grows, rounded or not: their
    counts are those of the matrix, bit for bit.

    Args:
        log_ratio_x: [..., records, queries] log(p_target / mean p), floating.
        log_ratio_z: [..., population] the same of the population.
        gamma: how many times larger the ratio must be; positive.
        columns: [population] integers: population record j is record columns[j], and not compared with itself. None:
            the population is other records.

    Returns:
        shares [..., records] in [0, 1], float64 if a ratio is float64, else float32. A NaN in the population does not
        count; a record with a NaN, or with nothing to be compared with, is NaN.

    Raises:
        ValueError: shapes, dtypes, gamma or columns that do not fit. On a device,
            where columns are not looked at, one that names no record is of nobody.

    Source: Zarifzadeh et al. 2024, "Low-cost high-power membership inference attacks", equation 2 and section 3.

    >>> rmia(np.log([[3.0], [1.0]]), np.log([0.5, 2.0, 4.0, 3.0]))  # 3 is at least 0.5, 2, 3; 1 is at least 0.5
    array([0.75, 0.25])
    >>> rmia(np.log([[3.0], [1.0]]), np.log([3.0, 1.0]), columns=np.array([0, 1]))  # each against the other alone
    array([1., 0.])
    """
    x, z, least = as_float(log_ratio_x), as_float(log_ratio_z), math.log(gamma)
    where = None if columns is None else own_places(columns, x.shape[-2])
    shares = np.empty(x.shape[:-1])
    for lead in np.ndindex(x.shape[:-2]):
        shares[lead] = _shares(x[lead], z[lead], least, where)
    return shares.astype(result_dtype(log_ratio_x, log_ratio_z))


def own_places(columns: Any, records: int) -> Array:
    """Where each record stands in the population: int64 [records], -1 for nowhere."""
    where = np.full(records, -1, np.int64)
    where[np.asarray(columns)] = np.arange(len(columns))
    return where


def _shares(x: Array, z: Array, least: float, where: Array | None) -> Array:
    """[records] shares from the whole matrix of pairs, some rows at a time."""
    records, queries = x.shape
    wins, against = np.empty(records), np.full(records, np.count_nonzero(~np.isnan(z)))
    step = max(1, _BLOCK // (z.size * queries))
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, records, step):
            rows = slice(start, min(start + step, records))
            says = x[rows, None, :] - z[:, None] >= least
            dominates = 2 * np.count_nonzero(says, axis=2) > queries
            if where is not None:
                inside = np.flatnonzero(where[rows] >= 0)
                dominates[inside, where[rows][inside]] = False
            wins[rows] = np.count_nonzero(dominates, axis=1)
    if where is not None:
        against -= (where >= 0) & ~np.isnan(z[where])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(np.isnan(x).any(axis=1), np.nan, wins / against))
