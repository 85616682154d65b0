"""The first part of a head, as long as it maps a segment to a segment: its derivative does not change on the way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx, nn
from torch.nn import functional as F

Step = Callable[[torch.Tensor], torch.Tensor]

#: Add a constant to a linear map, wherever the segment lies.
_AFFINE = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.Flatten, nn.Identity,
)  # fmt: skip
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_AFFINE_IN_EVALUATION = (*_NORMS, nn.Dropout)
#: Grow in proportion with their input: straight on a segment that begins at 0.
_PROPORTIONAL = (nn.ReLU, nn.LeakyReLU, nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool2d)
_AFFINE_FUNCTIONS = (torch.flatten, F.avg_pool2d, F.adaptive_avg_pool2d, "flatten", "reshape", "view", "contiguous")
_PROPORTIONAL_FUNCTIONS = (torch.relu, F.relu, F.leaky_relu, torch.max_pool2d, F.max_pool2d, "relu")


def straight_part(head: Step, *, from_zero: bool) -> tuple[Step, Step] | None:
    """``(first, rest)`` with rest(first(z)) = head(z), first as long as can be told; None where that is nothing.

    On every segment that it is asked about (from 0 if ``from_zero``), first has one derivative, so what a segment's
    average gradient of ``rest`` is there, `first` carries back to z. The code of the head is read with `torch.fx`; a
    head that cannot be read, or begins with another layer, has no such part.

    >>> head = nn.Sequential(nn.ReLU(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).eval()
    >>> [straight_part(head, from_zero=zero) is None for zero in (True, False)]
    [False, True]
    """
    if not isinstance(head, nn.Module):
        return None
    try:
        traced = fx.symbolic_trace(nn.Sequential(head))  # so that a single layer is a call too
    except Exception:  # whatever a user's forward does with a traced value
        return None
    (z, *others) = [node for node in traced.graph.nodes if node.op == "placeholder"]
    last = z
    while (after := _straight_step(traced, last, from_zero=from_zero)) is not None:
        from_zero = from_zero and not _shifts(traced, after)
        last = after
    if others or last is z:
        return None
    return _between(traced, z, last), _between(traced, last, None)


def _straight_step(traced: fx.GraphModule, last: fx.Node, *, from_zero: bool) -> fx.Node | None:
    """The one node that reads ``last``, if it is straight on the segment that comes in and reads nothing else."""
    if len(last.users) != 1:
        return None
    (node,) = last.users
    if node.all_input_nodes != [last] or node.args[:1] != (last,):
        return None
    if node.op == "call_module":
        module = traced.get_submodule(node.target)
        fixed = not module.training and getattr(module, "track_running_stats", True)
        straight = (
            isinstance(module, _AFFINE)
            or (from_zero and isinstance(module, _PROPORTIONAL))
            or (fixed and isinstance(module, _AFFINE_IN_EVALUATION))
        )
    else:
        straight = node.target in _AFFINE_FUNCTIONS or (from_zero and node.target in _PROPORTIONAL_FUNCTIONS)
    return node if straight else None


def _shifts(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether 0 may not go to 0."""
    module = traced.get_submodule(node.target) if node.op == "call_module" else None
    return isinstance(module, _NORMS) or getattr(module, "bias", None) is not None


def _between(traced: fx.GraphModule, start: fx.Node, end: fx.Node | None) -> fx.GraphModule:
    """The module from one node's value to another's, or to the output."""
    graph = fx.Graph()
    copies = {start: graph.placeholder("z")}
    for node in traced.graph.nodes:
        if node not in copies and (node.op == "get_attr" or any(each in copies for each in node.all_input_nodes)):
            copies[node] = graph.node_copy(node, lambda each: copies[each])
        if node is end:
            graph.output(copies[node])
            break
    return fx.GraphModule(traced, graph)
