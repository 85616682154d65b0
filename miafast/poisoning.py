"""Truth Serum: what mislabelled poison in the training set makes a model leak about chosen records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from miafast.audit import audit, report_on
from miafast.plan import Attack, compared_attacks
from miafast.report import Report
from miafast.report.files import all_or_nothing
from miafast.roc import Roc
from miafast.shadow import Recipe, TrainFunction, check_membership, membership as draw_membership, recipe_for
from miafast.shadow.random import permutation, stream, uniform
from miafast.tables import Array, Records, Signals


@dataclass(frozen=True, eq=False)
class Poisoned:
    """A pool with poison in it: what every model trains on, the target and the shadows alike.

    Made by `poison` and `mislabel`. Poison is IN every model; only ``targets`` are asked about.
    """

    records: Records  # the pool, and appended poison behind it
    pool: int  # how many of them were there before
    is_poison: Array  # [records] bool
    targets: Array  # [targets] int64 indices of the records whose membership is asked about
    name: str  # what tables call this dose

    def in_mask(self, in_mask: Array) -> Array:
        """The pool's mask [models, pool] as a mask of all records, poison IN everywhere. ValueError for other shapes.

        A target model's ``is_member`` is one more such row: ``in_mask(row[None])[0]``.
        """
        if in_mask.ndim != 2 or in_mask.dtype != np.bool_ or in_mask.shape[1] != self.pool:
            raise ValueError(
                f"in_mask has shape {in_mask.shape} and dtype {in_mask.dtype}; give bool [models, {self.pool}], a "
                "column per record of the pool."
            )
        whole: Array = np.pad(in_mask, ((0, 0), (0, len(self.records) - self.pool))) | self.is_poison
        return whole

    def audited(self, signals: Signals) -> Signals:
        """The signals of the targets alone, in their order: what an attack on them should be given.

        With poison's columns left in, no mask is balanced any more, and `LiRA.score_all` would not know it.
        """
        return signals.of(self.targets)


def poison(records: Records, targets: Array, *, copies: int, labels: Array | None = None, seed: int = 0) -> Poisoned:
    """Targeted poison: to expose (x, y), append ``copies`` of (x, y'), one wrong label y' per target.

    Args:
        records: the pool that members come from.
        targets: [targets] different indices of the records to expose.
        copies: poison records per target, >= 0; 0 is the comparison without poison.
        labels: [targets] wrong labels; by default drawn evenly from the others, a function of the seed alone.
        seed: >= 0.

    Raises ValueError for targets that are not different indices, copies below 0, and a label that is right.

    Source: Tramèr et al. 2022, "Truth Serum: Poisoning Machine Learning Models to Reveal Their Secrets", section 4.

    >>> import miafast as mf, numpy as np
    >>> records = mf.Records(np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1]), classes=2)
    >>> dose = poison(records, np.array([2]), copies=3)
    >>> dose.records.y, dose.in_mask(np.array([[True, False, False, True]]))
    (array([0, 1, 0, 1, 1, 1, 1]), array([[ True, False, False,  True,  True,  True,  True]]))
    """
    targets = _checked_targets(targets, records)
    if copies < 0:
        raise ValueError(f"copies={copies}; give 0 (no poison) or more.")
    wrong = _wrong_labels(records.y[targets], records.classes, seed) if labels is None else np.asarray(labels)
    if wrong.shape != targets.shape or (wrong == records.y[targets]).any():
        raise ValueError(
            f"labels has shape {wrong.shape} for {len(targets)} targets, or holds a right label; give one wrong label "
            "per target."
        )
    source = np.repeat(targets, copies)
    poisoned = replace(
        records, x=np.concatenate([records.x, records.x[source]]), y=np.concatenate([records.y, wrong.repeat(copies)])
    )
    is_poison = np.arange(len(poisoned)) >= len(records)
    return Poisoned(poisoned, len(records), is_poison, targets, f"{copies} {'copy' if copies == 1 else 'copies'}")


def mislabel(records: Records, targets: Array, *, count: int, seed: int = 0) -> Poisoned:
    """Untargeted poison: the adversary owns ``count`` arbitrary records of the pool and labels them wrongly.

    They are drawn among the records that are not ``targets``; with the same seed a larger count holds the smaller.

    Args and errors as for `poison`; ValueError also where fewer than ``count`` records are left.

    Source: Tramèr et al. 2022, section 4.4 (untargeted attacks).

    >>> import miafast as mf, numpy as np
    >>> records = mf.Records(np.zeros((6, 2)), np.array([0, 1, 0, 1, 0, 1]), classes=2)
    >>> mislabel(records, np.array([0, 1]), count=4).records.y
    array([0, 1, 1, 0, 1, 0])
    """
    targets = _checked_targets(targets, records)
    others = np.setdiff1d(np.arange(len(records)), targets)
    if not 0 <= count <= len(others):
        raise ValueError(f"count={count}; give 0 … {len(others)}, the records that are not targets.")
    chosen = others[permutation(stream(seed, 0, "poison records"), len(others))[:count]]
    y = records.y.copy()
    y[chosen] = _wrong_labels(records.y, records.classes, seed)[chosen]
    is_poison = np.zeros(len(records), bool)
    is_poison[chosen] = True
    return Poisoned(replace(records, y=y), len(records), is_poison, targets, f"{count:,} mislabelled")


@dataclass(frozen=True, eq=False)
class TruthSerum:
    """What the attack finds at every dose of poison. Printing it shows the table. Made by `truth_serum`."""

    doses: tuple[Poisoned, ...]
    reports: tuple[Report, ...]  # of the targets alone, one per dose
    fpr: float

    def rows(self) -> list[dict[str, Any]]:
        """One row of plain values per dose.

        ``median_tpr`` is the median over targets of a target's own TPR: the share of models trained on it that say so
        at the threshold where ``fpr`` of all (model, target) pairs are false alarms.
        """
        rows = []
        for dose, report in zip(self.doses, self.reports, strict=True):
            found = report.results[0].roc
            low, high = found.interval(self.fpr)
            trained_on = float(report.settings["mean_training_records"])
            rows.append(
                {
                    "dose": dose.name,
                    "poison_per_target": float(dose.is_poison.sum()) / len(dose.targets) / trained_on,
                    "poison": float(dose.is_poison.sum()) / trained_on,
                    "auc": found.auc,
                    "tpr": found.tpr_at(self.fpr),
                    "tpr_low": low,
                    "tpr_high": high,
                    "median_tpr": float(np.median(per_record_tpr(found, self.fpr))),
                    "test_accuracy": _mean(report.signals.test_accuracy),
                }
            )
        return rows

    def __str__(self) -> str:
        at = f"TPR@{self.fpr:.2g}"
        lines = [f"{'dose':<20}{'per target':>11}{'AUC':>8}{at:>12}{'95 % interval':>18}{'median':>9}{'test acc.':>11}"]
        for row in self.rows():
            interval = f"{row['tpr_low']:.2%}–{row['tpr_high']:.2%}"
            lines.append(
                f"{row['dose']:<20}{row['poison_per_target']:>11.3%}{row['auc']:>8.3f}{row['tpr']:>12.2%}{interval:>18}"
                f"{row['median_tpr']:>9.2%}{row['test_accuracy']:>11.3f}"
            )
        return "\n".join(lines)

    def save(self, folder: str | Path) -> None:
        """Write poisoning.json, and every dose's own report into a folder of its own."""
        folder = Path(folder)
        for number, report in enumerate(self.reports):
            report.save(folder / f"dose-{number}")
        with all_or_nothing(folder) as temporary:
            text = json.dumps({"fpr": self.fpr, "doses": self.rows()}, indent=2)
            temporary("poisoning.json").write_text(text + "\n", encoding="utf-8")


def truth_serum(
    doses: Sequence[Poisoned],
    recipe: Recipe | TrainFunction | None = None,
    *,
    attack: Attack | Sequence[Attack] | None = None,
    shadows: int = 64,
    membership: str | Array = "balanced",
    fpr: float = 1e-3,
    seed: int = 0,
    workdir: str | Path | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> TruthSerum:
    """Audit the targets at every dose of poison: same pool, same membership, same seeds; only the poison differs.

    Every model is the target in turn, and it and its shadows are poisoned alike: the adversary knows the poison.

    Args:
        doses: from `poison` or `mislabel`, all of one pool and with the same targets; begin with a dose of 0.
        recipe, attack, shadows, seed, device, progress: as for `miafast.audit`.
        membership: "balanced", "coins", or bool [shadows, pool], without the poison.
        fpr: the false-positive rate of the table's TPR.
        workdir: a folder to keep signals in, one folder per dose; an interrupted run resumes there.

    Raises ValueError, before training, where doses do not belong together or the targets are too few for ``fpr``.

    Source: Tramèr et al. 2022, "Truth Serum: Poisoning Machine Learning Models to Reveal Their Secrets".

    >>> import miafast as mf, numpy as np                                                  # doctest: +SKIP
    >>> records, targets = mf.load("digits"), np.arange(50)                                # doctest: +SKIP
    >>> print(mf.truth_serum([mf.poison(records, targets, copies=r) for r in (0, 8)]))     # doctest: +SKIP
    """
    pool = _checked_pool(doses)
    if isinstance(membership, str):
        in_mask = draw_membership(pool, shadows, kind=membership, seed=seed)
    else:
        check_membership(membership, records=pool, models=len(membership))
        in_mask = membership
    _check_measurable(in_mask[:, doses[0].targets], fpr)
    recipe = recipe_for(doses[0].records) if recipe is None else recipe
    reports = []
    for number, dose in enumerate(doses):
        whole = dose.in_mask(in_mask)
        ran = audit(
            dose.records, recipe, attack=attack, shadows=len(whole), membership=whole, seed=seed, device=device,
            progress=progress, workdir=None if workdir is None else Path(workdir) / f"dose-{number}",
        )  # fmt: skip
        signals = dose.audited(ran.signals)
        facts = {"poison": dose.name, "targets": len(dose.targets), "mean_training_records": float(whole.sum(1).mean())}
        signals = replace(signals, identity={**signals.identity, **facts})
        reports.append(report_on(signals, compared_attacks(attack), seconds=ran.seconds))
    return TruthSerum(tuple(doses), tuple(reports), fpr)


def per_record_tpr(found: Roc, fpr: float) -> Array:
    """[records] share of the models trained on a record that score it at or above the common threshold at ``fpr``.

    NaN for a record that no model was trained on.

    >>> import miafast as mf, numpy as np
    >>> scores = np.array([[3.0, 0.0, 1.0], [2.5, 2.0, 0.5]])
    >>> found = mf.roc(scores, np.array([[True, True, False], [True, False, False]]))
    >>> per_record_tpr(found, 0.34)
    array([ 1.,  0., nan])
    """
    threshold = found.threshold_at(fpr)
    models = found.is_member.sum(axis=0)
    hits = ((found.scores >= threshold) & found.is_member).sum(axis=0)
    shares: Array = np.where(models > 0, hits / np.maximum(models, 1), np.nan)
    return shares


def _wrong_labels(y: Array, classes: int, seed: int) -> Array:
    """Another label than y for each, all others equally likely."""
    draws = uniform(stream(seed, 0, "poison labels"), len(y))
    wrong: Array = (y + 1 + (draws * (classes - 1)).astype(np.int64)) % classes
    return wrong


def _checked_targets(targets: Array, records: Records) -> Array:
    targets = np.asarray(targets)
    if targets.ndim != 1 or not targets.size or targets.dtype.kind not in "iu":
        raise ValueError(f"targets has shape {targets.shape} and dtype {targets.dtype}; give a list of record indices.")
    if targets.min() < 0 or targets.max() >= len(records) or len(np.unique(targets)) < len(targets):
        raise ValueError(f"targets must be different indices, 0 … {len(records) - 1}; got {targets[:10].tolist()} ….")
    return targets.astype(np.int64)


def _checked_pool(doses: Sequence[Poisoned]) -> int:
    """How many records the doses' common pool has."""
    if not doses:
        raise ValueError("doses is empty; give for instance [poison(records, targets, copies=r) for r in (0, 8)].")
    first = doses[0]
    for each in doses:
        same_pool = each.pool == first.pool and np.array_equal(
            each.records.x[: each.pool], first.records.x[: first.pool]
        )
        if not same_pool or not np.array_equal(each.targets, first.targets):
            raise ValueError(f"doses: {each.name} has another pool or other targets than {first.name}; use the same.")
    return first.pool


def _check_measurable(in_mask: Array, fpr: float) -> None:
    if not 0 < fpr < 1:
        raise ValueError(f"fpr={fpr}; give a false-positive rate between 0 and 1, both excluded.")
    outside = int((~in_mask).sum())
    if outside * fpr < 1:
        raise ValueError(
            f"fpr={fpr:g} cannot be measured: {in_mask.shape[1]} targets in {len(in_mask)} models are "
            f"{outside:,} non-members, at least {int(np.ceil(1 / fpr)):,} are needed; take more targets or shadows."
        )


def _mean(values: Array | None) -> float:
    return float("nan") if values is None else float(np.mean(values))
