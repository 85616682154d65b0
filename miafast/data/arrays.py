"""Records from arrays: the rules on inputs, the same whatever the file they came from."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from miafast.data.labels import class_indices
from miafast.tables import Array, Records, refuse_what_float32_cannot_hold

#: How bytes of an image become a model's input: x / 63.75 - 2 = (x / 255 - 0.5) / 0.25, which lies in [-2, 2].
IMAGE_SCALE, IMAGE_SHIFT = 1 / 63.75, -2.0

#: A feature beyond this makes most recipes diverge, so nobody should meet it unwarned.
WIDE = 100.0


def from_arrays(
    x: Any,
    y: Any,
    *,
    classes: int | None = None,
    class_names: Sequence[str] | None = None,
    standardise: bool | None = None,
    scale: float | None = None,
    shift: float | None = None,
    name: str = "records",
) -> Records:
    """Records from inputs and labels in memory (NumPy, CPU tensors, lists).

    Labels `y` [records]: see below. Inputs `x`:

    - tables [records, features]: bool, integer or floating. Only 0 and 1 in them: kept as uint8. Otherwise float32.
    - images [records, height, width], [records, channels, height, width] or [records, height, width, channels]: stored
      channels-first. Channels come last if the last axis has length 1 or 3 and the second has not.
      Whole numbers 0 … 255 are kept as uint8 and models see x / 63.75 - 2, in [-2, 2]; floating images are seen as they
      are; images of 0 and 1 only are seen as 0 and 1. `scale` and `shift` replace these: models see x * scale + shift.
    - more axes: kept in their order, numbers as for images.

    `standardise=True` (tables only) gives every column mean 0 and standard deviation 1 over all records, members and
    non-members alike; columns of 0 and 1 stay, constant columns become 0. The default leaves columns as they are, which
    is what a model of your own expects, and warns if a value lies beyond ±100; False does so without a word.

    Labels: whole numbers, text or one-hot rows. Whole numbers that are not 0 … k - 1 (1 … 30, say) are renumbered in
    ascending order with a warning, `class_names` keeping the originals, unless `classes` says that they are indices.

    Raises ValueError for fewer than 2 records, lengths that differ, NaN or infinity, objects, and labels that are
    fractional, negative, out of range or all the same.

    >>> import numpy as np
    >>> from_arrays(np.zeros((4, 8, 8, 3), np.uint8) + np.uint8(255), [0, 1, 1, 0]).inputs().max()
    np.float32(2.0)
    """
    inputs = _numbers(x)
    if len(inputs) < 2:
        raise ValueError("x has 1 record; an audit needs members and non-members: give at least 2, better thousands.")
    indices, classes, names = class_indices(y, classes=classes, class_names=class_names)
    if len(inputs) != len(indices):
        raise ValueError(f"x has {len(inputs)} records and y {len(indices)} labels; give one label per record.")
    if standardise and inputs.ndim != 2:
        raise ValueError(f"standardise=True is for tables; x has shape {inputs.shape}: give scale= and shift= instead.")
    stored, default_scale, default_shift = _stored(_channels_first(inputs), standardise=bool(standardise))
    records = Records(
        stored,
        indices,
        classes,
        name=name,
        scale=default_scale if scale is None else float(scale),
        shift=default_shift if shift is None else float(shift),
        class_names=names,
    )
    if standardise is None:
        _warn_of_wide(records)
    return records


def standardised(x: Array) -> Array:
    """Columns with mean 0 and standard deviation 1, computed in float64; 0/1 columns kept, constant ones 0; float32."""
    result = np.empty(x.shape, np.float32)
    for column in range(x.shape[1]):
        values = x[:, column].astype(np.float64)
        if not ((values == 0) | (values == 1)).all():
            spread = values.std()
            values = (values - values.mean()) / spread if values.min() < values.max() and spread > 0 else values * 0
        result[:, column] = values
    return result


def _numbers(x: Any) -> Array:
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError("x is a masked array; fill in or drop the masked values first.")
    try:
        inputs = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"x is ragged ({error}); give inputs of one shape.") from error
    if inputs.dtype.kind not in "biuf":
        raise ValueError(f"x has dtype {inputs.dtype}; give numbers: encode text, or load it from CSV or Parquet.")
    if inputs.ndim < 2 or inputs.size == 0:
        raise ValueError(f"x has shape {inputs.shape}; give [records, ...] with at least one record and one feature.")
    return inputs


def _channels_first(x: Array) -> Array:
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        return np.ascontiguousarray(np.moveaxis(x, -1, 1))
    return x


def _stored(x: Array, *, standardise: bool) -> tuple[Array, float, float]:
    """What to keep, and the scale and shift that models apply to it."""
    refuse_what_float32_cannot_hold(x)
    if _only_0_and_1(x):
        return x.astype(np.uint8, copy=False), 1.0, 0.0
    if x.ndim == 2:
        return (standardised(x) if standardise else x.astype(np.float32, copy=False)), 1.0, 0.0
    if x.dtype.kind in "iu" and (x.dtype == np.uint8 or (x.min() >= 0 and x.max() <= 255)):
        return x.astype(np.uint8, copy=False), IMAGE_SCALE, IMAGE_SHIFT
    return x.astype(np.float32, copy=False), 1.0, 0.0


def _only_0_and_1(x: Array) -> bool:
    if x.dtype == np.bool_:
        return True
    head = x[:64]
    if not ((head == 0) | (head == 1)).all():  # nearly always settles it
        return False
    return bool(x.max() <= 1 and x.min() >= 0 and (x.dtype.kind != "f" or ((x == 0) | (x == 1)).all()))


def _warn_of_wide(records: Records) -> None:
    if records.x.dtype == np.uint8 and records.scale != 1.0:
        return
    lowest, highest = (float(each) * records.scale + records.shift for each in (records.x.min(), records.x.max()))
    if max(abs(lowest), abs(highest)) > WIDE:
        way_out = "standardise=True, or False to keep them" if records.x.ndim == 2 else "scale= and shift="
        warnings.warn(
            f"{records.name} feeds models values from {lowest:g} to {highest:g}; most recipes train badly on that: "
            f"pass {way_out}.",
            stacklevel=3,
        )
