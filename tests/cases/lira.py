"""LiRA, and the loss threshold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.cases.registry import Case, bfloat16, cases
from tests.cases.shadows import lira_data, lira_inputs, score_tolerance

LIRA_RULES = [
    {"mode": mode, "tail": tail, "center": center, "variance": variance}
    for mode, tail in (("online", "one-sided"), ("offline", "one-sided"), ("offline", "two-sided"))
    for center in ("mean", "median")
    for variance in ("per-record", "pooled", "shrunken", "total")
]


def _rule_name(rule: dict[str, str]) -> str:
    return "-".join(rule.values())


@cases("lira", tolerance=score_tolerance)
def lira_cases() -> Iterator[Case]:
    for dtype in (np.float32, np.float64):
        phi, in_mask = lira_inputs(13, 300, 2)
        for rule in LIRA_RULES:
            args = (phi[1].astype(dtype) + 1, phi.astype(dtype), in_mask)
            yield Case(f"{dtype.__name__}-{_rule_name(rule)}", args, rule)
    for name, shadow, in_mask in lira_data():
        for rule in LIRA_RULES[::5]:
            yield Case(f"{name}-{_rule_name(rule)}", (shadow[-1], shadow, in_mask), rule)
    far = np.array([[-1e4], [-300.0], [-40.0], [0.0], [40.0], [1e4]])
    steady = np.tile(np.array([-1.0, 1.0, -1.0, 1.0])[:, None, None], (1, 6, 1))
    for rule in LIRA_RULES[8:16]:
        yield Case(
            f"far_tails-{_rule_name(rule)}", (far, steady, np.repeat([[True], [True], [False], [False]], 6, 1)), rule
        )


@cases("lira_leave_one_out", tolerance=score_tolerance)
def lira_leave_one_out_cases() -> Iterator[Case]:
    for balanced in (False, True):
        phi, in_mask = lira_inputs(12, 90, 2, balanced=balanced)
        for dtype in (np.float32, np.float64):
            for rule in LIRA_RULES:
                name = f"{'balanced' if balanced else 'coins'}-{dtype.__name__}-{_rule_name(rule)}"
                yield Case(name, (phi.astype(dtype), in_mask), rule)
        phi, in_mask = lira_inputs(24, 512, 2, balanced=balanced)  # whole vectors, enough models on both sides
        for dtype in (np.float32, np.float64):
            name = f"{'balanced' if balanced else 'coins'}-{dtype.__name__}-whole_vectors"
            yield Case(name, (phi.astype(dtype), in_mask), {})
    for name, shadow, in_mask in lira_data():
        if len(shadow) < 100:
            for rule in LIRA_RULES[::5]:
                yield Case(f"{name}-{_rule_name(rule)}", (shadow, in_mask), rule)
    for balanced in (False, True):  # finite again where that model is left out, as the target or its counterpart
        phi, in_mask = lira_inputs(10, 48, 1, balanced=balanced)  # whole vectors, as most of many records are
        for dtype in (np.float32, np.float64):
            broken = phi.astype(dtype)
            broken[4, :4, 0] = np.nan, np.inf, -np.inf, np.nan
            for rule in LIRA_RULES[:8]:
                name = f"{'balanced' if balanced else 'coins'}-{dtype.__name__}-one_model_not_finite-{_rule_name(rule)}"
                yield Case(name, (broken, in_mask), rule)
        far = phi.astype(np.float32)
        far[4] += 1e5
        for mode in ("online", "offline"):
            name = f"{'balanced' if balanced else 'coins'}-one_model_far_off-{mode}"
            yield Case(name, (far, in_mask), {"mode": mode, "variance": "per-record"})


@cases("lira_multivariate", tolerance=score_tolerance)
def lira_multivariate_cases() -> Iterator[Case]:
    phi, in_mask = lira_inputs(12, 40, 3)
    for rule in LIRA_RULES[::5]:
        yield Case(_rule_name(rule), (phi[0].astype(np.float32), phi.astype(np.float32), in_mask), rule)
    yield Case("no_records", (phi[0, :0], phi[:, :0], in_mask[:, :0]))


@cases("lira_multivariate_leave_one_out", tolerance=score_tolerance)
def lira_multivariate_leave_one_out_cases() -> Iterator[Case]:
    phi, in_mask = lira_inputs(8, 40, 3, balanced=True)
    yield Case("balanced", (phi.astype(np.float32), in_mask))
    phi, in_mask = lira_inputs(9, 30, 2)
    for rule in LIRA_RULES[::7]:
        yield Case(f"coins-{_rule_name(rule)}", (phi, in_mask), rule)
    phi[2, 4, 1], phi[5, 6] = np.nan, np.inf
    yield Case("not finite", (phi, in_mask), {"variance": "per-record"})


@cases("lira_released_code", tolerance=score_tolerance)
def lira_released_code_cases() -> Iterator[Case]:
    phi, in_mask = lira_inputs(12, 40, 2)
    for mode in ("online", "offline"):
        for variance in ("per-record", "total"):
            args = (phi[0].astype(np.float32), phi.astype(np.float32), in_mask)
            yield Case(f"{mode}-{variance}", args, {"mode": mode, "variance": variance})
    yield Case("no_records", (phi[0, :0], phi[:, :0], in_mask[:, :0]))


@cases("lira_released_code_leave_one_out", tolerance=score_tolerance)
def lira_released_code_leave_one_out_cases() -> Iterator[Case]:
    phi, in_mask = lira_inputs(8, 40, 2, balanced=True)
    yield Case("balanced", (phi.astype(np.float32), in_mask))
    phi, in_mask = lira_inputs(11, 40, 2)
    in_mask[:2], in_mask[2:4] = True, False
    for rule in (
        {"mode": mode, "variance": each} for mode in ("online", "offline") for each in ("per-record", "total")
    ):
        yield Case(f"coins-{'-'.join(rule.values())}", (phi, in_mask), rule)
    broken = phi.copy()
    broken[1, 3], broken[6, 5, 1], broken[9, 7, 0] = np.nan, np.inf, -np.inf
    yield Case("not finite", (broken, in_mask))


@cases("negative_loss", tolerance=score_tolerance)
def negative_loss_cases() -> Iterator[Case]:
    phi = np.array([[-1e4, -100.0, -1.0], [0.0, 1.0, 100.0], [np.nan, 0.0, 0.0], [np.inf, -np.inf, 0.0]])
    for dtype in (np.float16, np.float32, np.float64):
        yield Case(dtype.__name__, (phi.astype(dtype),))
    yield Case("no_records", (phi[:0],))
    draw = np.random.default_rng(0)
    many = 200.0 * draw.normal(size=(3, 1100, 4)) ** 3
    yield Case("blocks", (many,))
    yield Case("strided", (many.astype(np.float32)[::-1, ::2, 1::2],))
    yield Case("bfloat16", (bfloat16(many),))
    yield Case("leads", (draw.normal(size=(2, 3, 17, 1)).astype(np.float32),))
