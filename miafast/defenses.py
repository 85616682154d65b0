"""Defences: what a service does to its answers, and what a trainer does against memorising.

An output defence is a function of logits that stands before everything that is measured, on the target and on every
shadow model alike: the attacker knows the defence. A training defence changes the `Recipe` that shadows train with.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from miafast.shadow import Recipe
from miafast.tables import Array

TrainFunction = Callable[[Any, Array, int], Any]  # (records, in_indices, seed) -> model

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

    >>> LabelOnly()(np.array([0.1, 0.3])).round(3)
    array([0.   , 6.907])
    """

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
        _check("temperature", self.temperature, low=0.0, high=math.inf)

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
        _check("sigma", self.sigma, low=0.0, high=math.inf)

    @property
    def name(self) -> str:
        return f"noise:{self.sigma:g}"

    def __call__(self, logits: Array) -> Array:
        """Logits [..., classes] as they can be read from the answer."""
        p = _softmax(logits) + self.sigma * _normal(np.asarray(logits, np.float32), self.seed)
        return _as(logits, np.log(np.clip(p, SMALLEST_CONFIDENCE, 1.0)))


@dataclass(frozen=True)
class L2:
    """Training with an L2 penalty: the recipe's ``weight_decay`` (Shokri et al. 2017, section VIII).

    >>> L2(1e-3).recipe(Recipe()).weight_decay
    0.001
    """

    weight_decay: float

    def __post_init__(self) -> None:
        _check("weight_decay", self.weight_decay, low=0.0, high=math.inf)

    @property
    def name(self) -> str:
        return f"l2:{self.weight_decay:g}"

    def recipe(self, recipe: Recipe) -> Recipe:
        return replace(recipe, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Dropout:
    """Training with dropout after every hidden layer (Leino & Fredrikson 2020, section 6).

    >>> Dropout(0.5).recipe(Recipe()).dropout
    0.5
    """

    share: float

    def __post_init__(self) -> None:
        _check("share", self.share, low=0.0, high=1.0)

    @property
    def name(self) -> str:
        return f"dropout:{self.share:g}"

    def recipe(self, recipe: Recipe) -> Recipe:
        return replace(recipe, dropout=self.share)


@dataclass(frozen=True)
class LabelSmoothing:
    """Training on labels mixed with a uniform ``share`` over all classes.

    >>> LabelSmoothing(0.1).recipe(Recipe()).label_smoothing
    0.1
    """

    share: float

    def __post_init__(self) -> None:
        _check("share", self.share, low=0.0, high=1.0)

    @property
    def name(self) -> str:
        return f"label-smoothing:{self.share:g}"

    def recipe(self, recipe: Recipe) -> Recipe:
        return replace(recipe, label_smoothing=self.share)


@dataclass(frozen=True)
class EarlyStopping:
    """Training stops when the loss on a held-out tenth of the members has not fallen for ``patience`` epochs.

    The weights are those of the best epoch, and the recipe's ``epochs`` are the most it may take. Records held out
    count as members: they decide when training ends. See `miafast.shadow.stopping`.

    >>> EarlyStopping(3).name
    'early-stopping:3'
    """

    patience: int = 5

    def __post_init__(self) -> None:
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 1:
            raise ValueError(f"patience={self.patience!r}; give a whole number of epochs >= 1.")

    @property
    def name(self) -> str:
        return f"early-stopping:{self.patience}"

    def recipe(self, recipe: Recipe) -> TrainFunction:
        from miafast.shadow.stopping import train_until_worse  # here, because it imports torch

        return functools.partial(train_until_worse, recipe=recipe, patience=self.patience)


@dataclass(frozen=True)
class DPSGD:
    """Differentially private SGD through Opacus: clipped per-record gradients with noise (Abadi et al. 2016).

    Every model is (``epsilon``, ``delta``)-private about adding or removing one record: the noise multiplier follows
    from its batches (Poisson samples of the recipe's expected size) and steps by Rényi accounting. Without a bound,
    ``epsilon=math.inf`` only clips. Batch normalisation becomes group normalisation. Needs ``pip install
    'miafast[dp]'``. See `miafast.shadow.private`.

    >>> DPSGD(8).name
    'dp-sgd:8'
    """

    epsilon: float
    delta: float = 1e-5
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.epsilon != math.inf:
            _check("epsilon", self.epsilon, low=0.0, high=math.inf)
        _check("delta", self.delta, low=0.0, high=1.0)
        _check("clip", self.clip, low=0.0, high=math.inf)

    @property
    def name(self) -> str:
        return f"dp-sgd:{self.epsilon:g}"

    def recipe(self, recipe: Recipe) -> TrainFunction:
        if importlib.util.find_spec("opacus") is None:
            raise ModuleNotFoundError("DP-SGD needs Opacus: pip install 'miafast[dp]'.", name="opacus")
        from miafast.shadow.private import train_privately  # here, because it imports torch

        return functools.partial(train_privately, recipe=recipe, epsilon=self.epsilon, delta=self.delta, clip=self.clip)


OutputDefense: TypeAlias = TopK | LabelOnly | Rounding | Temperature | ConfidenceNoise
TrainingDefense: TypeAlias = L2 | Dropout | LabelSmoothing | EarlyStopping | DPSGD
Defense: TypeAlias = OutputDefense | TrainingDefense

_NAMED: dict[str, tuple[type[Any], type[Any] | None]] = {
    "top-k": (TopK, int), "label-only": (LabelOnly, None), "rounding": (Rounding, int),
    "temperature": (Temperature, float), "noise": (ConfidenceNoise, float), "l2": (L2, float),
    "dropout": (Dropout, float), "label-smoothing": (LabelSmoothing, float), "early-stopping": (EarlyStopping, int),
    "dp-sgd": (DPSGD, float),
}  # fmt: skip


def as_defenses(defense: Defense | str | Sequence[Defense | str] | None) -> tuple[Defense, ...]:
    """Defences in the order in which they act, from objects or names like "top-k:3", "label-only" or "l2:0.001".

    Commas in a string stand between several. Anything with ``__call__(logits)`` or ``recipe(recipe)`` is a defence.

    Raises ValueError for a name or number that is not known, TypeError for what is no defence.

    >>> as_defenses("l2:0.001,top-k:3")
    (L2(weight_decay=0.001), TopK(k=3))
    """
    if defense is None:
        return ()
    if isinstance(defense, str):
        return tuple(_named(each.strip()) for each in defense.split(","))
    if isinstance(defense, Sequence):
        return tuple(found for each in defense for found in as_defenses(each))
    if inspect.isclass(defense) or not (callable(defense) or hasattr(defense, "recipe")):
        raise TypeError(f"defense={defense!r} is no defence; give one of miafast.defenses, such as TopK(3).")
    return (defense,)


def defended_recipe(recipe: Recipe | TrainFunction, defenses: Sequence[Defense]) -> Recipe | TrainFunction:
    """How a model is trained under these defences. Raises TypeError where there is no Recipe to change.

    >>> defended_recipe(Recipe(), (L2(0.01), TopK(3))).weight_decay
    0.01
    """
    for each in defenses:
        change = getattr(each, "recipe", None)
        if change is None:
            continue
        if not isinstance(recipe, Recipe):
            raise TypeError(
                f"defense={each!r} changes a miafast.Recipe, but training is a function here; put the defence into "
                "that function (of several, early-stopping and dp-sgd come last and exclude each other)."
            )
        recipe = change(recipe)
    return recipe


def answer_of(defenses: Sequence[Defense]) -> Callable[[Array], Array] | None:
    """What stands between a model's logits and what is seen of them; None where nothing does.

    >>> answer_of((L2(0.01),)) is None, answer_of((Temperature(2.0),))(np.array([4.0, 2.0]))
    (True, array([2., 1.]))
    """
    acting = [each for each in defenses if callable(each)]
    if not acting:
        return None
    return lambda logits: functools.reduce(lambda z, each: each(z), acting, logits)


def _named(text: str) -> Defense:
    name, colon, given = text.partition(":")
    if name not in _NAMED:
        raise ValueError(f"defense={text!r} is not known; choose one of {', '.join(_NAMED)}, as in top-k:3.")
    make, number = _NAMED[name]
    takes_one = number is not None
    if takes_one != bool(given) and not (name == "early-stopping" and not colon):
        wanted = f"give its number, as in {name}:{'3' if number is int else '0.1'}" if takes_one else "it has no number"
        raise ValueError(f"defense={text!r}: {wanted}.")
    try:
        made: Defense = make(number(given)) if number is not None and given else make()
    except ValueError as error:
        raise ValueError(f"defense={text!r}: {error}") from None
    return made


def _check(name: str, value: Any, *, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low < value < high:
        bounds = f"greater than {low:g}" + (f" and below {high:g}" if math.isfinite(high) else "")
        raise ValueError(f"{name}={value!r}; give a number {bounds}.")


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
