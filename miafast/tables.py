"""The tables that flow through an audit: Records and Signals (roc.py and report/ hold the later two). Frozen."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from miafast.ops.dispatch import Array as Array


@dataclass(frozen=True, eq=False)
class Records:
    """The (input, label) pairs asked about. Models see ``x * scale + shift`` as float32.

    Images are channels-first: [records, channels, height, width]; tables are [records, features].

    Raises ValueError when lengths differ, a label is not an integer in [0, classes), an input is not finite (or not in
    float32), `class_names` is not one name per class, or `scale` and `shift` are not usable numbers.

    >>> import numpy as np
    >>> records = Records(np.zeros((4, 2), np.float32), np.array([0, 1, 1, 0]), classes=2)
    >>> len(records), records.shape
    (4, (2,))
    """

    x: Array  # [records, ...] bool, integer or floating
    y: Array  # [records] int64
    classes: int
    name: str = "records"
    scale: float = 1.0
    shift: float = 0.0
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        x, y = np.asarray(self.x), np.asarray(self.y)
        if x.ndim < 2 or x.size == 0:
            raise ValueError(f"x has shape {x.shape}; give [records, ...] with at least one record and one feature.")
        if x.dtype.kind not in "biuf":
            raise ValueError(f"x has dtype {x.dtype}; give numbers (encode categories first).")
        if y.shape != (len(x),):
            raise ValueError(f"y has shape {y.shape} for {len(x)} records in x; give one label per record.")
        if y.dtype.kind not in "biu" and not (
            y.dtype.kind == "f" and np.all(y == np.floor(y)) and np.isfinite(y).all()
        ):
            raise ValueError(f"y has dtype {y.dtype} and is not whole numbers; give class indices 0 … classes - 1.")
        if self.classes < 2:
            raise ValueError(f"classes={self.classes}; a classifier needs at least 2.")
        if y.min() < 0 or y.max() >= self.classes:
            raise ValueError(f"y holds labels {y.min()} … {y.max()}; they must lie in [0, classes={self.classes}).")
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise ValueError(f"class_names has {len(self.class_names)} names, classes={self.classes}; give one each.")
        if not (math.isfinite(self.scale) and math.isfinite(self.shift) and self.scale != 0):
            raise ValueError(f"scale={self.scale}, shift={self.shift}; both must be finite and scale not 0.")
        refuse_what_float32_cannot_hold(x)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y.astype(np.int64))
        if self.class_names is not None:
            object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.x.shape[1:])

    def inputs(self, which: Any = slice(None)) -> Array:
        """What a model is fed for these records: float32 [len(which), ...]."""
        x: Array = self.x[which].astype(np.float32)
        if self.scale != 1.0 or self.shift != 0.0:
            x = x * np.float32(self.scale) + np.float32(self.shift)
        return x

    def only(self, which: Any) -> Records:
        """The records that ``which``, a bool mask, indices or a slice, chooses.

        >>> import numpy as np
        >>> Records(np.zeros((4, 2)), np.array([0, 1, 1, 0]), classes=2).only(slice(1, 3)).y
        array([1, 1])
        """
        return replace(self, x=self.x[which], y=self.y[which])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over what models see: inputs, labels, classes, scaling."""
        digest = hashlib.sha256(f"{self.x.dtype}{self.x.shape}{self.classes}{self.scale}{self.shift}".encode())
        digest.update(np.ascontiguousarray(self.x).data)
        digest.update(np.ascontiguousarray(self.y).data)
        return digest.hexdigest()


def refuse_what_float32_cannot_hold(x: Array) -> None:
    """Raise ValueError for NaN, infinity, or a number beyond float32 in x [records, ...], naming the first."""
    largest = np.finfo(np.float32).max
    if x.dtype.kind != "f" or (-largest <= x.min() and x.max() <= largest):  # NaN fails both
        return
    first = np.unravel_index(int(np.argmax(~(np.abs(x) <= largest))), x.shape)
    where = f"record {first[0]}, feature {', '.join(str(each) for each in first[1:])} (both counted from 0)"
    raise ValueError(f"x holds {x[first]} in {where}; models see finite float32: fill in, rescale or drop them.")


@dataclass(frozen=True, eq=False)
class Signals:
    """What was measured on every model: all that an attack may see.

    With ``has_target`` the last model is the user's target and the others are its shadows; its `in_mask` row says who
    is a member. Otherwise every model is the target in turn.

    >>> import numpy as np
    >>> signals = Signals(phi=np.zeros((2, 3, 1)), in_mask=np.eye(2, 3, dtype=bool), labels=np.array([0, 1, 0]))
    >>> signals.models, signals.records, signals.queries
    (2, 3, 1)
    """

    phi: Array  # [models, records, queries] float32
    in_mask: Array  # [models, records] bool
    labels: Array  # [records] int64
    has_target: bool = False
    arrays: Mapping[str, Array] = field(default_factory=dict)  # further signals by name, same axes as phi
    train_accuracy: Array | None = None  # [models] share of IN records whose label the model predicts
    test_accuracy: Array | None = None  # [models] the same for OUT records
    identity: Mapping[str, Any] = field(default_factory=dict)  # fingerprints of records and recipe, seed, queries

    def named(self, name: str) -> Array:
        """The signal of this name, [models, records, ...]. Raises ValueError for one that was not measured."""
        if name != "phi" and name not in self.arrays:
            raise ValueError(f"signal {name!r} was not measured ({', '.join(['phi', *self.arrays])} were); audit anew.")
        return self.phi if name == "phi" else self.arrays[name]

    def of(self, records: Array) -> Signals:
        """The signals of these records alone, by index or by bool mask, in the given order."""
        arrays = {name: each[:, records] for name, each in self.arrays.items()}
        return replace(
            self, phi=self.phi[:, records], in_mask=self.in_mask[:, records], labels=self.labels[records], arrays=arrays
        )

    @property
    def models(self) -> int:
        return int(self.phi.shape[0])

    @property
    def records(self) -> int:
        return int(self.phi.shape[1])

    @property
    def queries(self) -> int:
        return int(self.phi.shape[2])
