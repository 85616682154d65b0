"""D, the learnt displacement of general-wb: what the target's weight and the proxy's say together about membership."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from miafast.shadow.random import integer, permutation, stream
from miafast.tables import Array

_STEPS, _BATCH, _RATE = 600, 128, 1e-2  # Adam for hidden units; a weighted sum is solved to convergence


class Evidence(NamedTuple):
    """What D reads about some records: ``pairs`` [records, places, 2] of the target's and the proxy's weight at every
    place (features, then one for the bias), and the features' ``values`` [records, places] (1 for the bias)."""

    pairs: Array
    values: Array

    def summed(self) -> Evidence:
        """All places in one: no less for a D that is linear."""
        return Evidence(np.einsum("rp,rpk->rk", self.values, self.pairs)[:, None], np.ones((len(self.values), 1)))


@dataclass(frozen=True, eq=False)
class Displacement:
    """D as it was learnt; the log odds of membership are Σ over places of D(pair) · value, and a constant.

    The constant is what the target's records have ahead of the proxy's for reasons that have nothing to do with
    membership, such as features that were learnt together with the target's weights.
    """

    module: nn.Module
    constant: nn.Parameter

    def logit(self, evidence: Evidence) -> Array:
        """Log odds float64 [records]."""
        with torch.inference_mode():
            parts = [self._logit(_tensor(pairs), _tensor(values)) for pairs, values in _blocks(evidence)]
        out: Array = torch.cat(parts).double().numpy()
        return out

    def _logit(self, pairs: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return (self.module(pairs)[..., 0] * values).sum(dim=1) + self.constant

    def parameters(self) -> list[torch.Tensor]:
        return [*self.module.parameters(), self.constant]


def learn(evidence: Evidence, is_member: Array, *, hidden: int, seed: int) -> Displacement:
    """Fit D to evidence whose membership is known, by the logistic loss of its log odds.

    ``hidden=0`` is the paper's minimum capacity, a weighted sum of the pair; otherwise one layer of ``hidden``
    rectified units (the paper's extra capacity has 16). Leino & Fredrikson (2020), algorithms 1 and 2.
    """
    with torch.random.fork_rng():
        torch.manual_seed(integer(seed, 0, "displacement"))
        module = _module(hidden)
    fit = Displacement(module, nn.Parameter(torch.zeros(())))
    labels = _tensor(is_member)
    pairs, values = (_tensor(each) for each in (evidence if hidden else evidence.summed()))
    if hidden:
        _descend(fit, pairs, values, labels, seed=seed)
    else:
        solve(fit.parameters(), lambda: fit._logit(pairs, values), labels)
    return fit


def _module(hidden: int) -> nn.Module:
    if not hidden:
        weighted = nn.Linear(2, 1, bias=False)
        nn.init.zeros_(weighted.weight)
        return weighted
    return nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, 1))


def solve(parameters: Iterable[torch.Tensor], logit: Callable[[], torch.Tensor], labels: torch.Tensor) -> None:
    """Minimise the logistic loss of few parameters to convergence; a touch of L2 keeps separable records finite."""
    held = list(parameters)
    optimizer = torch.optim.LBFGS(held, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        out = nn.functional.binary_cross_entropy_with_logits(logit(), labels)
        out = out + 1e-4 * torch.stack([each.square().sum() for each in held]).sum()
        out.backward()
        return out

    optimizer.step(loss)


def _descend(fit: Displacement, pairs: torch.Tensor, values: torch.Tensor, labels: torch.Tensor, *, seed: int) -> None:
    optimizer = torch.optim.Adam(fit.parameters(), _RATE)
    bits = stream(seed, 0, "displacement batches")
    batches: list[Array] = []
    for step in range(_STEPS):
        if not batches:
            batches = np.array_split(permutation(bits, len(labels)), max(1, len(labels) // _BATCH))
        rows = torch.as_tensor(batches.pop())
        for group in optimizer.param_groups:
            group["lr"] = _RATE * (1.0 - step / _STEPS)
        loss = nn.functional.binary_cross_entropy_with_logits(fit._logit(pairs[rows], values[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _tensor(values: Array) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32)


def _blocks(evidence: Evidence, size: int = 4096) -> Iterator[tuple[Array, Array]]:
    for start in range(0, len(evidence.values), size):
        yield evidence.pairs[start : start + size], evidence.values[start : start + size]
