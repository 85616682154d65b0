"""What the models remember: memorisation beside separation, hard records and classes, uncertainty in and out.

Memorisation (Feldman and Zhang 2020) is the gain in correctness from training on a record. As in `exposed`, the records
that are named are ranked on the first half of the shadow models, and everything told of them comes from the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from miafast.intervals import clopper_pearson
from miafast.memorization import Memorization, by_luck, class_hardness, memorization
from miafast.report.exposed import TOO_FEW
from miafast.report.measures import CONFIDENCE, Facts
from miafast.report.plain import plain
from miafast.separation import separation
from miafast.tables import Array, Signals

if TYPE_CHECKING:
    from miafast.report.report import AttackResult

LISTED, BINS = 10, 24
#: Where correctness was not collected: who gives the label more than half of the probability is right, and knows it.
BY_CONFIDENCE = "the label has more than half of the probability"
BY_CORRECTNESS = "the label is predicted"


def remembered(
    result: AttackResult, signals: Signals, *, class_names: Sequence[str] | None, level: Facts | None
) -> Facts:
    """Memorisation per record and class, and the attack's precision by class at ``level["fpr"]``."""
    shadows = slice(0, signals.models - signals.has_target)
    correct, in_mask = _correct(signals)[shadows], signals.in_mask[shadows]
    half = len(in_mask) // 2
    first, second = (memorization(correct[part], in_mask[part]) for part in (slice(half), slice(half, None)))
    rank = first.value / first.standard_error
    candidates = np.flatnonzero(np.minimum(_fewest(first), _fewest(second)) >= 2)
    order = candidates[np.argsort(-rank[candidates], kind="stable")][:LISTED]
    whole = memorization(correct, in_mask)
    known = np.isfinite(whole.value)
    d, _ = separation(signals, models=range(len(in_mask)))
    facts = {
        "right_when": BY_CORRECTNESS if "correct" in signals.arrays else BY_CONFIDENCE,
        "models_ranking": half,
        "models_reporting": len(in_mask) - half,
        "reason_for_none": None if len(order) else TOO_FEW,
        "mean": whole.value[known].mean() if known.any() else None,
        "surely_remembered": int((whole.low[known] > 0).sum()),
        "by_chance": by_luck(whole),
        "records": int(known.sum()),
        "with_separation": _together(whole.value, d),
        "most": [
            {
                "record": record,
                "label": (label := int(signals.labels[record])),
                "class": None if class_names is None else class_names[label],
                "memorization": second.value[record],
                "standard_error": second.standard_error[record],
                "low": second.low[record],
                "high": second.high[record],
                "hardness": second.hardness[record],
                "separation": d[record],
            }
            for record in order.tolist()
        ],
        "classes": _classes(result, signals, correct, in_mask, class_names=class_names, level=level),
        "uncertainty": _uncertainty(signals, class_names),
    }
    checked: Facts = plain(facts)
    return checked


def _correct(signals: Signals) -> Array:
    """[models, records, queries] of 0 and 1."""
    return signals.arrays["correct"] if "correct" in signals.arrays else np.asarray(signals.phi > 0, np.float32)


def _fewest(found: Memorization) -> Array:
    return np.minimum(found.in_models, found.out_models)


def _together(value: Array, d: Array) -> Facts | None:
    """Counts of records over memorisation (across) and separation (up), and their rank correlation."""
    from scipy.stats import spearmanr

    known = np.isfinite(value) & np.isfinite(d)
    if known.sum() < 2 or np.ptp(value[known]) == 0 or np.ptp(d[known]) == 0:
        return None
    value, d = value[known], d[known]
    low, high = np.quantile(d, (0.001, 0.999))
    across, up = np.linspace(min(value.min(), 0), 1, BINS + 1), np.linspace(low, max(high, low + 1e-6), BINS + 1)
    counts = np.histogram2d(value, d.clip(low, high), (across, up))[0].astype(int)
    return {"memorization": across, "separation": up, "counts": counts, "correlation": spearmanr(value, d)[0]}


def _classes(
    result: AttackResult, signals: Signals, correct: Array, in_mask: Array, *, class_names: Sequence[str] | None,
    level: Facts | None,
) -> list[Facts]:  # fmt: skip
    """Per class: how hard, how much of it is remembered, and what the attack finds of it with which precision."""
    found = class_hardness(correct, in_mask, signals.labels)
    threshold = np.nan if level is None else result.roc.threshold_at(level["fpr"])
    rows = []
    for label in np.flatnonzero(found.records).tolist():
        scores, is_member = (each[..., signals.labels == label] for each in (result.scores, result.is_member))
        alarms, scored = scores >= threshold, ~np.isnan(scores)
        hits, raised = int((alarms & is_member).sum()), int(alarms.sum())
        accused = int(alarms.reshape(-1, alarms.shape[-1]).any(axis=0).sum())  # alarms on one record are one's worth
        low, high = clopper_pearson(accused * hits / max(raised, 1), accused, (1 - CONFIDENCE) / 2)
        rows.append({
            "label": label,
            "class": None if class_names is None else class_names[label],
            "records": int(found.records[label]),
            "in_accuracy": found.in_accuracy[label],
            "out_accuracy": found.out_accuracy[label],
            "memorization": found.memorization[label],
            "standard_error": found.standard_error[label],
            "found": None if level is None else hits / max(int((scored & is_member).sum()), 1),
            "alarms": None if level is None else raised,
            "precision": hits / raised if raised else None,
            "low": float(low) if raised else None,
            "high": float(high) if raised else None,
        })  # fmt: skip
    return sorted(rows, key=lambda row: -row["memorization"] if np.isfinite(row["memorization"]) else np.inf)


def _uncertainty(signals: Signals, class_names: Sequence[str] | None) -> Facts | None:
    """Normalised entropy of the targets' predictions, 0 sure and 1 clueless: shares of members and non-members."""
    if "entropy" not in signals.arrays:
        return None
    classes = len(class_names) if class_names is not None else int(signals.labels.max()) + 1
    rows = slice(signals.models - 1 if signals.has_target else 0, None)
    entropy = np.asarray(signals.arrays["entropy"][rows], np.float64)[:, :, 0] / np.log(max(classes, 2))
    edges, is_in = np.linspace(0, 1, BINS + 1), signals.in_mask[rows]
    sides = {"members": entropy[is_in], "non_members": entropy[~is_in]}
    facts: Facts = {"edges": edges}
    for name, values in sides.items():
        facts[name] = np.histogram(values.clip(0, 1), edges)[0] / max(len(values), 1)
        facts[f"mean_of_{name}"] = values.mean() if len(values) else None
    return facts
