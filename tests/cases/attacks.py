"""What attacks other than LiRA and RMIA compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.cases.registry import Case, bfloat16, cases
from tests.cases.shadows import lira_data, score_tolerance


def _against_shadow(*more: dict[str, str]) -> Iterator[Case]:
    for name, phi, in_mask in lira_data():
        if len(phi) < 4 or not (np.isfinite(phi).all() if phi.dtype.kind == "f" else False):
            continue
        for options in more or ({},):
            label = "-".join((name, *options.values()))
            yield Case(f"one-{label}", (phi[0], phi[1:], in_mask[1:]), options)
            yield Case(f"all-{label}", (None, phi, in_mask), options)


@cases("difficulty", tolerance=score_tolerance)
def difficulty_cases() -> Iterator[Case]:
    yield from _against_shadow({"mode": "offline"}, {"mode": "online"})


def _percentile_tolerance(case: Case, expected: np.ndarray) -> Any:
    """Standard scores are from sums about the median of all models: squares less the mean's lose digits."""
    digits = 100 if case.kwargs["smooth"] in ("loss", "logit") else 1
    return digits * score_tolerance(case, expected)


@cases("out_percentile", tolerance=_percentile_tolerance)
def out_percentile_cases() -> Iterator[Case]:
    yield from _against_shadow({"smooth": "none"}, {"smooth": "linear"}, {"smooth": "loss"}, {"smooth": "logit"})


@cases("above_class_threshold", tolerance=score_tolerance)
def above_class_threshold_cases() -> Iterator[Case]:
    for case in _against_shadow():
        yield Case(case.name, (*case.args, np.arange(case.args[1].shape[1]) % 3))


@cases("population_share", tolerance=lambda case, expected: 1e-6)
def population_share_cases() -> Iterator[Case]:
    phi = np.random.default_rng(0).normal(size=(3, 40, 2)).astype(np.float32).round(1)
    yield Case("outside", (phi, phi[:, :15, 0] + 1))
    yield Case("inside, ties", (phi, phi[:, 5:25, 0]), {"columns": np.arange(5, 25)})
    yield Case("one model", (phi[0], phi[0, :, 0]), {"columns": np.arange(40)})


@cases("higher_share", tolerance=lambda case, expected: 1e-6)
def higher_share_cases() -> Iterator[Case]:
    random = np.random.default_rng(0)
    yield Case("ties", (random.integers(3, size=(4, 30, 2)) * 1.0, random.integers(3, size=(4, 30, 7)) * 1.0))
    yield Case("not finite", (np.array([[np.nan], [1.0], [2.0]]), np.array([[1.0, 2.0], [np.inf, 1.0], [3.0, 1.0]])))


@cases("loss_window", tolerance=lambda case, expected: 1e-5 * np.abs(expected))
def loss_window_cases() -> Iterator[Case]:
    random = np.random.default_rng(0)
    in_mask = random.random((6, 300)) < 0.5
    loss, ratio = random.exponential(size=(6, 300)) + 0.2 * ~in_mask, random.integers(11, size=(6, 300)) / 10
    for leave_one_out in (False, True):
        options = {"fpr": 0.1, "leave_one_out": leave_one_out}
        yield Case(f"coins-{leave_one_out}", (loss, ratio, in_mask), options)


@cases("neighbour_share", tolerance=lambda case, expected: 1e-6)
def neighbour_share_cases() -> Iterator[Case]:
    draw = np.random.default_rng(0)
    for models, records, classes in ((4, 300, 3), (2, 2, 2), (7, 129, 10), (33, 47, 5)):
        logits = draw.normal(size=(models, records, classes)).astype(np.float32)
        for leave_one_out in (False, True):
            options = {"radius": 0.4, "references": 50, "leave_one_out": leave_one_out}
            yield Case(f"{models}x{records}x{classes}-{leave_one_out}", (logits,), options)
    yield Case("obtuse", (logits,), options | {"radius": 1.9})
    odd = logits.copy()
    odd[3, 5, 1], odd[0, 46, 0], odd[:, 8] = np.nan, np.inf, 1.0
    yield Case("not finite", (odd,), options)
    yield Case("beyond float32", (np.where(np.isinf(odd), 1e39, odd.astype(np.float64)),), options)
    yield Case("float64", (logits.astype(np.float64)[::2, ::3],), options)
    yield Case("bfloat16", (bfloat16(logits),), options)
