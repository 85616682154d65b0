"""The modules that a recipe names, made afresh for (seed, model index)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import prod
from typing import cast

import numpy as np
import torch
from torch import nn

from miafast.ops.mlp_steps import dropout_keys
from miafast.shadow.random import dropout_bases, integer
from miafast.shadow.recipe import Recipe, factory_arguments
from miafast.tables import Array


class Dropout(nn.Module):  # type: ignore[misc]
    """Dropout whose mask is a hash of (key, position): the same for a model trained alone or among others."""

    key: torch.Tensor

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("key", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.share == 0.0:
            return x
        keep = dropout_kept(self.key, x.shape, self.share)
        return x * (keep * (1.0 / (1.0 - self.share))).to(x.dtype)


def dropout_kept(keys: torch.Tensor, shape: tuple[int, ...], share: float) -> torch.Tensor:
    """Which activations dropout keeps: bool [*keys.shape, *shape], as `miafast.ops.mlp_steps.kept`."""
    place = torch.arange(prod(shape), device=keys.device).reshape(shape) * 0x9E3779B1
    hashed = _mix(place + keys.reshape(*keys.shape, *[1] * len(shape)))
    return hashed >= dropout_bound(share)


def dropout_bound(share: float) -> int:
    """Hashes below it are dropped."""
    return int(float(np.float32(share)) * 2**32)


def _mix(values: torch.Tensor) -> torch.Tensor:
    """`miafast.ops.mlp_steps.mix` on the low 32 bits of int64 values."""
    values = values & 0xFFFFFFFF
    values = ((values ^ (values >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    values = ((values ^ (values >> 15)) * 0x846CA68B) & 0xFFFFFFFF
    return values ^ (values >> 16)


def build(recipe: Recipe, shape: tuple[int, ...], classes: int, *, seed: int, model: int) -> nn.Module:
    """A freshly initialised module in training mode; its nn.Dropout layers are replaced by `Dropout`."""
    with torch_seeded(integer(seed, model, "initialisation")):
        made = architecture(recipe, shape, classes)
    return _with_counted_dropout(made).float().train()


def architecture(recipe: Recipe, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The recipe's module as its factory makes it, initialised from torch's global generator."""
    if recipe.model == "conv":
        return conv(shape, classes, dropout=recipe.dropout)
    if recipe.model == "resnet9":
        return resnet9(shape, classes)
    if isinstance(recipe.model, str):
        return mlp(recipe, shape, classes)
    made = recipe.model(shape, classes) if factory_arguments(recipe.model) else recipe.model()
    if not isinstance(made, nn.Module):
        raise TypeError(f"the model factory returned {type(made).__name__}; it must return a torch.nn.Module.")
    return made


def widths(recipe: Recipe, shape: tuple[int, ...], classes: int) -> tuple[int, ...]:
    """Units per layer of an mlp or logistic regression, inputs and classes included."""
    return (prod(shape), *(recipe.hidden if recipe.model == "mlp" else ()), classes)


def mlp(recipe: Recipe, shape: tuple[int, ...], classes: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    sizes = widths(recipe, shape, classes)
    for inside, outside in pairwise(sizes[:-1]):
        layers += [nn.Linear(inside, outside), nn.ReLU() if recipe.activation == "relu" else nn.Tanh()]
        layers += [Dropout(recipe.dropout)] if recipe.dropout else []
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def conv(shape: tuple[int, ...], classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Three convolutions with batch normalisation: 6.6 M multiply-adds on 3 × 32 × 32, most of them at 16 × 16 pixels.

    The first convolution halves the resolution at once: at full resolution a step would wait for memory.
    """
    layers: list[nn.Module] = [nn.Conv2d(shape[0], 32, 4, stride=2, padding=1, bias=False)]
    layers += [nn.BatchNorm2d(32), nn.ReLU()]
    for inside, outside in ((32, 48), (48, 96)):
        layers += [nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.MaxPool2d(2)]
        layers += [nn.BatchNorm2d(outside), nn.ReLU()]
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    layers += [Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(96, classes)).to(memory_format=torch.channels_last)


class Scaled(nn.Module):  # type: ignore[misc]
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class Residual(nn.Module):  # type: ignore[misc]
    """Adds what a part makes of its input to the input."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.part(x)


def resnet9(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Eight 3 × 3 convolutions with two residual pairs and a small linear head, 6.6 M parameters.

    Source: Page 2018, "How to train your ResNet" (myrtle.ai), part 4.
    """

    def step(inside: int, outside: int) -> nn.Sequential:
        convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())

    def twice(channels: int) -> Residual:
        return Residual(nn.Sequential(step(channels, channels), step(channels, channels)))

    layers = (
        step(shape[0], 64),
        step(64, 128), nn.MaxPool2d(2), twice(128),
        step(128, 256), nn.MaxPool2d(2),
        step(256, 512), nn.MaxPool2d(2), twice(512),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(512, classes, bias=False), Scaled(0.125),
    )  # fmt: skip
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


class DropoutKeys:
    """The keys of every `Dropout` in a module, for some models at any step."""

    def __init__(self, module: nn.Module, *, seed: int, models: Sequence[int]) -> None:
        self.base = dropout_bases(seed, models)
        self.names = dropout_names(module)

    def at(self, step: int) -> Array:
        """int64 [models, layers], in the order of ``names``."""
        keys = [dropout_keys(self.base, step, layer) for layer in range(len(self.names))]
        return np.stack(keys, axis=1).astype(np.int64) if keys else np.zeros((len(self.base), 0), np.int64)


def dropout_names(module: nn.Module) -> list[str]:
    """The buffers of a module that hold the keys of its dropout."""
    return [f"{name}.key".lstrip(".") for name, each in module.named_modules() if isinstance(each, Dropout)]


def flattened(module: nn.Module) -> torch.Tensor:
    """All parameters of a module as one vector, in the module's order."""
    return torch.cat([each.detach().reshape(-1) for each in module.parameters()])


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators for a while and give the caller's back afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also format tracebacks, for other devices
        if torch.cuda.device_count():
            torch.cuda.manual_seed_all(seed)
        yield


def _with_counted_dropout(module: nn.Module) -> nn.Module:
    if type(module) is nn.Dropout:
        return Dropout(module.p)
    for name, child in module.named_children():
        setattr(module, name, _with_counted_dropout(child))
    return cast(nn.Module, module)
