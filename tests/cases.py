"""Inputs that every twin of an op must agree on with the float64 NumPy truth.

``@cases("op_name", tolerance=...)`` marks a function that yields cases. ``tolerance(case, expected)`` says how far a
result may lie from the truth computed in float64: what honest rounding of the same computation in its dtype costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from miafast.ops.dispatch import BFLOAT16, as_float
from miafast.ops.mlp_confidence import layers


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


# logit_confidence and signals
def _logits_tolerance(case: Case, expected: np.ndarray) -> np.ndarray:
    """Some roundings of the difference z_y - max, which |phi| + log(classes) bounds, and of the sum's logarithm."""
    logits = case.args[0]
    rounding = np.finfo(np.float64 if logits.dtype == np.float64 else np.float32).eps
    return 4 * rounding * (1 + np.abs(expected.astype(np.float64)) + np.log(logits.shape[-1]))


def bfloat16(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(BFLOAT16)


def _logits_and_labels(
    *shape: int, dtype: type = np.float32, spread: float = 4.0, labels: type = np.int64
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(sum(shape))
    logits = (spread * rng.standard_normal(shape)).astype(dtype)
    return logits, rng.integers(0, shape[-1], shape[-2]).astype(labels)


@cases("signals", _logits_tolerance)
@cases("logit_confidence", _logits_tolerance)
def logits_cases() -> Iterator[Case]:
    for classes in (1, 2, 3, 5, 10, 63, 64, 65, 200, 255, 256, 257, 1000):
        yield Case(f"{classes}-classes", _logits_and_labels(150, classes))
    for records in (0, 1, 3, 16, 63, 64, 65, 1000):
        yield Case(f"{records}-records", _logits_and_labels(records, 10))
    for dtype in (np.float16, np.float64):
        for classes in (3, 10, 300):
            yield Case(f"{np.dtype(dtype)}-{classes}", _logits_and_labels(131, classes, dtype=dtype))
    for classes in (3, 10, 300):
        logits, labels = _logits_and_labels(131, classes)
        yield Case(f"bfloat16-{classes}", (bfloat16(logits), labels))
    for labels_type in (np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.uint64, ">i4"):
        yield Case(f"labels-{np.dtype(labels_type).str}", _logits_and_labels(70, 10, labels=labels_type))
    yield Case("threads", _logits_and_labels(3, 9000, 10))
    yield from _logits_laid_out_oddly()
    yield from _logits_of_odd_values()


def _logits_laid_out_oddly() -> Iterator[Case]:
    logits, labels = _logits_and_labels(4, 3, 90, 12)
    yield Case("leading-axes", (logits, labels))
    yield Case("leading-axes-permuted", (logits.transpose(1, 0, 2, 3), labels))
    yield Case("no-models", (logits[:0], labels))
    yield Case("rows-strided", (logits[0, 0, ::3, :7], labels[::3] % 7))
    yield Case("rows-reversed", (logits[0, 0, ::-1], labels[::-1]))
    yield Case("classes-strided", (logits[0, :, :, ::2], labels % 6))
    yield Case("classes-reversed", (logits[0, 0, :, ::-1], labels))
    yield Case("fortran-order", (np.asfortranarray(logits[0, 0]), labels))
    yield Case("broadcast-models", (np.broadcast_to(logits[0, 0], (5, 90, 12)), labels))
    yield Case("broadcast-records", (np.broadcast_to(logits[0, 0, :1], (90, 12)), labels))
    wide, wide_labels = _logits_and_labels(40, 700)
    for name, view in (("rows", wide[::2]), ("classes", wide[::2, ::2]), ("fortran", np.asfortranarray(wide)[::2])):
        yield Case(f"wide-{name}-strided", (view, wide_labels[::2] % view.shape[-1]))
    for dtype in (np.float16, np.float64):
        other, other_labels = _logits_and_labels(40, 30, dtype=dtype)
        yield Case(f"{np.dtype(dtype)}-strided", (other[::2, ::3], other_labels[::2] % 10))
    unaligned = np.zeros((50, 41), np.uint8)[:, 1:].view(np.float32)
    unaligned[...] = _logits_and_labels(50, 10)[0]
    yield Case("unaligned", (unaligned, np.arange(50) % 10))


def _logits_of_odd_values() -> Iterator[Case]:
    for classes in (7, 300):
        logits, labels = _logits_and_labels(80, classes)
        yield Case(f"ties-{classes}", (np.round(logits / 4), labels))
        yield Case(f"all-equal-{classes}", (np.zeros_like(logits), labels))
        yield Case(f"sure-{classes}", (logits * 30, labels))
        yield Case(f"huge-mean-small-spread-{classes}", (logits * np.float32(1e-3) + np.float32(1e4), labels))
        yield Case(f"huge-{classes}", (logits * np.float32(1e30), labels))
        for holes in (0.02, 0.6):
            rng = np.random.default_rng(classes)
            for name, values in (("minus-inf", [-np.inf]), ("inf", [np.inf, -np.inf]), ("nan", [np.nan, np.inf])):
                odd = np.where(rng.random(logits.shape) < holes, rng.choice(values, logits.shape), logits)
                yield Case(f"{name}-{holes}-{classes}", (odd.astype(np.float32), labels))
    every = np.array(np.meshgrid(*[[-np.inf, 0.0, 1.0, np.inf, np.nan]] * 3)).reshape(3, -1).T
    for label in range(3):
        yield Case(f"specials-{label}", (every, np.full(len(every), label)))
    yield Case("specials-one-class", (every[:, :1], np.zeros(len(every), np.int64)))
    largest = np.finfo(np.float32).max
    yield Case("largest-numbers", (np.array([[largest / 4, -largest / 4, 0.0]], np.float32), np.array([1])))


# Scores and membership


def _scores_and_members() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    draw = np.random.default_rng(0)
    for size in (2, 3, 255, 256, 257, 4099, 65_537):  # sizes around the kernels' small-sort, block and range limits
        is_member = draw.random(size) < 0.5
        is_member[:2] = True, False
        scores = draw.normal(size=size) + is_member
        yield f"{size}", scores, is_member
        yield f"{size}-float32", scores.astype(np.float32), is_member
    few = np.arange(size) % 1000 == 1
    yield "few-members", scores, few
    yield "few-non-members", scores, ~few
    yield "sorted", np.sort(scores), is_member
    yield "all-tied", np.full(size, 0.25), is_member
    yield "hundredths", scores.round(2), is_member
    yield "float16", scores.astype(np.float16), is_member
    yield "bfloat16", bfloat16(scores), is_member
    yield "float16-short", np.array([-0.0, 0.0, np.inf, -np.inf, 6e-8], np.float16), np.arange(5) % 2 == 0
    yield "narrow", 1 - 1e-12 * np.abs(scores), is_member  # one binade, equal leading digits
    yield "huge-and-tiny", np.sinh(40 * scores), is_member
    yield "narrow-with-outliers", np.where(draw.random(size) < 0.1, scores * 1e300, 1 - 1e-12 * scores), is_member
    infinite = np.select([draw.random(size) < 0.1, draw.random(size) < 0.3], [np.inf, -np.inf], scores)
    yield "infinities", infinite, is_member
    yield "infinities-float32", infinite.astype(np.float32), is_member
    yield "only-infinities", np.where(scores > 0, np.inf, -np.inf), is_member
    yield "signed-zeros", np.where(scores > 0, 0.0, -0.0), is_member
    yield "perfect", np.where(is_member, 1.0, -1.0) * np.abs(scores), is_member
    yield "every-third", scores[::3], is_member[::3]
    yield "reversed", scores[::-1], is_member[::-1]
    yield "two-axes-transposed", scores[: 64 * 1000].reshape(64, 1000).T, is_member[: 64 * 1000].reshape(64, 1000).T
    many = draw.normal(size=1_000_003)
    yield "many-ranges", many, draw.random(many.size) < 0.5
    yield "many-ranges-float32", many.astype(np.float32), draw.random(many.size) < 0.01


@cases("roc_counts", tolerance=lambda case, expected: 0)
def _roc_counts() -> Iterator[Case]:
    yield Case("empty", (np.zeros(0), np.zeros(0, bool)))
    yield Case("one-member", (np.ones(1), np.ones(1, bool)))
    yield Case("only-non-members", (np.arange(300.0) % 7, np.zeros(300, bool)))
    for name, scores, is_member in _scores_and_members():
        yield Case(name, (scores, is_member))


@cases("tpr_at", tolerance=lambda case, expected: 0)
def _tpr_at() -> Iterator[Case]:
    fprs = np.array([1e-3, 0.0, 0.1, 1.0, 0.01, 0.5, 1e-4, 0.999])
    yield Case("no-rates", (np.arange(4.0), np.arange(4) % 2 == 0, np.zeros(0)))
    for name, scores, is_member in _scores_and_members():
        yield Case(name, (scores, is_member, fprs))


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
    yield "bfloat16", bfloat16(phi), in_mask
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
    one_sided = single[:, :16].copy()
    one_sided[np.flatnonzero(in_mask[:, 3])[-1], 3] = np.nan
    yield "nan_on_one_side", one_sided, in_mask[:, :16]
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
        phi, in_mask = _lira_inputs(24, 512, 2, balanced=balanced)  # whole vectors, enough models on both sides
        for dtype in (np.float32, np.float64):
            name = f"{'balanced' if balanced else 'coins'}-{dtype.__name__}-whole_vectors"
            yield Case(name, (phi.astype(dtype), in_mask), {})
    for name, shadow, in_mask in _lira_data():
        if len(shadow) < 100:
            for rule in LIRA_RULES[::5]:
                yield Case(f"{name}-{_rule_name(rule)}", (shadow, in_mask), rule)
    for balanced in (False, True):  # finite again where that model is left out, as the target or its counterpart
        phi, in_mask = _lira_inputs(10, 48, 1, balanced=balanced)  # whole vectors, as most of many records are
        for dtype in (np.float32, np.float64):
            broken = phi.astype(dtype)
            broken[4, :4, 0] = np.nan, np.inf, -np.inf, np.nan
            for rule in LIRA_RULES[:8]:
                name = f"{'balanced' if balanced else 'coins'}-{dtype.__name__}-one_model_not_finite-{_rule_name(rule)}"
                yield Case(name, (broken, in_mask), rule)


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
    phi, in_mask = _lira_inputs(9, 30, 2)
    for rule in LIRA_RULES[::7]:
        yield Case(f"coins-{_rule_name(rule)}", (phi, in_mask), rule)
    phi[2, 4, 1], phi[5, 6] = np.nan, np.inf
    yield Case("not finite", (phi, in_mask), {"variance": "per-record"})


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
    phi, in_mask = _lira_inputs(11, 40, 2)
    in_mask[:2], in_mask[2:4] = True, False
    for rule in (
        {"mode": mode, "variance": each} for mode in ("online", "offline") for each in ("per-record", "total")
    ):
        yield Case(f"coins-{'-'.join(rule.values())}", (phi, in_mask), rule)
    broken = phi.copy()
    broken[1, 3], broken[6, 5, 1], broken[9, 7, 0] = np.nan, np.inf, -np.inf
    yield Case("not finite", (broken, in_mask))


@cases("negative_loss", tolerance=_score_tolerance)
def negative_loss_cases() -> Iterator[Case]:
    phi = np.array([[-1e4, -100.0, -1.0], [0.0, 1.0, 100.0], [np.nan, 0.0, 0.0], [np.inf, -np.inf, 0.0]])
    for dtype in (np.float16, np.float32, np.float64):
        yield Case(dtype.__name__, (phi.astype(dtype),))
    yield Case("no_records", (phi[:0],))


# RMIA


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


@cases("trimmed_mean", tolerance=_score_tolerance)
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
    for name, shadow, in_mask in _lira_data():
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
        phi, in_mask = _lira_inputs(12, 90, 2, balanced=balanced)
        for rule in LOG_RATIO_RULES:
            name = f"{'balanced' if balanced else 'coins'}-{'-'.join(map(str, rule.values()))}"
            yield Case(name, (phi, in_mask), rule)
            yield Case(f"{name}-float32", (phi.astype(np.float32), in_mask), rule)
            broken = phi.copy()
            broken[4, :4, 0] = np.nan, np.inf, -np.inf, np.nan
            yield Case(f"{name}-one_model_not_finite", (broken, in_mask), rule)
    for name, shadow, in_mask in _lira_data():
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


# linear_confidence and mlp_confidence


def _linear_tolerance(case: Case, expected: np.ndarray) -> Any:
    """What sums of `width` products in the computed type cost, and the roundings of phi itself; no wrong verdict."""
    if expected.dtype == bool:
        return 0.5
    features, weight, bias = (None if each is None else as_float(each) for each in case.args[:3])
    rounding = np.finfo(np.float64 if np.float64 in [each.dtype for each in case.args[:2]] else np.float32).eps
    sizes = [np.nan_to_num(np.abs(each), posinf=0.0) for each in (features, weight, 0.0 if bias is None else bias)]
    largest = np.max(sizes[0] @ sizes[1].swapaxes(-1, -2), axis=-1, initial=0.0) + np.max(sizes[2], initial=0.0)
    steps = 4 + np.sqrt(features.shape[-1])
    return rounding * (steps * largest + 4 * (1 + np.abs(expected) + np.log(weight.shape[-2])))


def _linear(
    records: int, classes: int, width: int, *, models: tuple[int, ...] = (), shared: str = "", dtype: Any = np.float32,
    spread: float = 4.0, bias: bool = True,
) -> tuple[Any, ...]:  # fmt: skip
    draw = np.random.default_rng(records + classes + width)

    def some(name: str, *shape: int) -> np.ndarray:
        values = draw.standard_normal((*(() if name in shared else models), *shape)).astype(np.float32)
        return bfloat16(values) if dtype == BFLOAT16 else values.astype(dtype)

    weight = some("weight", classes, width)
    if dtype != BFLOAT16:
        weight = (weight * (spread / np.sqrt(width))).astype(dtype)
    labels = draw.integers(0, classes, records)
    return some("features", records, width), weight, some("bias", classes) if bias else None, labels


@cases("linear_confidence", _linear_tolerance)
def linear_confidence_cases() -> Iterator[Case]:
    for records, classes, width in (
        (0, 3, 4), (1, 1, 1), (3, 2, 1), (17, 5, 7), (63, 6, 127), (64, 7, 128), (65, 95, 129), (130, 96, 64),
        (131, 97, 63), (200, 193, 300), (1100, 10, 33), (2500, 13, 5),
    ):  # fmt: skip
        yield Case(f"{records}x{classes}x{width}", _linear(records, classes, width))
    for dtype in (np.float16, np.float64, BFLOAT16):
        for classes in (1, 10, 101):
            yield Case(f"{np.dtype(dtype).name}-{classes}", _linear(70, classes, 40, dtype=dtype))
    yield Case("no-bias", _linear(70, 11, 40, bias=False))
    for shared in ("", "features", "weight", "bias", "features bias", "features weight", "weight bias"):
        for models in (0, 1, 5):
            args = _linear(77, 12, 20, models=(models,), shared=shared)
            yield Case(f"{models}-models-{shared.replace(' ', '-') or 'nothing'}-shared", args)
    features, weight, bias, labels = _linear(120, 30, 24, models=(4,))
    yield Case("strided", (features[::2, ::3, ::2], weight[::2, ::3, ::2], bias[::2, ::3], labels[::3] % 10))
    yield Case("reversed", (features[:, ::-1, ::-1], weight[::-1, ::-1], bias[:, ::-1], labels[::-1].astype(">i4")))
    turned = features[0].astype(np.float16, order="F"), np.asfortranarray(weight[0])
    yield Case("fortran-order-and-mixed-types", (*turned, bias[0].astype(np.float64), labels))
    bits = (features[0] > 0).astype(np.float32)  # exact in bfloat16, which kernels may make use of
    for name, exact, matrix in (
        ("bits", bits, weight[0]), ("bits-broken-weight", bits, np.where(weight[0] > 2, np.nan, weight[0])),
        ("bits-infinite-weight", bits, np.where(weight[0] > 2, np.inf, weight[0])), ("bits-tiny-weight", bits,
        weight[0] * np.float32(1e-30)), ("bits-largest-weight", bits * 0.125, weight * np.float32(2.0**125)),
        ("bytes", np.round(features[0] * 50), weight), ("bfloat16-features", bfloat16(features[0]), weight),
        ("bfloat16-infinite-features", bfloat16(np.where(features[0] > 2, np.inf, features[0])), weight),
        ("float16-bits", bits.astype(np.float16), weight.astype(np.float16)),
    ):  # fmt: skip
        yield Case(name, (exact, matrix.astype(exact.dtype if exact.dtype == np.float16 else np.float32), bias, labels))
    yield Case("broadcast", (np.broadcast_to(features[0], (3, 120, 24)), weight[0], None, labels))
    yield from _linear_of_odd_values()
    yield from _linear_of_odd_sizes()
    yield Case("many-classes", _linear(150, 5003, 32), slow=True)


def _linear_of_odd_values() -> Iterator[Case]:
    for classes in (4, 200):
        features, weight, bias, labels = _linear(90, classes, 16)
        whole = np.round(features), np.round(weight), np.round(bias)
        yield Case(f"ties-{classes}", (*whole, labels))
        yield Case(f"all-equal-{classes}", (np.zeros_like(features), weight, np.ones_like(bias), labels))
        yield Case(f"huge-{classes}", (whole[0] * np.float32(2.0**100), *whole[1:], labels))
        yield Case(f"sure-{classes}", (features * 100, weight, bias, labels))
        yield Case(f"huge-mean-{classes}", (features, weight, bias + np.float32(1e4), labels))
        for name, values in (("inf", [np.inf, -np.inf]), ("minus-inf", [-np.inf]), ("nan", [np.nan, np.inf])):
            draw = np.random.default_rng(classes)
            for share in (0.02, 0.5):
                odd = np.where(draw.random(bias.shape) < share, draw.choice(values, bias.shape), bias)
                yield Case(f"{name}-bias-{share}-{classes}", (features, weight, odd.astype(np.float32), labels))
            odd = np.where(draw.random(features.shape) < 0.02, draw.choice(values, features.shape), features)
            yield Case(f"{name}-features-{classes}", (odd.astype(np.float32), weight, bias, labels))
    every = np.array(np.meshgrid(*[[-np.inf, 0.0, 1.0, np.inf, np.nan]] * 3)).reshape(3, -1).T  # as biases of models
    for label in range(3):
        args = np.zeros((2, 1)), np.zeros((len(every), 3, 1)), every, np.full(2, label)
        yield Case(f"specials-{label}", args)


def _linear_of_odd_sizes() -> Iterator[Case]:
    """Numbers that kernels which split a float32 into smaller numbers may lose digits of, or not hold at all."""
    features, weight, bias, labels = _linear(100, 70, 40, models=(2,), shared="features")
    small = np.float32(2.0) ** -np.arange(40, dtype=np.float32)  # by column
    largest, smallest = np.finfo(np.float32).max, np.float32(2.0**-126)
    edge = np.where(features > 1, np.float32(2.0**32), features)
    for name, x, matrix in (
        ("columns-of-many-sizes", features * small * np.float32(1e6), weight / small * np.float32(1e-6)),
        ("records-of-many-sizes", features * 10.0 ** (np.arange(100)[:, None] % 9), weight),
        ("tiny-features", features * smallest, weight), ("denormal-features", features * smallest / 64, weight),
        ("tiny-by-huge", features * smallest, weight / smallest / 4), ("at-the-limit", edge, weight),
        ("below-the-limit", np.nextafter(edge, np.float32(0)), weight), ("tiny-weight", features, weight * smallest),
        ("largest-features", np.where(features > 2, largest, features), weight * np.float32(1e-3)),
        ("whole-numbers", np.round(features * 1e6), weight), ("almost-bfloat16", 1 + np.round(features) / 256, weight),
        ("one-broken-model", features, np.where(np.arange(2)[:, None, None] & (weight > 8), np.inf, weight)),
    ):  # fmt: skip
        yield Case(name, (x.astype(np.float32), matrix.astype(np.float32), bias, labels))
    own = np.stack([features, np.where(features > 2, np.float32(1e20), features)])
    yield Case("one-model-of-huge-features", (own, weight, bias, labels))


def _mlp_confidence_tolerance(case: Case, expected: np.ndarray) -> Any:
    """As if every layer's activations were as large as those bounds; errors pass through the layers above."""
    if expected.dtype == bool:
        return 0.5
    x, weights, _ = case.args
    rounding = np.finfo(np.float64 if np.float64 in (x.dtype, weights.dtype) else np.float32).eps
    size = np.abs(as_float(x))[None]
    for weight, bias in layers(np.abs(as_float(weights)), case.kwargs["widths"]):
        size = size @ weight.swapaxes(-1, -2) + bias[:, None, :] + 1e-3
    depth = len(case.kwargs["widths"]) - 1
    return rounding * depth * (4 * size.max(axis=-1) + 4 * (1 + np.abs(expected) + np.log(size.shape[-1])))


def _stack_case(name: str, widths: tuple[int, ...], *, models: int = 3, records: int = 100, activation: str = "relu",
                dtype: Any = np.float32) -> Case:  # fmt: skip
    draw = np.random.default_rng(sum(widths))
    parameters = sum((inside + 1) * outside for inside, outside in pairwise(widths))
    weights = draw.normal(size=(models, parameters)) / np.sqrt(max(widths[:-1])) * 2
    x = draw.normal(size=(records, widths[0]))
    labels = draw.integers(0, widths[-1], records)
    return Case(name, (x.astype(dtype), weights.astype(dtype), labels), {"widths": widths, "activation": activation})


@cases("mlp_confidence", _mlp_confidence_tolerance)
def mlp_confidence_cases() -> Iterator[Case]:
    yield _stack_case("logistic", (5, 3))
    yield _stack_case("one-of-everything", (1, 1, 1), models=1, records=1)
    yield _stack_case("two-layers", (17, 33, 10))
    yield _stack_case("tanh", (17, 33, 10), activation="tanh")
    yield _stack_case("three-layers", (40, 64, 16, 70), records=65)
    yield _stack_case("four-layers-tanh", (40, 9, 97, 16, 5), records=130, activation="tanh")
    yield _stack_case("wide", (300, 200, 130), models=2, records=90)
    yield _stack_case("float64", (20, 30, 12), dtype=np.float64, activation="tanh")
    yield _stack_case("float16", (20, 30, 12), dtype=np.float16)
    yield _stack_case("no-models", (5, 4, 3), models=0)
    yield _stack_case("no-records", (5, 4, 3), records=0)
    yield _stack_case("many-models", (8, 12, 3), models=70, records=20)
    yield _stack_case("pieces", (3, 300, 4), models=1, records=3000)
    bits = _stack_case("bits", (70, 40, 30), records=200)
    yield Case("bits", ((bits.args[0] > 0).astype(np.float32), *bits.args[1:]), bits.kwargs)
    yield Case("strided", (bits.args[0][::2, :], bits.args[1][::2], bits.args[2][::2]), bits.kwargs)
    diverged = bits.args[1].copy()
    diverged[1, 17] = np.nan
    diverged[2, -1] = np.inf
    yield Case("not-finite", (bits.args[0], diverged, bits.args[2]), bits.kwargs)
    deep = _stack_case("deep", (70, 40, 50, 30), records=200)
    x, weights, labels = deep.args
    for name, factor in (("huge", 1e8), ("infinite", np.inf), ("tiny", 1e-20)):  # hidden layers' outputs
        scaled = weights.copy()
        scaled[1, : 71 * 40] *= np.float32(factor)
        yield Case(f"{name}-hidden", (x, scaled, labels), deep.kwargs)
    yield _stack_case("weights-beyond-the-cache", (600, 700, 200), models=2, records=70)


# mlp_steps


def _mlp_case(
    name: str, widths: tuple[int, ...], *, models: int = 3, steps: int = 3, batch: int = 8, as_bytes: bool = False,
    **options: Any,
) -> Case:  # fmt: skip
    draw = np.random.default_rng(len(name))
    parameters = sum((inside + 1) * outside for inside, outside in pairwise(widths))
    weights = draw.normal(size=(models, parameters)).astype(np.float32) / np.sqrt(np.float32(widths[0]))
    first, second = 0.01 * weights[::-1], 0.01 * weights**2
    x = draw.integers(0, 256, (40, widths[0])).astype(np.uint8) if as_bytes else draw.normal(size=(40, widths[0]))
    args = (
        weights, first, second, x if as_bytes else x.astype(np.float32), draw.integers(0, widths[-1], 40),
        draw.integers(0, 40, (models, steps, batch)), np.maximum(steps - np.arange(models), 0),
        0.05 * draw.random((models, steps)), draw.integers(0, 2**32, models, dtype=np.uint32),
    )  # fmt: skip
    plain = {
        "taken": 5, "activation": "relu", "optimizer": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0,
        "dropout": 0.0, "label_smoothing": 0.0, "bfloat16": False, "scale": 1.0, "shift": 0.0,
    }  # fmt: skip
    return Case(name, args, {"widths": widths, **plain, **options})


def _mlp_tolerance(case: Case, expected: np.ndarray) -> float:
    return (2e-3 if case.kwargs["bfloat16"] else 2e-6) * max(1.0, float(np.abs(expected).max(initial=0.0)))


@cases("mlp_steps", tolerance=_mlp_tolerance)
def _mlp_steps() -> Iterator[Case]:
    everything = {"dropout": 0.3, "label_smoothing": 0.1, "weight_decay": 0.01}
    yield _mlp_case("logistic", (5, 3))
    yield _mlp_case("one-class", (5, 4, 1))
    yield _mlp_case("two-layers", (17, 33, 10), batch=10)
    yield _mlp_case("three-layers", (40, 64, 16, 70), batch=32)
    yield _mlp_case("multiples-of-the-tile", (64, 128, 48), batch=32)
    yield _mlp_case("wide-and-deep", (300, 144, 30, 20), batch=7)
    yield _mlp_case("no-models", (5, 4, 3), models=0)
    yield _mlp_case("no-steps", (5, 4, 3), steps=0)
    yield _mlp_case("one-record", (5, 4, 3), batch=1)
    yield _mlp_case("bytes", (20, 12, 5), as_bytes=True, scale=1 / 255, shift=-0.5, momentum=0.9)
    yield _mlp_case("momentum", (20, 12, 5), momentum=0.9, **everything)
    yield _mlp_case("nesterov", (20, 12, 5), momentum=0.9, nesterov=True, activation="tanh", **everything)
    yield _mlp_case("adam", (20, 12, 5), optimizer="adam", **everything)
    yield _mlp_case("adamw", (20, 12, 18, 5), optimizer="adamw", activation="tanh", **everything)
    yield _mlp_case("bfloat16", (65, 40, 18, 33), batch=33, bfloat16=True)
    yield _mlp_case("bfloat16-multiples", (64, 128, 96), batch=32, bfloat16=True, momentum=0.9)
    yield _mlp_case("bfloat16-options", (20, 12, 5), bfloat16=True, activation="tanh", momentum=0.9, **everything)
    yield _mlp_case("large-inputs", (20, 12, 5), scale=1e4, shift=0.0)


# attacks' statistics
def _against_shadow(*more: dict[str, str]) -> Iterator[Case]:
    for name, phi, in_mask in _lira_data():
        if len(phi) < 4 or not (np.isfinite(phi).all() if phi.dtype.kind == "f" else False):
            continue
        for options in more or ({},):
            label = "-".join((name, *options.values()))
            yield Case(f"one-{label}", (phi[0], phi[1:], in_mask[1:]), options)
            yield Case(f"all-{label}", (None, phi, in_mask), options)


@cases("difficulty", tolerance=_score_tolerance)
def difficulty_cases() -> Iterator[Case]:
    yield from _against_shadow({"mode": "offline"}, {"mode": "online"})


def _percentile_tolerance(case: Case, expected: np.ndarray) -> Any:
    """Standard scores are from sums about the median of all models: squares less the mean's lose digits."""
    digits = 100 if case.kwargs["smooth"] in ("loss", "logit") else 1
    return digits * _score_tolerance(case, expected)


@cases("out_percentile", tolerance=_percentile_tolerance)
def out_percentile_cases() -> Iterator[Case]:
    yield from _against_shadow({"smooth": "none"}, {"smooth": "linear"}, {"smooth": "loss"}, {"smooth": "logit"})


@cases("above_class_threshold", tolerance=_score_tolerance)
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
    odd = logits.copy()
    odd[3, 5, 1], odd[0, 46, 0], odd[:, 8] = np.nan, np.inf, 1.0
    yield Case("not finite", (odd,), options)
    yield Case("float64", (logits.astype(np.float64)[::2, ::3],), options)
    yield Case("bfloat16", (bfloat16(logits),), options)


# dp_sgd_steps


def _private_case(name: str, widths: tuple[int, ...], *, rate: float = 0.3, as_bytes: bool = False, models: int = 3,
                  steps: int = 3, records: int = 90, **options: Any) -> Case:  # fmt: skip
    draw = np.random.default_rng(len(name))
    parameters = sum((inside + 1) * outside for inside, outside in pairwise(widths))
    weights = draw.normal(size=(models, parameters)).astype(np.float32) / np.sqrt(np.float32(widths[0]))
    x = (
        draw.integers(0, 256, (records, widths[0])).astype(np.uint8)
        if as_bytes
        else draw.normal(size=(records, widths[0]))
    )
    args = (
        weights, x if as_bytes else x.astype(np.float32), draw.integers(0, widths[-1], records),
        draw.random((models, records)) < 0.7, draw.integers(0, 2**32, (models, 2), dtype=np.uint32),
        draw.random(steps).astype(np.float32), np.array([0, parameters - 1, parameters // 2, 0]),
        draw.random((models, 4)) < 0.6,
    )  # fmt: skip
    plain = {
        "taken": 4, "sample_rate": rate, "clip": 1.0, "learning_rate": 0.5, "expected_batch": max(1.0, rate * records),
        "activation": "tanh", "clipping": "record", "scale": 1.0, "shift": 0.0,
    }  # fmt: skip
    return Case(name, args, {"widths": widths, **plain, **options})


@cases("dp_sgd_steps", tolerance=lambda case, expected: 2e-6 * max(1.0, float(np.abs(expected).max(initial=0.0))))
def _dp_sgd_steps() -> Iterator[Case]:
    yield _private_case("logistic", (5, 3))
    yield _private_case("one-class", (5, 4, 1))
    yield _private_case("two-layers", (17, 33, 10))
    yield _private_case("three-layers", (40, 64, 16, 70), activation="relu")
    yield _private_case("all-sampled-in-several-parts", (20, 12, 5), rate=1.0, records=700)
    yield _private_case("hardly-anybody-sampled", (5, 4, 3), rate=1e-3)
    yield _private_case("bytes", (20, 12, 5), as_bytes=True, scale=1 / 255, shift=-0.5)
    yield _private_case("nothing-clipped", (17, 33, 10), clip=1e6)
    yield _private_case("clipped-hard", (17, 33, 10), clip=1e-3)
    yield _private_case("clips-the-mean", (17, 33, 10), clipping="batch", clip=0.05)
    yield _private_case("no-models", (5, 4, 3), models=0)
    yield _private_case("no-steps", (5, 4, 3), steps=0)


# f_dp_excess


@cases("f_dp_excess", tolerance=lambda case, expected: 1e-9 * (1 + np.abs(expected)))
def _f_dp_excess() -> Iterator[Case]:
    for guesses, canaries in ((1, 1), (100, 100), (60, 500), (600, 1000)):
        right = np.unique(np.linspace(0, guesses, 30).astype(np.int64))
        levels = np.linspace(0.0, 8.0, len(right))
        for alpha in (0.05, 1e-6):
            options = {"guesses": guesses, "canaries": canaries, "alpha": alpha}
            name = f"{guesses}-of-{canaries}-{alpha}"
            yield Case(f"gaussian-{name}", (right, levels), options)
            yield Case(f"approximate-{name}", (right, levels, np.full(len(right), 1e-5)), options)
    yield Case("empty", (np.zeros(0, np.int64), np.zeros(0)), {"guesses": 5, "canaries": 9, "alpha": 0.05})


# redraw


@cases(
    "redraw",
    tolerance=lambda case, expected: (
        0 if case.args[0].dtype == np.uint8 else np.finfo(case.args[0].dtype).eps * np.abs(expected)
    ),
)
def _redraw() -> Iterator[Case]:
    draw = np.random.default_rng(0)
    for records, features in ((0, 3), (1, 1), (5, 4), (700, 33)):
        x = draw.integers(0, 2, (records, features)).astype(np.float32)
        k = draw.integers(0, features + 1, records)
        keys = draw.integers(0, 2**32, records, dtype=np.uint32)
        yield Case(f"binary-{records}x{features}", (x, k, keys))
        yield Case(f"bits-{records}x{features}", (x.astype(np.uint8), k, keys))
        yield Case(f"float64-{records}x{features}", (x.astype(np.float64), np.full(records, features), keys))
        low, high = np.sort(draw.normal(size=(2, features)), axis=0)
        yield Case(f"real-{records}x{features}", (x, k, keys, low, high))
    yield Case("strided", (x[::3, ::2], k[::3] // 2, keys[::3]))
    keys = draw.integers(0, 2**32, 3000, dtype=np.uint32)
    yield Case("threads", (draw.integers(0, 2, (3000, 700), dtype=np.uint8), np.arange(3000) % 9, keys))
