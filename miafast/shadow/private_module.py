"""Differentially private SGD of any module through Opacus: a train function for `audit`, `audit_dp` and defences."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import torch
from torch import nn

from miafast.shadow.augment import Augment
from miafast.shadow.batches import batch_size_for, learning_rates, steps_for
from miafast.shadow.modules import DropoutKeys, build, torch_seeded
from miafast.shadow.random import integer, stream, uniform
from miafast.shadow.recipe import Recipe
from miafast.shadow.resident import Resident
from miafast.tables import Array, Records


def train_privately(
    records: Records, in_indices: Array, seed: int, *, recipe: Recipe, epsilon: float | None = None,
    delta: float = 1e-5, noise_multiplier: float | None = None, clip: float = 1.0, pool: int | None = None,
) -> nn.Module:  # fmt: skip
    """One model by DP-SGD (Abadi et al. 2016, algorithm 1) with the recipe's module, optimiser, rates and steps.

    A batch takes every IN record with chance batch_size / pool (Poisson sampling, which the accounting asks for), the
    gradient of each is clipped to norm ``clip``, noise is added to their sum, and the sum divided by batch_size.
    It trains on the processor, in float32. With `functools.partial` it is a train function.

    epsilon, delta: the noise follows from these by Rényi accounting; or give ``noise_multiplier`` instead.
    pool: how many records the sampling and the number of steps follow from; by default those that are IN. For
        `miafast.audit_dp` give the size of what it trains on, canaries included: who is in must not show in it.

    Raises ValueError where not exactly one of epsilon and noise_multiplier is given, or no noise can keep the first;
    ModuleNotFoundError without Opacus, and Opacus's own errors for layers it cannot take record by record.

    Source: Yousefpour et al. 2021, "Opacus: User-Friendly Differential Privacy Library in PyTorch".

    >>> recipe = Recipe(model=lambda: nn.Linear(4, 2), epochs=2)
    >>> train = functools.partial(train_privately, recipe=recipe, noise_multiplier=1.0)
    """
    if (epsilon is None) == (noise_multiplier is None) or clip <= 0:
        raise ValueError(
            f"epsilon={epsilon}, noise_multiplier={noise_multiplier}, clip={clip}; give one of the first two, and a "
            "clipping norm above 0."
        )
    opacus = _opacus()
    count = len(in_indices)
    pool = count if pool is None else pool
    size, steps = batch_size_for(recipe, pool), steps_for(recipe, pool)
    if epsilon is not None:
        noise_multiplier = noise_for(epsilon, delta, sample_rate=size / pool, steps=steps)
    data = Resident(records, "cpu")
    plain = build(recipe, records.shape, records.classes, seed=seed, model=0)
    with torch_seeded(integer(seed, 0, "group normalisation")):
        plain = opacus.validators.ModuleValidator.fix(plain).train()
    buffers, keys = dict(plain.named_buffers()), DropoutKeys(plain, seed=seed, models=[0])
    module = opacus.GradSampleModule(plain, strict=False)  # the keys of dropout are buffers, which strict refuses
    optimizer = opacus.optimizers.DPOptimizer(
        _optimizer(recipe, plain), noise_multiplier=noise_multiplier, max_grad_norm=clip, expected_batch_size=size,
        generator=torch.Generator().manual_seed(integer(seed, 0, "private noise")),
    )  # fmt: skip
    bits, augment = stream(seed, 0, "poisson batches"), Augment(recipe.augment, seed=seed, model=0)
    with torch_seeded(integer(seed, 0, "training")), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Full backward hook")  # Opacus's: inputs indeed need no gradients
        for step, rate in enumerate(learning_rates(recipe, steps)):
            for name, key in zip(keys.names, keys.at(step)[0], strict=True):
                buffers[name].fill_(int(key))
            for group in optimizer.param_groups:
                group["lr"] = rate
            chosen = torch.as_tensor(in_indices[uniform(bits, count) < size / pool])
            optimizer.zero_grad()
            if len(chosen):
                logits = module(augment(data.inputs(chosen)))
                nn.functional.cross_entropy(logits, data.y[chosen], label_smoothing=recipe.label_smoothing).backward()
            else:  # noise alone
                for each in plain.parameters():
                    each.grad_sample = each.new_zeros((0, *each.shape))
            optimizer.step()
    trained: nn.Module = module.to_standard_module()
    return trained.eval()


def _optimizer(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    parameters, rate, decay = list(module.parameters()), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, rate, recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov, fused=True
        )
    which = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return which(parameters, rate, weight_decay=decay, fused=True)


@functools.lru_cache(maxsize=256)
def noise_for(epsilon: float, delta: float, *, sample_rate: float, steps: int) -> float:
    """The smallest noise, in units of the clipping norm, that keeps this many Poisson-sampled steps (ε, δ)-private.

    By Rényi accounting (Mironov, Talwar & Zhang 2019) to a hundredth of it. 0 for an infinite ε.
    """
    if math.isinf(epsilon):
        return 0.0
    from opacus.accountants.utils import get_noise_multiplier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of Rényi orders at their end: the bound holds, if not tight
        try:
            return float(
                get_noise_multiplier(
                    target_epsilon=epsilon, target_delta=delta, sample_rate=sample_rate, steps=steps,
                    accountant="rdp", epsilon_tolerance=0.01 * epsilon,
                )
            )  # fmt: skip
        except ValueError:
            raise ValueError(
                f"epsilon={epsilon} cannot be reached in {steps} steps on {sample_rate:.2g} of the records each with "
                f"delta={delta:g}; allow a larger one, or train for fewer epochs."
            ) from None


def _opacus() -> Any:
    try:
        import opacus
        import opacus.optimizers
        import opacus.validators
    except ModuleNotFoundError as error:
        if error.name != "opacus":
            raise
        raise ModuleNotFoundError("DP-SGD needs Opacus: pip install 'miafast[dp]'.", name="opacus") from None
    return opacus
