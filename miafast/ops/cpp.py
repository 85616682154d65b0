"""C++ twins: the compiled functions of `miafast._native`, under their ops' names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import miafast._native as _native
from miafast.ops import class_threshold, lira_tables
from miafast.ops.auc_components import components_of
from miafast.ops.dispatch import BFLOAT16, Array, as_float, result_dtype
from miafast.ops.linear_confidence import Confidence, empty_confidence
from miafast.ops.lira_leave_one_out import has_fixed_counts
from miafast.ops.logit_confidence import check_label_range
from miafast.ops.mlp_confidence import layers
from miafast.ops.mlp_steps import MlpState
from miafast.ops.neighbour_share import features_of, lengths, references_of, shares_of
from miafast.ops.out_percentile import LARGEST_LOSS
from miafast.ops.rmia import own_places
from miafast.ops.roc_counts import RocCounts, refuse_nan
from miafast.ops.signals import LogitSignals, empty_signals
from miafast.ops.tpr_at import allowed_false_positives
from miafast.ops.variance_prior import VARIANCE_FLOOR, log_variance_shift

HUGE_PAGE = 1 << 21  # bytes


def logit_confidence(logits: Array, labels: Array) -> Array:
    phi = _empty(logits.shape[:-1], result_dtype(logits))
    _check_labels(_native.logit_confidence(*_stored(logits), _in_machine_order(labels), phi), phi, logits, labels)
    return phi


def signals(logits: Array, labels: Array) -> LogitSignals:
    result = empty_signals(logits)
    first_bad = _native.signals(*_stored(logits), _in_machine_order(labels), *result)
    _check_labels(first_bad, result.phi, logits, labels)
    return result


def negative_loss(phi: Array) -> Array:
    scores = _empty(phi.shape[:-1], result_dtype(phi))
    _native.negative_loss(*_stored(phi), scores)
    return scores


def linear_confidence(features: Array, weight: Array, bias: Array | None, labels: Array) -> Confidence:
    result = empty_confidence(features, weight, bias)
    some = np.zeros(weight.shape[-2], np.float32) if bias is None else bias
    _confidence(features, [(weight, some)], labels, result, tanh=False)
    return result


def mlp_confidence(x: Array, weights: Array, labels: Array, *, widths: Sequence[int], activation: str) -> Confidence:
    shape = (len(weights), len(x))
    result = Confidence(_empty(shape, result_dtype(x, weights)), _empty(shape, np.dtype(bool)))
    _confidence(x, layers(np.ascontiguousarray(weights), widths), labels, result, tanh=activation == "tanh")
    return result


def _confidence(
    x: Array, affine: Sequence[tuple[Array, Array]], labels: Array, result: Confidence, *, tanh: bool
) -> None:
    """What has no models axis is shared; all in float64 if anything is."""
    form = as_float if result.phi.dtype == np.float64 else np.asarray
    stored = [(_stored(form(weight)), _stored(form(bias)[..., None, :])) for weight, bias in affine]
    first_bad = _native.linear_confidence(_stored(form(x)), stored, _in_machine_order(labels), *result, tanh=tanh)
    if first_bad >= 0 or result.phi.size == 0:
        check_label_range(labels, affine[-1][0].shape[-2])


def lira(
    target: Array,
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Array:
    models, records, queries = shadow.shape
    dtype, pooling = result_dtype(target, shadow), lira_tables.POOLING[variance]
    stored = (*_stored(shadow), in_mask, *_stored(target))
    moments = np.zeros((1, 2, queries, 4))
    scores = _empty((records,), dtype)
    if pooling != "none":
        sides = [np.empty((2, queries, records), dtype) for _ in range(2)] + [np.empty((2, records), np.int32)]
        getattr(_native, f"lira_sides_{dtype}")(
            *stored, center, pooling, *log_variance_shift(models), VARIANCE_FLOOR, *sides, moments
        )
    rules = lira_tables.tables(lira_tables.priors_of(moments, variance, mode), variance, models, dtype)
    how = (_verdict(mode, tail), VARIANCE_FLOOR, tuple(rules), scores)
    if pooling != "none":
        getattr(_native, f"lira_scores_{dtype}")(*sides, *how)
    else:
        getattr(_native, f"lira_at_once_{dtype}")(*stored, center, *how)
    return scores


def lira_leave_one_out(
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    center: str = "mean",
    variance: str = "shrunken",
    tail: str = "one-sided",
) -> Array:
    models, _, queries = shadow.shape
    dtype, pooling = result_dtype(shadow), lira_tables.POOLING[variance]
    stored = (*_stored(shadow), in_mask)
    same_counts = _native.has_fixed_counts(*stored)
    moments = np.zeros((models, 2, queries, 4))
    if pooling != "none":
        getattr(_native, f"lira_leave_one_out_moments_{dtype}")(
            *stored, same_counts, pooling, *log_variance_shift(models), VARIANCE_FLOOR, moments
        )
    rules = lira_tables.tables(lira_tables.priors_of(moments, variance, mode), variance, models, dtype)
    scores = _empty(in_mask.shape, dtype)
    getattr(_native, f"lira_leave_one_out_{dtype}")(
        *stored, same_counts, center, _verdict(mode, tail), VARIANCE_FLOOR, tuple(rules), scores
    )
    return scores


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """np.empty from a cache line on, as a vector stored across two lines costs twice; a large one from a huge page on,
    as a thousand small ones take longer to come by than to fill; many of those are made at once, as a kernel that
    waits for them here and there loses what is in the caches."""
    size = math.prod(shape) * dtype.itemsize
    line = HUGE_PAGE if size >= HUGE_PAGE else 64
    memory = np.empty(size + line, np.uint8)
    start = -memory.ctypes.data % line
    memory = memory[start : start + size]
    if size >= 16 * HUGE_PAGE:
        _native.touch(memory)
    return memory.view(dtype).reshape(shape)


def _verdict(mode: str, tail: str) -> str:
    if mode == "online":
        return "difference"
    return "lower_tail" if tail == "one-sided" else "minus_density"


def _stored(logits: Array) -> tuple[Array, str]:
    """What the kernels read: half types as their bits, and the name of the type."""
    logits = _in_machine_order(logits)
    if logits.dtype == BFLOAT16:
        return logits.view(np.uint16), "bfloat16"
    return (logits.view(np.uint16) if logits.dtype == np.float16 else logits), f"float{8 * logits.itemsize}"


def _in_machine_order(labels: Array) -> Array:
    return labels if labels.dtype.isnative else labels.astype(labels.dtype.newbyteorder("="))


def _check_labels(first_bad: int, result: Array, logits: Array, labels: Array) -> None:
    """Kernels check labels as they read them; with no logits to read they have not."""
    if first_bad >= 0 or result.size == 0:
        check_label_range(labels, logits.shape[-1])


def roc_counts(scores: Array, is_member: Array) -> RocCounts:
    return RocCounts(*_native.roc_counts(_flat(scores), np.ascontiguousarray(is_member).ravel()))


def auc_components(scores: Array, is_member: Array, *curve: Array) -> Array:
    values, dense = _dense(scores, result_dtype(scores)), np.ascontiguousarray(is_member)
    refuse_nan(values)
    thresholds, *counts = curve
    of_members, of_others = _native.auc_components(
        values, dense, _dense(thresholds, values.dtype), *(_dense(each, np.dtype(np.int64)) for each in counts)
    )
    return components_of(of_members, of_others, dense)


def tpr_at(scores: Array, is_member: Array, fprs: Any) -> Array:
    members = int(np.count_nonzero(is_member))
    non_members = is_member.size - members
    allowed = allowed_false_positives(fprs, non_members)
    found = np.full(allowed.shape, members)
    if (some := allowed < non_members).any():
        dense = np.ascontiguousarray(is_member).ravel()
        found[some] = _native.tpr_at(_flat(scores), dense, non_members, allowed[some].tolist())
    return found / members


def log_ratio(
    target: Array,
    shadow: Array,
    in_mask: Array,
    *,
    mode: str = "online",
    offline_a: float = 1.0,
    temperature: float = 1.0,
) -> Array:
    dtype = result_dtype(target, shadow)
    ratios = _empty(target.shape, dtype)
    stored = (*_stored(shadow), in_mask, *_stored(target))
    getattr(_native, f"log_ratio_{dtype}")(*stored, mode == "online", offline_a, temperature, ratios)
    return ratios


def log_ratio_leave_one_out(
    shadow: Array, in_mask: Array, *, mode: str = "online", offline_a: float = 1.0, temperature: float = 1.0
) -> Array:
    dtype, stored = result_dtype(shadow), (*_stored(shadow), in_mask)
    ratios = _empty(shadow.shape, dtype)
    getattr(_native, f"log_ratio_leave_one_out_{dtype}")(
        *stored, _native.has_fixed_counts(*stored), mode == "online", offline_a, temperature, ratios
    )
    return ratios


def rmia(log_ratio_x: Array, log_ratio_z: Array, *, gamma: float = 1.0, columns: Any = None) -> Array:
    dtype = result_dtype(log_ratio_x, log_ratio_z)
    *leads, records, queries = log_ratio_x.shape
    shares = np.empty((math.prod(leads), records), dtype)
    x = _dense(log_ratio_x, dtype).reshape(len(shares), records, queries)
    z = _dense(log_ratio_z, dtype).reshape(len(shares), log_ratio_z.shape[-1])
    where = None if columns is None else own_places(columns, records)
    _native.rmia(x, z, where, math.log(gamma), shares)
    return shares.reshape(*leads, records)


def population_share(phi: Array, population: Array, *, columns: Any = None) -> Array:
    dtype = result_dtype(phi, population)
    *leads, records, queries = phi.shape
    shares = np.empty((math.prod(leads), records), dtype)
    x = _dense(phi, dtype).reshape(len(shares), records, queries)
    z = _dense(population, dtype).reshape(len(shares), population.shape[-1])
    _native.population_share(x, z, None if columns is None else own_places(columns, records), shares)
    return shares.reshape(*leads, records)


def above_class_threshold(target: Array | None, shadow: Array, in_mask: Array, labels: Array) -> Array:
    def best(table: class_threshold.Falling, beside: Array | None, targets: int | None) -> Array:
        thresholds = np.empty((targets or 1, len(table.ends) - 1))
        also = None if beside is None else beside.astype(np.int32)
        _native.class_thresholds(*table[:-1], also, leave_one_out=targets is not None, thresholds=thresholds)
        return thresholds

    return class_threshold.above(best, target, shadow, in_mask, labels)


def difficulty(target: Array | None, shadow: Array, in_mask: Array, *, mode: str = "offline") -> Array:
    return _against_shadows(_native.difficulty, target, shadow, in_mask, online=mode == "online")


def out_percentile(target: Array | None, shadow: Array, in_mask: Array, *, smooth: str = "none") -> Array:
    return _against_shadows(
        _native.out_percentile, target, shadow, in_mask, smooth=smooth, variance_floor=VARIANCE_FLOOR,
        largest_loss=LARGEST_LOSS,
    )  # fmt: skip


def lira_released_code(
    target: Array, shadow: Array, in_mask: Array, *, mode: str = "online", variance: str = "per-record"
) -> Array:
    return _released_code(target, shadow, in_mask, mode, variance)


def lira_released_code_leave_one_out(
    shadow: Array, in_mask: Array, *, mode: str = "online", variance: str = "per-record"
) -> Array:
    return _released_code(None, shadow, in_mask, mode, variance)


def _released_code(target: Array | None, shadow: Array, in_mask: Array, mode: str, variance: str) -> Array:
    """Every side keeps as many models as the record with the fewest has, which depends on who is left out."""
    counts = in_mask.sum(axis=0)
    sides = np.stack([len(in_mask) - counts, counts])  # OUT, IN
    if target is not None:
        kept = sides.min(axis=1, initial=len(in_mask))[None]
    elif has_fixed_counts(in_mask):
        kept = np.repeat(sides.min(axis=1)[None] - 1, len(in_mask), axis=0)
    else:
        own = np.stack([~in_mask, in_mask], axis=1)  # [targets, 2, records]
        kept = np.stack([(sides - each).min(axis=1, initial=len(in_mask)) for each in own])
    return _against_shadows(
        _native.lira_released_code, target, shadow, in_mask, kept=np.ascontiguousarray(kept, np.int64),
        online=mode == "online", total=variance == "total",
    )  # fmt: skip


def _against_shadows(score: Any, target: Array | None, shadow: Array, in_mask: Array, **options: Any) -> Array:
    """Every model in turn is the target where none is given."""
    dtype = result_dtype(shadow) if target is None else result_dtype(target, shadow)
    own = None if target is None else _dense(target, dtype)
    scores = _empty(shadow.shape[:2] if target is None else shadow.shape[1:2], dtype)
    same_counts = target is None and has_fixed_counts(in_mask)
    score(own, _dense(shadow, dtype), np.ascontiguousarray(in_mask), scores, same_counts=same_counts, **options)
    return scores


def _flat(scores: Array) -> Array:
    """Dense one-dimensional float32 or float64 of the same values."""
    return _dense(scores, result_dtype(scores)).ravel()


def _dense(array: Array, dtype: np.dtype[Any]) -> Array:
    """The same values, dense and in this wider or equal type: float16 and bfloat16 widen exactly."""
    if array.dtype == BFLOAT16:
        array = (np.ascontiguousarray(array).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(array, dtype=dtype)


def mlp_steps(*args: Any, **kwargs: Any) -> MlpState:
    return MlpState(*_native.mlp_steps(*args, **kwargs))


def dp_sgd_steps(weights: Array, *args: Any, **kwargs: Any) -> Array:
    return np.asarray(_native.dp_sgd_steps(weights, *args, **kwargs))


def f_dp_excess(right: Array, level: Array, delta: Array | None = None, **kwargs: Any) -> Array:
    return np.asarray(_native.f_dp_excess(right, level, delta, **kwargs))


def redraw(x: Array, k: Array, keys: Array, low: Array | None = None, high: Array | None = None) -> Array:
    redrawn = np.empty(x.shape, x.dtype)
    bounds = [None if each is None else np.ascontiguousarray(each) for each in (low, high)]
    _native.redraw(*(np.ascontiguousarray(each) for each in (x, k, keys)), *bounds, redrawn)
    return redrawn


def neighbour_share(logits: Array, *, radius: float, references: int, leave_one_out: bool) -> Array:
    features, finite = features_of(logits)
    chosen = references_of(features.shape[1], references)
    least, norms = lengths(features, radius=radius, leave_one_out=leave_one_out)
    counts = _native.neighbour_counts(features, least, norms, chosen)
    return shares_of(counts, chosen, finite=finite, leave_one_out=leave_one_out).astype(result_dtype(logits))
