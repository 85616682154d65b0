"""One model at a time: what does not stack (convolutions, batch normalisation, a user's own train function)."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any

import torch
from torch import nn

from miafast.progress import Progress
from miafast.shadow.batches import batch_size_for, steps_for
from miafast.shadow.models import Models, wrap
from miafast.shadow.modules import DropoutKeys, build, dropout_names, torch_seeded
from miafast.shadow.optimiser import Leaf, Optimiser
from miafast.shadow.random import integer
from miafast.shadow.recipe import Recipe, TrainFunction
from miafast.shadow.resident import Resident
from miafast.shadow.steps import Steps
from miafast.tables import Array, Records

#: Models trained side by side on a CUDA device, on a stream each: while one waits for memory the other computes.
PLACES = 2

_ALIGNED = 64  # numbers: where a parameter may begin


class Place:
    """Where models of one recipe are trained one after the other: the step is prepared, and captured, once.

    The models of a recipe may differ in parameters and buffers alone. ``module`` becomes the place's own.
    """

    def __init__(self, recipe: Recipe, data: Resident, module: nn.Module, *, batch: int, steps: int) -> None:
        self.module = module.to(data.device).train()
        self._recipe = recipe
        self._parameters = [each for each in self.module.parameters() if each.requires_grad]
        self._weights, views = _room_for(self._parameters)
        self._gradient, self._slopes = _room_for(self._parameters)
        for each, view in zip(self._parameters, views, strict=True):
            each.data = view.copy_(each.data)
        self._keys = [dict(self.module.named_buffers())[name] for name in dropout_names(self.module)]
        start = [each.clone() for each in state(self.module)]
        self._optimiser = Optimiser(recipe, [Leaf.at(self._weights)])
        self.steps = Steps(
            recipe, data, self._step, inputs=data.inputs, models=1, batch=batch, steps=steps, layers=len(self._keys)
        )
        for each, value in zip(state(self.module), start, strict=True):
            each.copy_(value)

    def put(self, module: nn.Module) -> None:
        """Start from this module's parameters and buffers."""
        for each, value in zip(state(self.module), state(module), strict=True):
            each.copy_(value)

    def take(self, module: nn.Module) -> nn.Module:
        """What is in place, written to this module, in evaluation mode on the device."""
        module = module.to(self._weights.device).eval()
        for each, value in zip(state(module), state(self.module), strict=True):
            each.copy_(value)
        return module

    def taken(self, in_rows: Array, *, seed: int, model: int) -> Iterator[int]:
        """Train what is in place on its IN records, yielding 1 after each step. Seeds torch's generators."""
        torch.manual_seed(integer(seed, model, "training"))
        self._optimiser.restart()
        dropout = DropoutKeys(self.module, seed=seed, models=[model])
        yield from self.steps.taken([in_rows], dropout, seed=seed, models=[model])

    def _step(
        self, x: torch.Tensor, y: torch.Tensor, keys: torch.Tensor, rates: torch.Tensor, correction: torch.Tensor
    ) -> None:
        for buffer, key in zip(self._keys, keys[0], strict=True):
            buffer.copy_(key)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._recipe.dtype == "bfloat16"):
            logits = self.module(x[0])
        loss = nn.functional.cross_entropy(logits.float(), y[0], label_smoothing=self._recipe.label_smoothing)
        torch._foreach_copy_(self._slopes, torch.autograd.grad(loss, self._parameters, materialize_grads=True))
        self._optimiser.step([self._gradient], rates, correction)


def train_singly(
    recipe: Recipe, records: Records, data: Resident, in_rows: dict[int, Array], *, seed: int, progress: Progress
) -> tuple[list[nn.Module], str]:
    """Models in the order of ``in_rows``, in evaluation mode, and what ran."""
    made: dict[int, nn.Module] = {}

    def fill(place: Place, queue: Iterator[int]) -> Iterator[int]:
        for model in queue:
            module = fresh(recipe, records, seed=seed, model=model)
            place.put(module)
            yield from place.taken(in_rows[model], seed=seed, model=model)
            made[model] = place.take(module)

    by_size = sorted(in_rows, key=lambda model: batch_size_for(recipe, len(in_rows[model])))
    with torch_seeded(0):  # seeded for each model; this gives the caller's state back
        for batch, group in groupby(by_size, key=lambda model: batch_size_for(recipe, len(in_rows[model]))):
            models = list(group)
            steps, queue = max(steps_for(recipe, len(in_rows[model])) for model in models), iter(models)
            places: list[Place] = []
            gc.collect()  # places refer to themselves: what earlier ones held comes back
            while not places or (data.device.type == "cuda" and len(places) < min(PLACES, len(models))):
                module = fresh(recipe, records, seed=seed, model=models[0])
                places.append(Place(recipe, data, module, batch=batch, steps=steps))
                if places[0].steps.draws:  # from the one global generator: then models cannot share the device
                    break
            how = f"one at a time, {places[0].steps.how}, {len(places)} side by side"
            _side_by_side([fill(place, queue) for place in places], data.device, progress)
    return [made[model] for model in in_rows], "one at a time" if data.device.type == "cpu" else how


def _side_by_side(works: list[Iterator[int]], device: torch.device, progress: Progress) -> None:
    """Run generators in turns, each on a stream of its own on a CUDA device."""
    streams: list[Any] = [torch.cuda.Stream(device) if device.type == "cuda" else None for _ in works]
    for stream in filter(None, streams):
        stream.wait_stream(torch.cuda.current_stream(device))
    running = list(zip(works, streams, strict=True))
    while running:
        for each in list(running):
            work, stream = each
            with _on(stream):
                taken = next(work, 0)
            if taken:
                progress.advance(taken)
            else:
                running.remove(each)
    for stream in filter(None, streams):
        torch.cuda.current_stream(device).wait_stream(stream)


def _on(stream: Any) -> AbstractContextManager[Any]:
    return nullcontext() if stream is None else torch.cuda.stream(stream)


def train_with(train: TrainFunction, records: Records, in_indices: Array, *, seed: int, model: int) -> Models:
    """One model by the user's function, which is given its own seed."""
    made = train(records, in_indices, integer(seed, model, "train function"))
    return wrap(made, name=f"model {model} (from your train function)", classes=records.classes)


def fresh(recipe: Recipe, records: Records, *, seed: int, model: int) -> nn.Module:
    return build(recipe, records.shape, records.classes, seed=seed, model=model)


def state(module: nn.Module) -> list[torch.Tensor]:
    """What makes a module one model rather than another: its parameters and buffers."""
    return [each.detach() for each in (*module.parameters(), *module.buffers())]


def _room_for(parameters: list[nn.Parameter]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Zeros, float32 [1, numbers], and a view into them for each parameter, of its shape and memory format."""
    begins, end = [], 0
    for each in parameters:
        begins.append(end)
        end += -(-each.numel() // _ALIGNED) * _ALIGNED
    room = torch.zeros(1, end, device=parameters[0].device)
    strides = [torch.empty_like(each).stride() for each in parameters]
    views = [
        room.as_strided(each.shape, stride, begin)
        for each, stride, begin in zip(parameters, strides, begins, strict=True)
    ]
    return room, views
