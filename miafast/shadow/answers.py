"""Trained modules of one recipe that answer in turns on a device, through one forward pass captured once."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from miafast.measurements import refuse_probabilities
from miafast.ops.dispatch import note
from miafast.shadow.capture import captured
from miafast.shadow.models import checked_logits
from miafast.shadow.recipe import Recipe
from miafast.shadow.single import state


class Answers:
    """From x [batch, ...] to float32 logits [models, batch, classes]; under bfloat16 autocast if the recipe says so."""

    def __init__(self, recipe: Recipe, modules: Sequence[nn.Module], *, names: Sequence[str], classes: int) -> None:
        self._module = copy.deepcopy(modules[0]).eval()
        self._place, self._states = state(self._module), [state(each) for each in modules]
        self._recipe, self._names, self._classes = recipe, names, classes
        self._x = torch.empty(0)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._x.shape[1:] != x.shape[1:] or len(self._x) < len(x):
            self._prepare(x)
        self._x[: len(x)] = x
        out = torch.empty(len(self._states), len(x), self._classes, device=x.device)
        for row, values in zip(out, self._states, strict=True):
            torch._foreach_copy_(self._place, values)
            self._run()
            row.copy_(self._logits[: len(x)])
        return out

    def _prepare(self, x: torch.Tensor) -> None:
        """Ask the first model, then capture what asking is; smaller batches will be filled up with old inputs."""
        self._x = x.clone()
        self._logits = checked_logits(self._forward(), len(x), self._classes, self._names[0], str(x.device)).clone()
        refuse_probabilities(self._names[0], self._logits)
        self._run, how, _ = captured(lambda: self._logits.copy_(self._forward()), x.device)
        note("inference", how)

    def _forward(self) -> torch.Tensor:
        with torch.autocast(self._x.device.type, torch.bfloat16, enabled=self._recipe.dtype == "bfloat16"):
            logits: torch.Tensor = self._module(self._x)
        return logits
