"""Thresholds per class on the device: one sort by class and signal, then running counts; nothing is waited for."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from miafast.ops.triton.log_ratio import result_type
from miafast.ops.triton.others import others_of


def above_class_threshold(target: Any, shadow: Any, in_mask: Any, labels: Any) -> Any:
    signals = _over_queries(shadow)
    real = result_type(shadow) if target is None else result_type(target, shadow)
    if signals.numel() == 0:
        return (signals if target is None else _over_queries(target)).to(real)
    table = _in_order(signals, in_mask, labels)
    if target is not None:
        thresholds = _best(table, torch.ones_like(in_mask))
        return (_over_queries(target) - thresholds[table.of_record]).to(real)
    thresholds = torch.stack([_best(table, others)[table.of_record] for others in others_of(in_mask)])
    return (signals - thresholds).to(real)


class _Table(NamedTuple):
    """The shadows' signals, class after class, falling within each; all [models · records] but the last."""

    place: Any  # in [models, records]
    signals: Any
    is_in: Any
    classes: Any  # counted without gaps, fewer than records
    last_of_equals: Any  # whether no equal signal of the class follows
    before: Any  # place of the last one of the signals before, -1 where there is none
    of_record: Any  # [records] class


def _over_queries(signals: Any) -> Any:
    mean = signals.double().mean(-1)
    return torch.where(mean.isfinite(), mean, torch.nan)


def _in_order(signals: Any, in_mask: Any, labels: Any) -> _Table:
    by_label, record = labels.long().sort()
    of_record = torch.zeros_like(record)
    of_record[record[1:]] = (by_label[1:] != by_label[:-1]).cumsum(0)
    flat = signals.flatten()
    falling = (-flat).sort(stable=True).indices  # NaN last
    of_falling = of_record.expand(signals.shape).flatten()[falling]
    classes, order = of_falling.sort(stable=True)
    place = falling[order]
    ordered = flat[place]
    last = torch.ones_like(place, dtype=torch.bool)
    last[:-1] = (ordered[1:] != ordered[:-1]) | (classes[1:] != classes[:-1])
    before = torch.full_like(place, -1)
    before[1:] = torch.where(last, torch.arange(len(place), device=place.device), -1)[:-1].cummax(0).values
    return _Table(place, ordered, in_mask.flatten()[place], classes, last, before, of_record)


def _best(table: _Table, keep: Any) -> Any:
    """Thresholds [classes, and more that are NaN]. Whole numbers throughout, so that what is equal is equal."""
    kept = keep.flatten()[table.place].long()
    none = torch.zeros_like(table.of_record)
    total, found, broken = (
        none.scatter_add(0, table.classes, kept * each)
        for each in (torch.ones_like(table.is_in), table.is_in, table.signals.isnan())
    )
    members, others = found[table.classes], (total - found)[table.classes]
    advantage = (kept * torch.where(table.is_in, others, -members)).cumsum(0)  # 0 at every class's end
    up_to = kept.cumsum(0)
    known = table.last_of_equals & (up_to > torch.where(table.before >= 0, up_to[table.before], 0))
    best = (none - len(kept) ** 2).scatter_reduce(
        0, table.classes, torch.where(known, advantage, -(len(kept) ** 2)), "amax"
    )
    place = torch.arange(len(kept), device=kept.device)
    is_best = known & (advantage == best[table.classes])
    first = (none + len(kept)).scatter_reduce(0, table.classes, torch.where(is_best, place, len(kept)), "amin")
    usable = (found > 0) & (found < total) & (broken == 0)
    return torch.where(usable, table.signals[first.clamp(max=len(kept) - 1)], torch.nan)
