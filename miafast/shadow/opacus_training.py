"""The user's own PyTorch models under DP-SGD, through Opacus: a train function for `audit` and `audit_dp`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from miafast.shadow.random import Array, integer
from miafast.tables import Records


def opacus_train(
    make_model: Callable[[], nn.Module],
    *,
    learning_rate: float,
    steps: int,
    batch_size: int,
    clip: float,
    noise_multiplier: float,
) -> Callable[[Records, Array, int], nn.Module]:
    """A function ``train(records, in_indices, seed) -> model`` that trains what ``make_model()`` makes by DP-SGD.

    Poisson batches: every record with probability batch_size / len(records), which does not depend on who is in.
    The seed sets PyTorch's generator, so a model comes out the same again.

    Raises ValueError for numbers out of range; ModuleNotFoundError without Opacus; Opacus's own errors for layers it
    cannot take record by record.

    Source: Yousefpour et al. 2021, "Opacus: User-Friendly Differential Privacy Library in PyTorch".

    >>> train = opacus_train(lambda: nn.Linear(4, 2), learning_rate=0.1, steps=3, batch_size=2, clip=1.0,
    ...                      noise_multiplier=1.0)
    """
    if min(learning_rate, steps, batch_size, clip) <= 0 or noise_multiplier < 0:
        raise ValueError(
            f"learning_rate={learning_rate}, steps={steps}, batch_size={batch_size}, clip={clip}, "
            f"noise_multiplier={noise_multiplier}; give numbers above 0, and noise of at least 0."
        )

    def train(records: Records, in_indices: Array, seed: int) -> nn.Module:
        wrapped, optimizer = _private(make_model, learning_rate, clip, noise_multiplier, batch_size, seed)
        x, y = torch.as_tensor(records.inputs(in_indices)), torch.as_tensor(records.y[in_indices])
        loss = nn.CrossEntropyLoss()
        for _ in range(steps):
            which = torch.rand(len(x)) < batch_size / len(records)
            optimizer.zero_grad()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # inputs need no gradients, and PyTorch says so
                loss(wrapped(x[which]), y[which]).backward()
            optimizer.step()
        model: nn.Module = wrapped._module
        wrapped.remove_hooks()
        return model.eval()

    return train


def _private(
    make_model: Callable[[], nn.Module], learning_rate: float, clip: float, noise: float, batch: int, seed: int
) -> tuple[Any, Any]:
    try:
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer
    except ModuleNotFoundError as error:
        if error.name != "opacus":
            raise
        raise ModuleNotFoundError("DP-SGD of your own models needs Opacus: pip install 'miafast[dp]'.") from None
    torch.manual_seed(integer(seed, 0, "opacus"))
    model = make_model().train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about hooks of PyTorch that Opacus still uses
        wrapped = GradSampleModule(model, loss_reduction="mean")
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=learning_rate), noise_multiplier=noise, max_grad_norm=clip,
        expected_batch_size=batch,
    )  # fmt: skip
    return wrapped, optimizer
