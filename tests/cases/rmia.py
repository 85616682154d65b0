"""RMIA: ratios, their logarithms, and means of what is left."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.cases.registry import Case, bfloat16, cases
from tests.cases.shadows import lira_data, lira_inputs, score_tolerance


def _rmia_tolerance(case: Case, expected: np.ndarray) -> Any:
    """None: the very counts; shares of float32 ratios are the float32 nearest to them."""
    doubles = any(isinstance(each, np.ndarray) and each.dtype == np.float64 for each in case.args)
    return 0 if doubles else np.spacing(expected.astype(np.float32)) / 2


@cases("rmia", tolerance=_rmia_tolerance)
def rmia_cases() -> Iterator[Case]:
    draw = np.random.default_rng(0)
    for records, population in ((2000, 3), (0, 5), (1, 1), (5, 257), (1025, 1000), (3000, 64)):
        x, z = draw.normal(size=(records, 1)), draw.normal(size=population)
        for gamma in (1.0, 2.0, 0.7):
            yield Case(f"{records}x{population}-{gamma}", (x, z), {"gamma": gamma})
            yield Case(f"{records}x{population}-{gamma}-float32", (x.astype(np.float32), z.astype(np.float32)),
                       {"gamma": gamma})  # fmt: skip
    x = draw.normal(size=(3, 2, 400, 5))
    for queries in range(1, 6):
        some = x[..., :queries]
        yield Case(f"{queries}-queries-pool", (some, some[..., 0]), {"columns": np.arange(400), "gamma": 1.3})
    columns = draw.permutation(400)[:90]
    yield Case("columns", (x, x[:, :, columns, 0]), {"columns": columns})
    yield Case(
        "columns-int32-strided", (x[:, :, ::2, ::2], x[:, :, ::4, 1]), {"columns": np.arange(100, dtype=np.int32) * 2}
    )
    yield Case("few-leads-mixed-types", (x[0, :1].astype(np.float32), x[0, :1, :, 0]), {"gamma": 1.1})
    # Ratios and margins whose differences are exactly, or a rounding away from, log gamma.
    steps = math.log(2.0) * draw.integers(-8, 8, size=(500, 3))
    yield Case("ties-at-gamma", (steps, steps[:, 0] * (1 + 2.0**-52)), {"gamma": 2.0, "columns": np.arange(500)})
    yield Case("ties", (np.round(x), np.round(x[..., 0])), {"columns": np.arange(400)})
    yield Case("all-equal", (np.zeros((300, 2)), np.zeros(300)), {"columns": np.arange(300)})
    yield Case("alone", (np.zeros((1, 1)), np.zeros(1)), {"columns": np.arange(1)})
    yield Case("tiny-beside-huge", (np.sinh(100 * x), np.sinh(100 * x[..., 1])), {"gamma": 3.0})
    odd = np.where(draw.random(x.shape) < 0.1, draw.choice([np.inf, -np.inf, 0.0, -0.0], x.shape), x)
    yield Case("infinities", (odd, odd[..., 0]), {"columns": np.arange(400)})
    holes = np.where(draw.random(x.shape) < 0.05, np.nan, odd).astype(np.float32)
    yield Case("nan", (holes, holes[..., 0]), {"columns": np.arange(400)})
    yield Case("nan-population", (x, np.full((3, 2, 7), np.nan)))
    yield Case("float16", (x.astype(np.float16), x[..., 0].astype(np.float16)))
    yield Case("bfloat16", (bfloat16(x), bfloat16(x[..., 0])))


@cases("trimmed_mean", tolerance=score_tolerance)
def trimmed_mean_cases() -> Iterator[Case]:
    draw = np.random.default_rng(0)
    several = tuple(draw.normal(size=(7, 3, 50)))
    for low, high in ((0.0, 1.0), (0.5, 1.0), (0.2, 0.8), (1.0, 1.0), (0.0, 0.0), (0.3, 0.3)):
        yield Case(f"{low}-{high}", several, {"low": low, "high": high})
        yield Case(
            f"{low}-{high}-float32", tuple(each.astype(np.float32) for each in several[:4]), {"low": low, "high": high}
        )
    yield Case("alone", several[:1])
    yield Case("nan", (np.array([np.nan, 1.0]), np.array([0.0, 2.0])), {"low": 0.0, "high": 0.5})
    yield Case("infinities", (np.array([-np.inf, np.inf]), np.array([0.0, -np.inf])), {"low": 0.5})


LOG_RATIO_RULES = [
    {"mode": "online"}, {"mode": "online", "temperature": 2.5}, {"mode": "offline"},
    {"mode": "offline", "offline_a": 0.3}, {"mode": "offline", "offline_a": 0.0, "temperature": 0.5},
]  # fmt: skip


def _log_ratio_tolerance(case: Case, expected: np.ndarray) -> Any:
    """Rounding to the result's type, and of two terms that may cancel: signals here are below 1e6."""
    doubles = any(isinstance(each, np.ndarray) and each.dtype == np.float64 for each in case.args)
    return (1e-12 if doubles else 2e-7) * np.abs(expected) + 1e-10


@cases("log_ratio", tolerance=_log_ratio_tolerance)
def log_ratio_cases() -> Iterator[Case]:
    for name, shadow, in_mask in lira_data():
        for rule in LOG_RATIO_RULES:
            yield Case(f"{name}-{'-'.join(map(str, rule.values()))}", (shadow[-1], shadow, in_mask), rule)
    phi = _far_signals(3)
    for rule in LOG_RATIO_RULES:
        in_mask = np.repeat([[True], [False], [False]], phi.shape[1], axis=1)
        yield Case(f"far-{'-'.join(map(str, rule.values()))}", (phi[1], phi, in_mask), rule)


def _far_signals(models: int) -> np.ndarray:
    """phi [models, records, 1]: every choice of signals far apart."""
    far = np.array([-1e4, -800.0, -40.0, 0.0, 40.0, 300.0, 1e4])
    return np.stack(np.meshgrid(*[far] * models), axis=-1).reshape(-1, models).T[:, :, None]


@cases("log_ratio_leave_one_out", tolerance=_log_ratio_tolerance)
def log_ratio_leave_one_out_cases() -> Iterator[Case]:
    for balanced in (False, True):
        phi, in_mask = lira_inputs(12, 90, 2, balanced=balanced)
        for rule in LOG_RATIO_RULES:
            name = f"{'balanced' if balanced else 'coins'}-{'-'.join(map(str, rule.values()))}"
            yield Case(name, (phi, in_mask), rule)
            yield Case(f"{name}-float32", (phi.astype(np.float32), in_mask), rule)
            broken = phi.copy()
            broken[4, :4, 0] = np.nan, np.inf, -np.inf, np.nan
            yield Case(f"{name}-one_model_not_finite", (broken, in_mask), rule)
    for name, shadow, in_mask in lira_data():
        if len(shadow) < 100:
            for rule in LOG_RATIO_RULES[::3]:
                yield Case(f"{name}-{'-'.join(map(str, rule.values()))}", (shadow, in_mask), rule)
    phi = _far_signals(4)
    for in_models in ([True, False, False, True], [True, True, False, True]):
        in_mask = np.repeat(np.array(in_models)[:, None], phi.shape[1], axis=1)
        in_mask[:, 0] = [False, True, True, False] if sum(in_models) == 2 else [False] * 4
        for rule in LOG_RATIO_RULES:
            name = f"far-{sum(in_models)}-{'-'.join(map(str, rule.values()))}"
            yield Case(name, (phi, in_mask), rule)
