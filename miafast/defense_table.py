"""What each defence costs and what it buys: one audit per defence, side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miafast.audit import audit
from miafast.defenses import Defense, LabelOnly, as_defenses
from miafast.report.measures import headline_level, measures
from miafast.report.words import aligned, interval, percent, rate
from miafast.tables import Array, Records

if TYPE_CHECKING:
    from miafast.plan import Attack
    from miafast.report import Report
    from miafast.shadow import Recipe, TrainFunction

Asked = Defense | str | Sequence[Defense | str] | None


@dataclass(frozen=True, eq=False)
class DefenseTable:
    """Utility and leakage per defence, "none" first. `print` it; `rows` holds plain numbers for tools.

    ``tpr`` is the headline attack's at ``fpr``, the lowest usual rate of at least 0.1 % that could be measured (None:
    none), with its 95 % interval.

    >>> DefenseTable(({"defense": "none", "train_accuracy": 1.0, "test_accuracy": 0.9, "attack": "LiRA online",
    ...     "auc": 0.7, "balanced_accuracy": 0.65, "fpr": None, "tpr": None, "low": None, "high": None},), ())
    defense  train  test   AUC    bal. acc.  TPR (LiRA online)
    none     1.000  0.900  0.700  0.650      not measurable
    """

    rows: tuple[dict[str, Any], ...]
    reports: tuple[Report, ...]  # one per row

    def __repr__(self) -> str:
        lines = [("defense", "train", "test", "AUC", "bal. acc.", f"TPR ({self.rows[0]['attack']})")]
        for row in self.rows:
            numbers = (f"{row[name]:.3f}" for name in ("train_accuracy", "test_accuracy", "auc", "balanced_accuracy"))
            lines.append((row["defense"], *numbers, _tpr(row)))
        noted = [LabelOnly.note] if any("label-only" in row["defense"] for row in self.rows) else []
        return "\n".join([*aligned(lines), *(f"\n{note}" for note in noted)])


def defense_table(
    records: Records,
    recipe: Recipe | TrainFunction | None = None,
    *,
    defenses: Sequence[Asked],
    attack: Attack | Sequence[Attack] | None = None,
    shadows: int = 64,
    membership: str | Array = "balanced",
    seed: int = 0,
    workdir: str | Path | None = None,
    progress: bool = False,
) -> DefenseTable:
    """Audit a recipe bare and under every defence, each time by an attacker whose shadows are defended alike.

    Shokri et al. 2017, "Membership Inference Attacks Against Machine Learning Models", table III, with adaptive
    attacks. Every model is the target in turn. Entries of ``defenses`` are as `audit`'s ``defense``; ``workdir`` gets
    a folder per defence, so an interrupted table resumes.

    Raises ValueError or TypeError, before any training, for a defence that is not known or given twice; else as
    `audit` does.

    >>> import miafast as mf
    >>> records, recipe = mf.load("digits"), mf.Recipe(hidden=(8,), epochs=1)
    >>> table = defense_table(records, recipe, defenses=["label-only"], shadows=6)
    >>> [row["defense"] for row in table.rows]
    ['none', 'label-only']
    """
    asked = [(), *(as_defenses(each) for each in defenses)]
    names = ["none", *("+".join(one.name for one in each) for each in asked[1:])]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"defenses holds {twice[0]!r} more than once ('none' is always there); give each once.")
    rows, reports = [], []
    for name, each in zip(names, asked, strict=True):
        folder = None if workdir is None else Path(workdir) / re.sub(r"[^\w.+-]", "-", name)
        report = audit(
            records, recipe, attack=attack, shadows=shadows, membership=membership, seed=seed, workdir=folder,
            progress=progress, defense=each,
        )  # fmt: skip
        rows.append(_row(name, report))
        reports.append(report)
    return DefenseTable(tuple(rows), tuple(reports))


def _row(name: str, report: Report) -> dict[str, Any]:
    facts = measures(report.results[0], band=False)
    level = headline_level(facts) or {"fpr": None, "value": None, "low": None, "high": None}
    train, test = report.signals.train_accuracy, report.signals.test_accuracy
    return {
        "defense": name,
        "train_accuracy": float("nan") if train is None else float(train.mean()),
        "test_accuracy": float("nan") if test is None else float(test.mean()),
        "attack": facts["name"],
        "auc": facts["auc"]["value"],
        "auc_low": facts["auc"]["low"],
        "auc_high": facts["auc"]["high"],
        "balanced_accuracy": facts["balanced_accuracy"],
        "fpr": level["fpr"],
        "tpr": level["value"],
        "low": level["low"],
        "high": level["high"],
    }


def _tpr(row: dict[str, Any]) -> str:
    if row["tpr"] is None:
        return "not measurable"
    return f"{percent(row['tpr'])} ({interval(row['low'], row['high'], like=row['tpr'])}) at {rate(row['fpr'])} FPR"
