"""Scores and who is a member: roc_counts and tpr_at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from miafast.ops.roc_counts import roc_counts
from tests.cases.registry import Case, bfloat16, cases


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


@cases("auc_components", tolerance=lambda case, expected: 1e-12 * np.abs(expected).max())
def _auc_components() -> Iterator[Case]:
    draw = np.random.default_rng(1)
    for targets, records in ((1, 2), (3, 1), (2, 255), (4, 256), (5, 4099), (2, 140_000)):
        is_member = draw.random((targets, records)) < 0.5
        is_member.ravel()[:2] = True, False
        scores = draw.normal(size=is_member.shape) + is_member
        for kind, values in (
            ("float64", scores), ("float32", scores.astype(np.float32)), ("tied", scores.round(1)),
            ("float16", scores.astype(np.float16)), ("bfloat16", bfloat16(scores)),
            ("infinite", np.where(scores > 1, np.inf, scores)),
            ("signed-zeros", np.where(scores > 0, 0.0, -0.0).astype(np.float32)),
            ("one-far-off", np.where(np.arange(targets)[:, None] == 0, 1e30 * scores, scores)),
        ):  # fmt: skip
            yield Case(f"{targets}x{records}-{kind}", (values, is_member, *roc_counts.truth(values, is_member)))
    turned = scores.T[:50], is_member.T[:50]
    yield Case("transposed", (*turned, *roc_counts.truth(*turned)))
