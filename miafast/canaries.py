"""Canaries: records made to be noticed, and by which an audit notices whether they were in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from miafast.tables import Array, Records

#: What canaries can be made of.
KINDS = ("mislabelled", "blank", "random")


def make_canaries(records: Records, count: int = 1, *, kind: str = "random", seed: int = 0) -> Records:
    """``count`` canaries of the records' shape, type and classes.

    kind: "mislabelled" (records of the pool, every one another, with another label), "blank" (one value everywhere,
        a value of its own for each; the smallest for a single one) or "random" (every value drawn between the
        smallest and the largest of the pool); blank and random ones have random labels.

    Raises ValueError for an unknown kind, and for more mislabelled canaries than records.

    >>> pool = Records(np.arange(12, dtype=np.uint8).reshape(6, 2), np.array([0, 1, 0, 1, 0, 1]), classes=2)
    >>> make_canaries(pool, 2, kind="blank").x.tolist()
    [[0, 0], [11, 11]]
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is not known; choose one of {', '.join(KINDS)}.")
    if count < 1 or (kind == "mislabelled" and count > len(records)):
        raise ValueError(f"count={count} canaries of {len(records)} records; give at least 1 and at most as many.")
    random = np.random.Generator(np.random.Philox([seed, KINDS.index(kind)]))
    labels = random.integers(records.classes, size=count)
    if kind == "mislabelled":
        which = random.permutation(len(records))[:count]
        x = records.x[which]
        labels = (records.y[which] + random.integers(1, records.classes, size=count)) % records.classes
    else:
        low, high = records.x.min(), records.x.max()
        shares = _spread(count, x=records.x) if kind == "blank" else random.random((count, *records.shape))
        x = (float(low) + shares * (float(high) - float(low))).astype(records.x.dtype)
    return replace(records, x=x, y=labels, name=f"{kind} canaries")


def joined(records: Records, others: Records) -> Records:
    """The pool with others, such as canaries, behind it."""
    x, y = np.concatenate([records.x, others.x]), np.concatenate([records.y, others.y])
    return replace(records, x=x, y=y)


def _spread(count: int, *, x: Array) -> Array:
    """Shares 0 … 1 of the range, one per canary, over the shape of an input."""
    shares = np.linspace(0.0, 1.0, count) if count > 1 else np.zeros(1)
    return np.broadcast_to(shares.reshape(-1, *(1,) * (x.ndim - 1)), (count, *x.shape[1:]))
