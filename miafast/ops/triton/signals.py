"""Every signal of the logits: a tile of many records in one read, or one record in three, two of them from cache.

With t the first of the largest logits, m their value, m2 the largest of the others and g = m - m2, all follows from
S = Σ exp(z_j - m2) over j ≠ t, the same sum without the label, and Σ exp(z_j - m2) (m - z_j): the odds against the top
class are R = exp(-g) S, so log p_t = -log(1 + R), log(1 - p_t) = -log(1 + 1/R), entropy = log(1 + R) + Σ p_j (m - z_j).
The modified entropy needs R before its sum over classes.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from miafast.ops.signals import LogitSignals
from miafast.ops.triton import rows
from miafast.ops.triton.logit_confidence import largest_of, or_zero, places, sum_of
from miafast.ops.triton.softplus import log1p_of_share, softplus


def signals(logits: Any, labels: Any) -> LogitSignals:
    """NaN, and not correct, where a label is not in [0, classes): labels on a device are not checked."""
    found = LogitSignals._make([rows.result(logits) for _ in range(6)] + [rows.result(logits, torch.bool)])
    for part, *results in rows.parts(logits, *found):
        leads, records, classes = part.shape
        shape = (records, classes, *part.stride(), labels.stride(0))
        if (tile := rows.tile_of(part)) is not None:
            grid = (leads * triton.cdiv(records, tile.rows),)
            tile_kernel[grid](part, labels, *results, *shape, classes, *tile, num_warps=4)
        else:
            chunk_kernel[(leads * records,)](part, labels, *results, *shape, rows.LANES, num_warps=4)
    return found


@triton.jit
def tile_kernel(
    logits, labels, phi, loss, confidence, entropy, modified, margin, correct,
    records, classes, lead_stride, row_stride, class_stride, label_stride,
    CLASSES: tl.constexpr, ROWS: tl.constexpr, DEEP: tl.constexpr, LANES: tl.constexpr, DENSE: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """A tile [ROWS, DEEP, LANES] of logits [leads, records, classes]; results are dense."""
    lead, first, row, live, column, label, known, at, at_label = places(
        logits, labels, records, lead_stride, row_stride, class_stride, label_stride, CLASSES, ROWS, DEEP, LANES, DENSE,
        WIDE,
    )  # fmt: skip
    real = phi.dtype.element_ty
    of_label = tl.load(at_label, mask=live, other=0.0).to(real)
    z = tl.load(at, mask=live[:, None, None] & (column < CLASSES), other=-float("inf")).to(real)
    broken = largest_of((z != z).to(tl.int32)) != 0
    z = tl.where(z == z, z, -float("inf"))
    largest = largest_of(z)
    top = -largest_of(tl.where(z == largest[:, None, None], -column, -CLASSES))  # the first of equal ones
    is_top = column == top[:, None, None]
    second = largest_of(tl.where(is_top, -float("inf"), z))
    weight = tl.where(is_top, 0.0, tl.exp(z - or_zero(second)[:, None, None]))
    is_label = column == label[:, None, None]
    total = sum_of(weight)
    besides = sum_of(tl.where(is_label, 0.0, weight))
    distance = sum_of(tl.where(weight == 0, 0.0, weight * (largest[:, None, None] - z)))
    share = share_of_weight(largest, second, total)
    spread = sum_of(tl.where(is_label, 0.0, of_unlikely(weight * share[:, None, None])))
    store(
        phi, loss, confidence, entropy, modified, margin, correct, lead * records + first + row, live,
        of_label, label == top, known & ~broken, largest, second, total, besides, distance, spread,
    )  # fmt: skip


@triton.jit
def chunk_kernel(
    logits, labels, phi, loss, confidence, entropy, modified, margin, correct,
    records, classes, lead_stride, row_stride, class_stride, label_stride, LANES: tl.constexpr,
):  # fmt: skip
    """One record of logits [leads, records, classes]: the two largest, then their sums, then the modified entropy's."""
    program = tl.program_id(0).to(tl.int64)
    lead, row = program // records, program % records
    label = tl.load(labels + row * label_stride).to(tl.int64)
    known = (label >= 0) & (label < classes)
    label = tl.where(known, label, 0)
    real = phi.dtype.element_ty
    base = logits + lead * lead_stride + row * row_stride
    of_label = tl.load(base + label * class_stride).to(real)
    lane = tl.arange(0, LANES).to(tl.int64)
    largest = tl.full([LANES], -float("inf"), real)
    second, top = largest, lane
    broken = tl.zeros([LANES], tl.int32)
    for start in range(0, classes, LANES):
        column = start + lane
        z = tl.load(base + column * class_stride, mask=column < classes, other=-float("inf")).to(real)
        broken |= (z != z).to(tl.int32)
        z = tl.where(z == z, z, -float("inf"))
        above = z > largest
        second = tl.where(above, largest, tl.maximum(second, z))
        top = tl.where(above, column, top)
        largest = tl.where(above, z, largest)
    whole = tl.max(largest, axis=0)
    of_all = tl.min(tl.where(largest == whole, top, classes), axis=0)
    second = tl.max(tl.where(top == of_all, second, largest), axis=0)
    largest, top = whole, of_all
    total, besides, distance = tl.zeros([LANES], real), tl.zeros([LANES], real), tl.zeros([LANES], real)
    for start in range(0, classes, LANES):
        column = start + lane
        z = tl.load(base + column * class_stride, mask=column < classes, other=-float("inf")).to(real)
        weight = tl.where(column == top, 0.0, tl.exp(z - or_zero(second)))
        total += weight
        besides += tl.where(column == label, 0.0, weight)
        distance += tl.where(weight == 0, 0.0, weight * (largest - z))
    total, besides, distance = tl.sum(total, axis=0), tl.sum(besides, axis=0), tl.sum(distance, axis=0)
    share = share_of_weight(largest, second, total)
    spread = tl.zeros([LANES], real)
    for start in range(0, classes, LANES):
        column = start + lane
        z = tl.load(base + column * class_stride, mask=column < classes, other=-float("inf")).to(real)
        weight = tl.where((column == top) | (column == label), 0.0, tl.exp(z - or_zero(second)))
        spread += of_unlikely(weight * share)
    store(
        phi, loss, confidence, entropy, modified, margin, correct, lead * records + row, program >= 0,
        of_label, label == top, known & (tl.max(broken, axis=0) == 0), largest, second, total, besides, distance,
        tl.sum(spread, axis=0),
    )  # fmt: skip


@triton.jit
def share_of_weight(largest, second, total):
    """What turns exp(z_j - second) into p_j: exp(-g) / (1 + R)."""
    odds = tl.exp(second - largest)
    return tl.where(odds == 0, 0.0, odds / (1 + odds * total))


@triton.jit
def of_unlikely(p):
    """-p log(1 - p) for p of classes that are not the top, so at most 1/2; 0 for others, which are not used."""
    inside = tl.where(p <= 0.5, p, 0.0)
    return -inside * log1p_of_share(-inside)


@triton.jit
def store(
    phi, loss, confidence, entropy, modified, margin, correct, place, live,
    of_label, is_top, whole, largest, second, total, besides, distance, spread,
):  # fmt: skip
    """The signals from a record's sums; NaN unless ``whole``: no logit is NaN and the label is a class."""
    nan = tl.where(whole, 0.0, float("nan")).to(largest.dtype)
    gap = largest - second
    odds = tl.exp(-gap)
    log_odds = tl.log(total) - gap
    log_sum = softplus(log_odds)
    of_others = tl.where(odds == 0, 0.0, distance * share_of_weight(largest, second, total))
    undefined = tl.where(gap == gap, nan, float("nan"))
    of_entropy = log_sum + of_others + undefined
    difference = of_label - tl.where(is_top, second, largest)
    finite = tl.abs(tl.where(is_top, second, largest)) < float("inf")
    log_total = tl.where(is_top, tl.log(total), softplus(tl.log(besides) - gap))
    of_phi = tl.where(finite, difference - log_total, difference) + nan
    of_loss = softplus(-of_phi)
    of_wrong = tl.where(of_phi == -float("inf"), of_loss, tl.exp(-softplus(of_phi)) * of_loss)
    top_part = tl.where(is_top, 0.0, tl.exp(-log_sum) * softplus(-log_odds))
    tl.store(phi + place, of_phi, mask=live)
    tl.store(loss + place, of_loss, mask=live)
    tl.store(confidence + place, tl.exp(-of_loss), mask=live)
    tl.store(entropy + place, of_entropy, mask=live)
    tl.store(modified + place, of_wrong + top_part + spread + undefined, mask=live)
    tl.store(margin + place, difference + nan, mask=live)
    tl.store(correct + place, is_top & whole, mask=live)
