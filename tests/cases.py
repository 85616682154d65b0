"""Inputs that every twin of an op must agree on with the float64 NumPy truth.

``@cases("op_name", tolerance=...)`` marks a function that yields cases. ``tolerance(case, expected)`` says how far a
result may lie from the truth computed in float64: what honest rounding of the same computation in its dtype costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from miafast.ops import dispatch


@dataclass(frozen=True)
class Case:
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    slow: bool = False


Tolerance = Callable[[Case, np.ndarray], Any]
CASES: dict[str, tuple[Callable[[], Iterator[Case]], Tolerance]] = {}


def cases(op_name: str, tolerance: Tolerance) -> Callable[[Callable[[], Iterator[Case]]], Callable[[], Iterator[Case]]]:
    def register(function: Callable[[], Iterator[Case]]) -> Callable[[], Iterator[Case]]:
        CASES[op_name] = (function, tolerance)
        return function

    return register


# --- LiRA and the loss threshold --------------------------------------------------------------------------------

LIRA_RULES = [
    {"mode": mode, "tail": tail, "center": center, "variance": variance}
    for mode, tail in (("online", "one-sided"), ("offline", "one-sided"), ("offline", "two-sided"))
    for center in ("mean", "median")
    for variance in ("per-record", "pooled", "shrunken", "total")
]


def _score_tolerance(case: Case, expected: np.ndarray) -> Any:
    """Each score is a difference of a few terms of its own size, of which z² costs the most roundings."""
    doubles = any(isinstance(each, np.ndarray) and each.dtype == np.float64 for each in case.args)
    return (1e-8 if doubles else 2e-5) * (1 + np.abs(expected))


def _bfloat16(values: np.ndarray) -> np.ndarray:
    bits = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return bits.view(dispatch.BFLOAT16)


def _lira_inputs(models: int, records: int, queries: int, *, balanced: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Signals [models, records, queries] of a leak, and in_mask; every record has both sides if it can."""
    rng = np.random.default_rng(models * records + queries)
    in_mask = rng.random((models, records)) < 0.5
    in_mask[:2], in_mask[2:4] = True, False
    if balanced:
        in_mask = rng.random((models, records)).argsort(axis=0) < models // 2
    spread = rng.gamma(2.0, 0.5, size=(records, 1))
    phi = (
        rng.normal(2.0, 3.0, size=(records, 1))
        + in_mask[:, :, None]
        + spread * rng.normal(size=(models, records, queries))
    )
    return phi, in_mask


def _lira_data() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, shadow, in_mask) that single out one difficulty each."""
    phi, in_mask = _lira_inputs(9, 530, 1)
    single = phi.astype(np.float32)
    yield "no_records", single[:, :0], in_mask[:, :0]
    yield "one_record", single[:, :1], in_mask[:, :1]
    yield "sixteen_records", single[:, :16], in_mask[:, :16]
    yield "float16", phi.astype(np.float16), in_mask
    yield "bfloat16", _bfloat16(phi), in_mask
    yield (
        "strided",
        np.ascontiguousarray(single[:, ::-1].transpose(1, 0, 2)).transpose(1, 0, 2)[:, ::2],
        in_mask[:, ::2],
    )
    wide_mask = np.zeros((9, 1060), bool)
    wide_mask[:, ::2] = in_mask
    yield "strided_mask", phi, wide_mask[:, ::2]
    yield "huge_mean_small_spread", np.round(phi * 16) / 16 + 2.0**14, in_mask
    yield "huge_mean_small_spread_float32", (np.round(phi * 8) / 16 + 2.0**18).astype(np.float32), in_mask
    yield "ties", np.round(single), in_mask
    yield "all_equal", np.full_like(single, 1.5), in_mask
    outlier = phi.copy()
    outlier[4] += 1e5
    yield "one_model_far_off", outlier, in_mask
    lonely = in_mask.copy()
    lonely[:, 0], lonely[:, 1], lonely[:, 2], lonely[1:, 3] = True, False, False, True
    lonely[0, 2], lonely[0, 3] = True, False
    yield "records_all_in_never_in_once", single, lonely
    broken = single.copy()
    broken[0, 5], broken[3, 6], broken[8, 7] = np.nan, np.inf, -np.inf
    yield "nan_and_infinities", broken, in_mask
    many, many_mask = _lira_inputs(261, 40, 1)
    yield "more_than_255_models", many.astype(np.float32), many_mask
    two, two_mask = _lira_inputs(2, 20, 1, balanced=True)
    yield "two_models", two, two_mask
    for models, balanced in ((8, True), (33, False)):
        several, several_mask = _lira_inputs(models, 70, 3, balanced=balanced)
        yield f"three_queries_{models}_models", several.astype(np.float32), several_mask


def _rule_name(rule: dict[str, str]) -> str:
    return "-".join(rule.values())


@cases("lira", tolerance=_score_tolerance)
def lira_cases() -> Iterator[Case]:
    for dtype in (np.float32, np.float64):
        phi, in_mask = _lira_inputs(13, 300, 2)
        for rule in LIRA_RULES:
            args = (phi[1].astype(dtype) + 1, phi.astype(dtype), in_mask)
            yield Case(f"{dtype.__name__}-{_rule_name(rule)}", args, rule)
    for name, shadow, in_mask in _lira_data():
        for rule in LIRA_RULES[::5]:
            yield Case(f"{name}-{_rule_name(rule)}", (shadow[-1], shadow, in_mask), rule)
    far = np.array([[-1e4], [-300.0], [-40.0], [0.0], [40.0], [1e4]])
    steady = np.tile(np.array([-1.0, 1.0, -1.0, 1.0])[:, None, None], (1, 6, 1))
    for rule in LIRA_RULES[8:16]:
        yield Case(
            f"far_tails-{_rule_name(rule)}", (far, steady, np.repeat([[True], [True], [False], [False]], 6, 1)), rule
        )


@cases("lira_leave_one_out", tolerance=_score_tolerance)
def lira_leave_one_out_cases() -> Iterator[Case]:
    for balanced in (False, True):
        phi, in_mask = _lira_inputs(12, 90, 2, balanced=balanced)
        for dtype in (np.float32, np.float64):
            for rule in LIRA_RULES:
                name = f"{'balanced' if balanced else 'coins'}-{dtype.__name__}-{_rule_name(rule)}"
                yield Case(name, (phi.astype(dtype), in_mask), rule)
    for name, shadow, in_mask in _lira_data():
        if len(shadow) < 100:
            for rule in LIRA_RULES[::5]:
                yield Case(f"{name}-{_rule_name(rule)}", (shadow, in_mask), rule)


@cases("lira_multivariate", tolerance=_score_tolerance)
def lira_multivariate_cases() -> Iterator[Case]:
    phi, in_mask = _lira_inputs(12, 40, 3)
    for rule in LIRA_RULES[::5]:
        yield Case(_rule_name(rule), (phi[0].astype(np.float32), phi.astype(np.float32), in_mask), rule)
    yield Case("no_records", (phi[0, :0], phi[:, :0], in_mask[:, :0]))


@cases("lira_multivariate_leave_one_out", tolerance=_score_tolerance)
def lira_multivariate_leave_one_out_cases() -> Iterator[Case]:
    phi, in_mask = _lira_inputs(8, 40, 3, balanced=True)
    yield Case("balanced", (phi.astype(np.float32), in_mask))


@cases("lira_released_code", tolerance=_score_tolerance)
def lira_released_code_cases() -> Iterator[Case]:
    phi, in_mask = _lira_inputs(12, 40, 2)
    for mode in ("online", "offline"):
        for variance in ("per-record", "total"):
            args = (phi[0].astype(np.float32), phi.astype(np.float32), in_mask)
            yield Case(f"{mode}-{variance}", args, {"mode": mode, "variance": variance})
    yield Case("no_records", (phi[0, :0], phi[:, :0], in_mask[:, :0]))


@cases("lira_released_code_leave_one_out", tolerance=_score_tolerance)
def lira_released_code_leave_one_out_cases() -> Iterator[Case]:
    phi, in_mask = _lira_inputs(8, 40, 2, balanced=True)
    yield Case("balanced", (phi.astype(np.float32), in_mask))


@cases("negative_loss", tolerance=_score_tolerance)
def negative_loss_cases() -> Iterator[Case]:
    phi = np.array([[-1e4, -100.0, -1.0], [0.0, 1.0, 100.0], [np.nan, 0.0, 0.0], [np.inf, -np.inf, 0.0]])
    for dtype in (np.float16, np.float32, np.float64):
        yield Case(dtype.__name__, (phi.astype(dtype),))
    yield Case("no_records", (phi[:0],))
