"""Which records a model gives away most: their separation, and their signals with and without them in training.

A record's separation d' = (mean phi over the models trained with it − mean over those without) / pooled sd. The
largest of many noisy values flatters itself (winner's curse), so when every model is a target the records are ranked
on the first half of the models and everything told about them is measured on the second half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from miafast.report.measures import Facts
from miafast.report.plain import plain
from miafast.separation import separation
from miafast.tables import Array, Signals

if TYPE_CHECKING:
    from miafast.report.report import AttackResult

LISTED = 20
DRAWN = 4
BINS = 24
TOO_FEW = (
    "Too few models to name exposed records: each half of the models needs at least two that were trained with a "
    "record and two that were not."
)
NO_MEMBERS = "No member of the target got a score, so none can be called exposed."


def exposed(result: AttackResult, signals: Signals, *, class_names: Sequence[str] | None, level: Facts | None) -> Facts:
    """The most exposed records next to typical ones; "found" is by the attack's threshold at `level["fpr"]`."""
    find = _of_users_target if signals.has_target else _of_every_model
    order, told, separations, reason = find(result, signals)
    threshold = np.nan if level is None else result.roc.threshold_at(level["fpr"])
    middle = max(len(order) // 2 - DRAWN // 2, 0)
    typical = [record for record in order[middle : middle + DRAWN] if record not in order[:LISTED]]

    def describe(record: int) -> Facts:
        label = int(signals.labels[record])
        score, found, of = _verdicts(result, record, told=told, threshold=threshold)
        return {
            "record": record,
            "label": label,
            "class": None if class_names is None else class_names[label],
            "score": score,
            "found": None if level is None else found,
            "of": of,
            "separation": separations[0][record],
            "separation_while_ranking": separations[1][record],
            "target_phi": float(signals.phi[-1, record].mean()) if signals.has_target else None,
        }

    facts = {
        "ranked_by": "score" if signals.has_target else "separation",
        "models_ranking": None if signals.has_target else told.start,
        "models_reporting": len(told),
        "candidates": len(order),
        "found_at_fpr": None if level is None else level["fpr"],
        "reason_for_none": reason,
        "most": [describe(record) for record in order[:LISTED]],
        "typical": [describe(record) for record in typical],
        "histograms": _histograms(signals, [*order[:DRAWN], *typical], models=told),
    }
    checked: Facts = plain(facts)
    return checked


def _of_every_model(result: AttackResult, signals: Signals) -> tuple[list[int], range, tuple[Array, Array], str | None]:
    half = signals.models // 2
    ranking, told = range(half), range(half, signals.models)
    rank_d, rank_by = separation(signals, models=ranking)
    told_d, _ = separation(signals, models=told)
    candidates = np.flatnonzero(np.isfinite(rank_by) & np.isfinite(told_d))
    order = candidates[np.argsort(-rank_by[candidates], kind="stable")].tolist()
    return order, told, (told_d, rank_d), None if order else TOO_FEW


def _of_users_target(
    result: AttackResult, signals: Signals
) -> tuple[list[int], range, tuple[Array, Array], str | None]:
    shadows = range(signals.models - 1)
    candidates = np.flatnonzero(result.is_member & ~np.isnan(result.scores))
    order = candidates[np.argsort(-result.scores[candidates], kind="stable")].tolist()
    d, _ = separation(signals, models=shadows)
    return order, shadows, (d, np.full_like(d, np.nan)), None if order else NO_MEMBERS


def _verdicts(result: AttackResult, record: int, *, told: range, threshold: float) -> tuple[float | None, int, int]:
    """The record's mean score where it was a member, in how many of these it was found, and how many they are."""
    scores, is_member = result.scores, result.is_member
    if scores.ndim == 2:
        scores, is_member = scores[told.start : told.stop, record], is_member[told.start : told.stop, record]
        scores = scores[is_member & ~np.isnan(scores)]
    else:
        scores = scores[record : record + 1]
    mean = float(scores.mean()) if len(scores) else None
    return mean, int((scores >= threshold).sum()), len(scores)


def _histograms(signals: Signals, chosen: list[int], *, models: range) -> Facts | None:
    """Counts of phi per record over common bins: models trained with the record, models trained without it."""
    if not chosen:
        return None
    phi = np.asarray(signals.phi[models.start : models.stop][:, chosen], dtype=np.float64).mean(axis=2)
    is_in = np.asarray(signals.in_mask[models.start : models.stop][:, chosen])
    of_target = np.asarray(signals.phi[-1][chosen], dtype=np.float64).mean(axis=1) if signals.has_target else []
    seen = np.concatenate((phi.ravel(), of_target))
    seen = seen[np.isfinite(seen)]
    if len(seen) == 0:
        return None
    edges = np.linspace(seen.min(), max(seen.max(), seen.min() + 1e-6), BINS + 1)

    def counts(values: Array) -> Any:
        return np.histogram(values[np.isfinite(values)], edges)[0]

    return {
        "edges": edges,
        "records": [
            {"record": record, "in": counts(phi[is_in[:, place], place]), "out": counts(phi[~is_in[:, place], place])}
            for place, record in enumerate(chosen)
        ],
    }
