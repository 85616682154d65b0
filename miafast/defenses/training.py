"""Training defences: changes of a `Recipe`, or train functions that follow one."""

from __future__ import annotations

import functools
import importlib.util
import math
from dataclasses import dataclass, replace

from miafast.defenses.number import check_number
from miafast.shadow import Recipe, TrainFunction


@dataclass(frozen=True)
class L2:
    """Training with an L2 penalty: the recipe's ``weight_decay`` (Shokri et al. 2017, section VIII).

    >>> L2(1e-3).recipe(Recipe()).weight_decay
    0.001
    """

    weight_decay: float

    def __post_init__(self) -> None:
        check_number("weight_decay", self.weight_decay, low=0.0, high=math.inf)

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
        check_number("share", self.share, low=0.0, high=1.0)

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
        check_number("share", self.share, low=0.0, high=1.0)

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

    Every model is (``epsilon``, ``delta``)-private about adding or removing one record, how many there are being no
    secret (batches and steps follow from it): the noise multiplier follows from its batches (Poisson samples of the
    recipe's expected size) and steps by Rényi accounting. Without a bound, ``epsilon=math.inf`` only clips. Batch
    normalisation becomes group normalisation. Needs ``pip install
    'miafast[dp]'``. See `miafast.shadow.private_module`.

    >>> DPSGD(8).name
    'dp-sgd:8'
    """

    epsilon: float
    delta: float = 1e-5
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.epsilon != math.inf:
            check_number("epsilon", self.epsilon, low=0.0, high=math.inf)
        check_number("delta", self.delta, low=0.0, high=1.0)
        check_number("clip", self.clip, low=0.0, high=math.inf)

    @property
    def name(self) -> str:
        return f"dp-sgd:{self.epsilon:g}"

    def recipe(self, recipe: Recipe) -> TrainFunction:
        if importlib.util.find_spec("opacus") is None:
            raise ModuleNotFoundError("DP-SGD needs Opacus: pip install 'miafast[dp]'.", name="opacus")
        from miafast.shadow.private_module import train_privately  # here, because it imports torch

        return functools.partial(train_privately, recipe=recipe, epsilon=self.epsilon, delta=self.delta, clip=self.clip)
