"""How a model is trained: `Recipe`, checked when it is made, with a fingerprint that tells two recipes apart."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from miafast.tables import Records

#: Part of every fingerprint: raised when a change makes the same recipe and seed train another model, or have it answer
#: otherwise.
REVISION = 3

#: A user's own training: train(records, in_indices, seed) -> model. See `miafast.shadow.wrap` for what a model may be.
TrainFunction = Callable[[Records, Any, int], Any]

#: What a recipe chooses from.
CHOICES = {
    "activation": ("relu", "tanh"),
    "optimizer": ("sgd", "adam", "adamw"),
    "schedule": ("constant", "cosine", "linear", "step", "triangle"),
    "dtype": ("float32", "bfloat16"),
}
AUGMENTATIONS = ("mirror", "shift")
MODELS = ("logistic", "mlp", "conv", "resnet9")

#: Models that need images.
IMAGE_MODELS = ("conv", "resnet9")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every shadow model (and the target, in the research setting) is trained. Checked at construction.

    ``model``: "logistic", "mlp" (layers ``hidden`` with ``activation`` between), "conv" (a small convolutional net for
    images), "resnet9" (a large one) or a factory of `torch.nn.Module`s, called as ``factory()`` or
    ``factory(shape, classes)``; what it makes may differ from call to call in parameters and buffers alone.
    ``epochs`` counts passes over a model's IN records: shuffled epochs follow one another without a gap and are cut
    into batches of exactly ``batch_size``, round(epochs · n_in / batch_size) of them.
    ``schedule`` multiplies the learning rate, t being the share of a model's steps already taken: "constant" 1,
    "linear" 1 - t, "cosine" (1 + cos πt) / 2, "step" 1, then 0.1 from t = 1/2 and 0.01 from t = 3/4, "triangle" from
    0 to 1 at t = 1/5 and back.
    ``weight_decay`` is an L2 penalty in sgd and adam and decoupled in adamw, as in PyTorch. ``dropout`` follows every
    hidden layer of an mlp, and the last pooling of conv. ``augment`` (images): "mirror" flips half of the inputs,
    "shift" moves each by up to 4 pixels each way. ``dtype="bfloat16"`` multiplies matrices in
    bfloat16 and keeps weights in float32; models that do not stack answer in it too.

    Raises ValueError for a value out of range or options that cannot work together, TypeError for a wrong kind.

    >>> Recipe(hidden=(64,), batch_size=32, epochs=30).describe()["hidden"]
    [64]
    >>> Recipe(optimizer="rmsprop")
    Traceback (most recent call last):
    ValueError: optimizer='rmsprop' is not known; choose one of sgd, adam, adamw.
    """

    model: str | Callable[..., Any] = "mlp"
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    epochs: float = 60
    batch_size: int = 64
    schedule: str = "constant"
    dropout: float = 0.0
    label_smoothing: float = 0.0
    augment: tuple[str, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _check_model(self.model)
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is not known; choose one of {', '.join(known)}.")
        object.__setattr__(self, "hidden", _tuple("hidden", self.hidden))
        object.__setattr__(self, "augment", _tuple("augment", self.augment))
        for width in self.hidden:
            _check_number("hidden", width, low=1, whole=True)
        if self.model == "mlp" and not self.hidden:
            raise ValueError("hidden=() leaves an mlp without hidden layers; use model='logistic' for that.")
        for name in self.augment:
            if name not in AUGMENTATIONS:
                raise ValueError(f"augment={self.augment!r}: {name!r} is not known; choose from {AUGMENTATIONS}.")
        _check_number("batch_size", self.batch_size, low=1, whole=True)
        _check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        _check_number("epochs", self.epochs, low=0.0, open_low=True)
        _check_number("weight_decay", self.weight_decay, low=0.0)
        for name in ("momentum", "dropout", "label_smoothing"):
            _check_number(name, getattr(self, name), low=0.0, high=1.0)
        for name in ("learning_rate", "momentum", "weight_decay", "dropout", "label_smoothing"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.epochs == int(self.epochs):  # equal recipes have one fingerprint
            object.__setattr__(self, "epochs", int(self.epochs))
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum={self.momentum} is for optimizer='sgd'; {self.optimizer} has its own.")
        if not isinstance(self.nesterov, bool):
            raise TypeError(f"nesterov={self.nesterov!r}; give True or False.")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True needs momentum greater than 0.")
        if self.dropout and self.model not in ("mlp", "conv"):
            raise ValueError(
                f"dropout={self.dropout} has nothing to act on in {_name(self.model)!r}; "
                "use model='mlp' or 'conv', or put nn.Dropout into your own module."
            )

    def check(self, records: Records) -> None:
        """Refuse records that this recipe cannot train on; raises ValueError."""
        is_images = len(records.shape) == 3
        if self.model in IMAGE_MODELS and not (is_images and min(records.shape[1:]) >= 8):
            raise ValueError(
                f"model={self.model!r} needs images [records, channels, height >= 8, width >= 8], but {records.name} "
                f"has inputs of shape {records.shape}; use model='mlp'."
            )
        if self.augment and not is_images:
            raise ValueError(
                f"augment={self.augment!r} needs images [records, channels, height, width], but {records.name} has "
                f"inputs of shape {records.shape}; use augment=()."
            )
        if self.batch_size > len(records):
            raise ValueError(
                f"batch_size={self.batch_size} exceeds the {len(records)} records of {records.name}; lower it."
            )

    def describe(self) -> dict[str, Any]:
        """The options that matter to this model, as plain values (what reports show and the fingerprint covers)."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        if not isinstance(self.model, str):
            values["model"] = _describe_function(self.model)
        alone = ("hidden", "activation", "dropout")
        unused = {"mlp": (), "logistic": alone, "resnet9": alone}
        for name in unused.get(str(self.model), ("hidden", "activation")):
            del values[name]
        if self.optimizer != "sgd":
            del values["momentum"], values["nesterov"]
        return values

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of `describe()` as canonical JSON; a factory counts with its source code."""
        return _digest(self.describe())


def describe(recipe: Recipe | TrainFunction) -> dict[str, Any]:
    """Plain values that say how models are trained: `Recipe.describe`, or where a train function comes from."""
    if isinstance(recipe, Recipe):
        return recipe.describe()
    check_train_function(recipe)
    return {"train": _describe_function(recipe)}


def fingerprint_of(recipe: Recipe | TrainFunction) -> str:
    """SHA-256 (hex) of a recipe, or of a train function's module, name, source and plain closed-over values.

    >>> fingerprint_of(Recipe()) == fingerprint_of(Recipe(epochs=60.0)) != fingerprint_of(Recipe(epochs=61))
    True
    """
    return recipe.fingerprint if isinstance(recipe, Recipe) else _digest(describe(recipe))


def recipe_for(records: Records, *, model: str | None = None) -> Recipe:
    """A sensible recipe for records of this shape: it fits its training set closely, as ordinary models do.

    Images of 8 × 8 pixels and more in several channels: conv with mirror augmentation, 8 epochs. Other inputs: an mlp
    with 128 hidden units, 60 epochs at batch 64 (many features or classes, as in Location-30, Purchase-100 and
    Texas-100), or 64 hidden units at batch 32 (small tables).

    ``model`` asks for another model: "resnet9" comes with `RESNET9`, the others with the options above.

    >>> import numpy as np
    >>> recipe_for(Records(np.zeros((99, 3, 32, 32), np.uint8), np.zeros(99, int), classes=10)).model
    'conv'
    """
    features = math.prod(records.shape)
    if model == "resnet9":
        return dataclasses.replace(RESNET9, batch_size=min(RESNET9.batch_size, len(records)))
    if len(records.shape) == 3 and records.shape[0] >= 3 and min(records.shape[1:]) >= 8:
        fitting = Recipe(
            model="conv", optimizer="sgd", learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, epochs=8,
            batch_size=min(128, len(records)), schedule="linear", augment=("mirror",), dtype="bfloat16",
        )  # fmt: skip
    elif len(records.shape) == 3 and features >= 500:
        fitting = Recipe(hidden=(128,), epochs=20, batch_size=min(128, len(records)))
    elif features >= 100:
        fitting = Recipe(hidden=(128,), epochs=60, batch_size=min(64, len(records)))
    else:
        fitting = Recipe(hidden=(64,), epochs=60, batch_size=min(32, len(records)))
    return fitting if model is None else dataclasses.replace(fitting, model=model)


def check_train_function(train: Any) -> None:
    """Refuse what is neither a Recipe nor callable as train(records, in_indices, seed)."""
    if not callable(train):
        raise TypeError(
            f"recipe is {type(train).__name__}; give a miafast.Recipe or a function "
            "train(records, in_indices, seed) -> model."
        )
    try:
        inspect.signature(train).bind(None, None, 0)
    except TypeError:
        raise TypeError(
            f"{_name(train)} cannot be called with three arguments; a train function is "
            "train(records, in_indices, seed) -> model."
        ) from None


def factory_arguments(factory: Callable[..., Any]) -> int:
    """How many arguments a module factory needs: 0, or 2 for (shape, classes). Raises TypeError for another number."""
    parameters = inspect.signature(factory).parameters.values()
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    needed = [each.name for each in parameters if each.default is each.empty and each.kind not in (2, 4)]
    if len(needed) not in (0, 2) or not set(needed) <= {each.name for each in positional}:
        raise TypeError(
            f"model={_name(factory)} needs the arguments {needed}; a factory is called with none or with "
            "(shape, classes): fix the others with functools.partial."
        )
    return len(needed)


def _check_model(model: Any) -> None:
    if isinstance(model, str):
        if model not in MODELS:
            raise ValueError(f"model={model!r} is not known; choose {', '.join(MODELS)} or give a factory of modules.")
    elif hasattr(model, "state_dict") and not isinstance(model, type):
        raise TypeError(
            f"model is a finished {type(model).__name__}; every shadow model starts afresh, so give a factory: "
            "lambda: MyModule(...)."
        )
    elif not callable(model):
        raise TypeError(f"model is {type(model).__name__}; give one of {', '.join(MODELS)} or a factory of modules.")
    else:
        factory_arguments(model)


def _check_number(
    name: str, value: Any, *, low: float, high: float = math.inf, open_low: bool = False, whole: bool = False
) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name}={value!r}; give {'an integer' if whole else 'a number'}.")
    if not (low < value if open_low else low <= value) or not value < high:
        bounds = f"{'greater than' if open_low else 'at least'} {low:g}"
        raise ValueError(f"{name}={value!r} is out of range; give {bounds} and below {high:g}.")


def _tuple(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, (tuple, list)):
        raise TypeError(f"{name}={value!r}; give a tuple, for instance {name}=({value!r},).")
    return tuple(value)


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", function if isinstance(function, str) else type(function).__name__))


def _describe_function(function: Any) -> dict[str, Any]:
    """Where a function comes from, the hash of its source when there is one, and the plain values bound to it."""
    if isinstance(function, functools.partial):
        bound = [_plain(each) for each in function.args]
        named = {name: _plain(value) for name, value in sorted(function.keywords.items())}
        return {**_describe_function(function.func), "arguments": bound, "keywords": named}
    source_of = function if inspect.isroutine(function) or isinstance(function, type) else type(function)
    try:
        source = hashlib.sha256(inspect.getsource(source_of).encode()).hexdigest()
    except (OSError, TypeError):
        source = None
    cells = [_plain(cell.cell_contents) for cell in getattr(function, "__closure__", None) or ()]
    return {"module": source_of.__module__, "name": source_of.__qualname__, "source": source, "closure": cells}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, Recipe):
        return value.describe()
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _digest(description: dict[str, Any]) -> str:
    text = json.dumps({"revision": REVISION, **description}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


#: ResNet-9 on images such as CIFAR-10's, after Page 2018, "How to train your ResNet"; meant for a GPU.
RESNET9 = Recipe(
    model="resnet9", optimizer="sgd", learning_rate=0.4, momentum=0.9, nesterov=True, weight_decay=5e-4, epochs=24,
    batch_size=512, schedule="triangle", label_smoothing=0.1, augment=("mirror", "shift"), dtype="bfloat16",
)  # fmt: skip
