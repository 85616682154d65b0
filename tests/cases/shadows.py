"""Signals of shadow models, and how far scores of them may be off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.cases.registry import Case, bfloat16


def score_tolerance(case: Case, expected: np.ndarray) -> Any:
    """Each score is a difference of a few terms of its own size, of which z² costs the most roundings."""
    doubles = any(isinstance(each, np.ndarray) and each.dtype == np.float64 for each in case.args)
    return (1e-8 if doubles else 2e-5) * (1 + np.abs(expected))


def lira_inputs(models: int, records: int, queries: int, *, balanced: bool = False) -> tuple[np.ndarray, np.ndarray]:
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


def lira_data() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, shadow, in_mask) that single out one difficulty each."""
    phi, in_mask = lira_inputs(9, 530, 1)
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
    many, many_mask = lira_inputs(261, 40, 1)
    yield "more_than_255_models", many.astype(np.float32), many_mask
    two, two_mask = lira_inputs(2, 20, 1, balanced=True)
    yield "two_models", two, two_mask
    for models, balanced in ((8, True), (33, False)):
        several, several_mask = lira_inputs(models, 70, 3, balanced=balanced)
        yield f"three_queries_{models}_models", several.astype(np.float32), several_mask
