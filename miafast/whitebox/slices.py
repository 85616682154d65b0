"""A module cut in two at a named layer: f = g ∘ h, h up to the layer's output z and g from there on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn


@dataclass(frozen=True, eq=False)
class Cut:
    """``features`` is h, [batch, ...] to z [batch, ...]; ``head`` is g, a module from z to logits [batch, classes].

    The head shares its weights with the model it was cut from.
    """

    model: nn.Module
    layer: str
    head: nn.Module

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """z at the layer for inputs x, without gradients."""
        with torch.no_grad():
            return output_of(self.model, self.layer, x)

    @property
    def linear(self) -> nn.Linear | None:
        """The head itself where it is a single linear layer (on z that is flat), else None."""
        if not isinstance(self.head, fx.GraphModule):
            return None
        does = [node for node in self.head.graph.nodes if node.op not in ("placeholder", "output")]
        only = self.head.get_submodule(does[0].target) if len(does) == 1 and does[0].op == "call_module" else None
        return only if isinstance(only, nn.Linear) else None


def cut(model: nn.Module, layer: str, x: torch.Tensor) -> Cut:
    """Cut a module at the output of the layer with this path, such as "conv2" or "block.0".

    Modules that `torch.fx` can trace lose all that comes before the layer; others are run whole, with the layer's
    output replaced. ``x`` [batch, ...] is a small batch of inputs, on which g(h(x)) must equal f(x).

    Raises ValueError for a layer that is not there, naming those that are, and for one that does not carry all of the
    input's way to the output (a skip connection around it, a layer used twice, an output that is no tensor).

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> parts = cut(model, "1", torch.zeros(2, 4))
    >>> parts.features(torch.zeros(2, 4)).shape, parts.head(torch.zeros(2, 8)).shape
    (torch.Size([2, 8]), torch.Size([2, 3]))
    >>> cut(model, "conv1", torch.zeros(2, 4))
    Traceback (most recent call last):
    ValueError: layer='conv1' is no layer of Sequential; its layers are 0, 1, 2.
    """
    names = [name for name, _ in model.named_modules() if name]
    if layer not in names:
        raise ValueError(f"layer={layer!r} is no layer of {type(model).__name__}; its layers are {', '.join(names)}.")
    model = model.eval()
    found = output_of(model, layer, x)
    if not isinstance(found, torch.Tensor) or len(found) != len(x):
        raise ValueError(f"layer={layer!r} does not answer one tensor [batch, ...]; choose a layer that does.")
    made = Cut(model, layer, _traced_head(model, layer) or ReplacedOutput(model, layer, tuple(x.shape[1:])))
    with torch.no_grad():
        again, whole = made.head(made.features(x)), model(x)
    if not torch.allclose(again, whole, rtol=1e-4, atol=1e-5):
        raise ValueError(
            f"layer={layer!r} does not determine the output of {type(model).__name__} alone (a skip connection around "
            "it, or a layer used more than once); choose a layer that everything passes through once."
        )
    return made


class ReplacedOutput(nn.Module):  # type: ignore[misc]
    """g of a module that cannot be traced: the whole module on an empty input, a layer's output replaced by z."""

    def __init__(self, model: nn.Module, layer: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.model, self.layer, self.shape = model, layer, shape

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        handle = self.model.get_submodule(self.layer).register_forward_hook(lambda *_: z)
        try:
            out: torch.Tensor = self.model(z.new_zeros(len(z), *self.shape))
        finally:
            handle.remove()
        return out


class _Tracer(fx.Tracer):  # type: ignore[misc]
    """Stops at the layer asked for, and at every module without children, whatever it does inside."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name == self.layer or not list(m.children())


def _traced_head(model: nn.Module, layer: str) -> nn.Module | None:
    """What follows the layer, or None where that cannot be told from the code or needs more than the layer's output."""
    try:
        graph = _Tracer(layer).trace(model)
    except Exception:  # whatever a user's forward does with a traced value
        return None
    places = [node for node in graph.nodes if node.op == "call_module" and node.target == layer]
    if len(places) != 1:
        return None
    with graph.inserting_before(next(iter(graph.nodes))):
        z = graph.placeholder("z")
    places[0].replace_all_uses_with(z)
    graph.owning_module = model
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if node.op == "placeholder" and node is not z:
            if node.users:
                return None
            graph.erase_node(node)
    return fx.GraphModule(model, graph).eval()


class _Reached(Exception):
    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def output_of(model: nn.Module, layer: str, x: torch.Tensor) -> Any:
    """The layer's output, without running what follows it."""

    def stop(module: nn.Module, inputs: Any, output: Any) -> None:
        raise _Reached(output)

    handle = model.get_submodule(layer).register_forward_hook(stop)
    try:
        model(x)
    except _Reached as reached:
        return reached.output
    finally:
        handle.remove()
    raise ValueError(f"layer={layer!r} is not used by {type(model).__name__} on these inputs; choose another.")
