"""Output defences: functions from a model's logits to the logits that an attacker can read from its answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from miafast.defenses.number import check_number
from miafast.tables import Array

#: How an attacker reads an answer that is only a label: probability 0.999 for it, so phi = ±log(999) of two classes.
LABEL_CONFIDENCE = 0.999
#: Disturbed confidences are kept above this, so that phi stays finite.
SMALLEST_CONFIDENCE = 1e-4
#: The predicted class is raised by this share over classes that rounding makes equal: answers keep their label.
TIE_BREAK = 1e-5


@dataclass(frozen=True)
class TopK:
    """Only the ``k`` likeliest classes are answered with their confidence (Shokri et al. 2017, section VIII).

    The hidden classes are read as sharing what is left evenly, which is all that an attacker knows of them.

    >>> TopK(1)(np.log(np.array([0.6, 0.3, 0.1]))).round(3)
    array([-0.511, -1.609, -1.609])
    """

    k: int

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"k={self.k!r}; give the number of classes to answer, a whole number >= 1.")

    @property
    def name(self) -> str:
        return f"top-k:{self.k}"

    def __call__(self, logits: Array) -> Array:
        """Logits [..., classes] as they can be read from the answer; float64 stays, all else becomes float32."""
        z = np.asarray(logits, np.float64)
        classes = z.shape[-1]
        if self.k >= classes:
            return _as(logits, z)
        order = np.argsort(-z, axis=-1, kind="stable")
        shared = _logsumexp(np.take_along_axis(z, order[..., self.k :], -1)) - math.log(classes - self.k)
        out = np.broadcast_to(shared, z.shape).copy()
        shown = order[..., : self.k]
        np.put_along_axis(out, shown, np.take_along_axis(z, shown, -1), -1)
        return _as(logits, out)


@dataclass(frozen=True)
class LabelOnly:
    """Only the predicted label is answered (Shokri et al. 2017, section VIII: k = 1 without its confidence).

    The answer is read as probability 0.999 for the label and the rest shared evenly: phi is log 999 = 6.9 where the
    model is right and about -6.9 - log(classes - 1) where it is wrong, never infinite.

    It hides how sure a model is, not whether it is right: see `note`.

    >>> LabelOnly()(np.array([0.1, 0.3])).round(3)
    array([0.   , 6.907])
    """

    #: What a table of defences says beside its numbers.
    note: ClassVar[str] = (
        'label-only hides how sure a model is, not whether it is right. The loss attack falls to guessing "member" '
        "where the answer is right. LiRA's shadows tell more: on records that models get right only when trained on "
        "them, a right answer is nearly proof."
    )

    @property
    def name(self) -> str:
        return "label-only"

    def __call__(self, logits: Array) -> Array:
        """Logits [..., classes] as they can be read from the answer."""
        z = np.asarray(logits)
        certain = math.log(LABEL_CONFIDENCE / (1 - LABEL_CONFIDENCE)) + math.log(max(z.shape[-1] - 1, 1))
        return _as(logits, certain * (np.arange(z.shape[-1]) == z.argmax(axis=-1)[..., None]))


@dataclass(frozen=True)
class Rounding:
    """Confidences are rounded to ``digits`` decimals (Shokri et al. 2017, section VIII).

    A confidence printed as 0 is read as a quarter of the last place, 10^-digits / 4. Where rounding makes the
    predicted class equal to another it stays the predicted one.

    >>> Rounding(1)(np.log(np.array([0.76, 0.23, 0.01]))).round(2)
    array([-0.22, -1.61, -3.69])
    """

    digits: int

    def __post_init__(self) -> None:
        if isinstance(self.digits, bool) or not isinstance(self.digits, int) or not 1 <= self.digits <= 7:
            raise ValueError(f"digits={self.digits!r}; give a whole number of decimals, 1 … 7.")

    @property
    def name(self) -> str:
        return f"rounding:{self.digits}"

    def __call__(self, logits: Array) -> Array:
        """Logits [..., classes] as they can be read from the answer."""
        p = np.round(_softmax(logits), self.digits)
        p[p == 0] = 10.0**-self.digits / 4
        is_top = np.arange(p.shape[-1]) == np.asarray(logits).argmax(axis=-1)[..., None]
        return _as(logits, np.log(p * (1 + TIE_BREAK * is_top)))


@dataclass(frozen=True)
class Temperature:
    """Logits are divided by ``temperature`` > 1 before the softmax (Shokri et al. 2017, section VIII).

    >>> Temperature(5)(np.array([10.0, 0.0]))
    array([2., 0.])
    """

    temperature: float

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, low=0.0, high=math.inf)

    @property
    def name(self) -> str:
        return f"temperature:{self.temperature:g}"

    def __call__(self, logits: Array) -> Array:
        """Logits [..., classes] as they can be read from the answer."""
        return _as(logits, np.asarray(logits, np.float64) / self.temperature)


@dataclass(frozen=True)
class ConfidenceNoise:
    """Gaussian noise of standard deviation ``sigma`` is added to every confidence, then clipped to [0.0001, 1].

    The noise is a function of (seed, the logits): the same question to the same model gets the same answer, so that
    asking again does not average it away, and another model's noise is another. The predicted label may change.

    >>> noisy = ConfidenceNoise(0.1)(np.zeros((2, 3)))
    >>> bool(np.isfinite(noisy).all()), bool((noisy[0] == noisy[1]).all())
    (True, True)
    """

    sigma: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("sigma", self.sigma, low=0.0, high=math.inf)

    @property
    def name(self) -> str:
        return f"noise:{self.sigma:g}"

    def __call__(self, logits: Array) -> Array:
        """Logits [..., classes] as they can be read from the answer."""
        p = _softmax(logits) + self.sigma * _normal(np.asarray(logits, np.float32), self.seed)
        return _as(logits, np.log(np.clip(p, SMALLEST_CONFIDENCE, 1.0)))


def _as(given: Array, computed: Array) -> Array:
    kept: Array = computed.astype(np.float64 if np.asarray(given).dtype == np.float64 else np.float32)
    return kept


def _logsumexp(z: Array) -> Array:
    largest = z.max(axis=-1, keepdims=True)
    total: Array = largest + np.log(np.exp(z - largest).sum(axis=-1, keepdims=True))
    return total


def _softmax(logits: Array) -> Array:
    z = np.asarray(logits, np.float64)
    p: Array = np.exp(z - _logsumexp(z))
    return p


def _normal(logits: Array, seed: int) -> Array:
    """Standard normal draws of the logits' shape, each a hash of (seed, all logits of its answer, class)."""
    bits = np.ascontiguousarray(logits).view(np.uint32).astype(np.uint64)
    key = np.full(logits.shape[:-1], _mix(np.array(seed, np.uint64)))
    for each in range(logits.shape[-1]):
        key = _mix(key ^ bits[..., each])
    counter = key[..., None] + np.arange(1, logits.shape[-1] + 1, dtype=np.uint64)
    first, second = ((_mix(counter ^ np.uint64(salt)) >> np.uint64(11)) * 2.0**-53 for salt in (0xA5A5A5A5, 0x5A5A5A5A))
    draws: Array = np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)  # Box & Muller 1958
    return draws


def _mix(values: Array) -> Array:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014): every bit in changes half of the bits out."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = values ^ (values >> np.uint64(31))
    return mixed
