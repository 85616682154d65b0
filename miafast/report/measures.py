"""One attack's ROC in numbers: what the tables, the plots and report.json say about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from miafast.report.plain import plain
from miafast.roc import Roc
from miafast.tables import Array

if TYPE_CHECKING:
    from miafast.report.report import AttackResult

Facts = dict[str, Any]

FPRS = (0.1, 0.01, 0.001, 0.0001)
PRIORS = (0.5, 0.1, 0.01)
HEADLINE_FPR = 0.001
CONFIDENCE = 0.95


def measures(result: AttackResult, *, band: bool) -> Facts:
    """Everything measured of one attack; with `band` also pointwise intervals along its ROC."""
    roc = result.roc
    low, high = roc.auc_interval(CONFIDENCE)
    facts = {
        "name": result.name,
        "options": result.options,
        "members": roc.members,
        "non_members": roc.non_members,
        "targets": roc.targets,
        "unscored": int(result.scores.size) - roc.members - roc.non_members,
        "auc": {"value": roc.auc, "low": low, "high": high},
        "balanced_accuracy": roc.balanced_accuracy,
        "tpr": [_tpr(roc, fpr) for fpr in FPRS],
        "true_positives_before_first_false_positive": roc.true_positives_before_first_false_positive,
        "precision": [_precision(roc, prior) for prior in PRIORS],
        "per_target": _per_target(roc) if roc.targets > 1 else None,
        "curve": _curve(roc),
        "band": _band(roc) if band else None,
    }
    checked: Facts = plain(facts)
    return checked


def headline_level(facts: Facts) -> Facts | None:
    """The row of `facts["tpr"]` to speak about: at 0.1 %, else at the lowest rate that could be measured, if any."""
    rows = [row for row in facts["tpr"] if row["measurable"] and row["fpr"] >= HEADLINE_FPR]
    return min(rows, key=lambda row: float(row["fpr"])) if rows else None


def lowest_rate(attacks: list[Facts]) -> float:
    """Where a plot's axes begin: a decade below the headline's rate, lower only where that could be measured."""
    non_members = max(each["non_members"] for each in attacks)
    return 1e-5 if non_members >= 100_000 else 1e-4 if non_members >= 1_000 else 1e-3


def _tpr(roc: Roc, fpr: float) -> Facts:
    if not roc.measurable(fpr):
        return {"fpr": fpr, "measurable": False, "value": None, "low": None, "high": None}
    low, high = roc.interval(fpr, CONFIDENCE)
    return {"fpr": fpr, "measurable": True, "value": roc.tpr_at(fpr), "low": low, "high": high}


def _precision(roc: Roc, prior: float) -> Facts:
    can = roc.measurable(HEADLINE_FPR)
    value = roc.precision_at(HEADLINE_FPR, prior) if can else None
    return {"fpr": HEADLINE_FPR, "prior": prior, "measurable": can, "value": value}


def _per_target(roc: Roc) -> Facts | None:
    """Mean and sd over targets; a rate is measurable when every target has the non-members for it."""
    members, non_members = (int(side.sum(axis=1).min()) for side in (roc.is_member, ~roc.is_member))
    if min(members, non_members) == 0:
        return None
    rows = []
    for fpr in FPRS:
        can = non_members >= round(1 / fpr)
        mean_and_sd = spread(roc.per_target_tpr_at(fpr)) if can else {"mean": None, "sd": None}
        rows.append({"fpr": fpr, "measurable": can, **mean_and_sd})
    return {"non_members": non_members, "auc": spread(roc.per_target_auc), "tpr": rows}


def spread(values: Array) -> Facts:
    """Mean and standard deviation (n - 1) of the finite values; None where there are too few."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if len(values) else None
    return {"mean": mean, "sd": float(values.std(ddof=1)) if len(values) > 1 else None}


def _curve(roc: Roc, steps: int = 500) -> Facts:
    """The corners of the ROC that a plot can show, whether its axes are logarithmic or not."""
    fpr = np.asarray(roc.fpr)
    lowest = 1 / max(roc.non_members, 10)
    wanted = np.concatenate(([0.0], np.geomspace(lowest, 1.0, steps), np.linspace(0.0, 1.0, steps // 4)))
    keep = np.unique(np.searchsorted(fpr, wanted * (1 + 1e-12), side="right") - 1)
    return {"fpr": fpr[keep], "tpr": np.asarray(roc.tpr)[keep]}


def _band(roc: Roc, steps: int = 25) -> Facts | None:
    lowest = max(1 / roc.non_members, 1e-5) * (1 + 1e-9)
    if lowest > 0.5:
        return None
    fpr = np.geomspace(lowest, 0.999, steps)
    low, high = roc.intervals(fpr, CONFIDENCE)
    return {"fpr": fpr, "low": low, "high": high}
