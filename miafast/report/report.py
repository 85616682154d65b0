"""The last table of an audit: what every attack found, ready to be read, saved and checked."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from miafast.guards import Check
from miafast.report import words
from miafast.report.accuracy import accuracy
from miafast.report.exposed import exposed
from miafast.report.files import all_or_nothing
from miafast.report.measures import Facts, headline_level, measures
from miafast.report.plain import as_json, plain
from miafast.report.remembered import remembered
from miafast.report.scores import COLUMNS, KINDS, write_scores
from miafast.roc import Roc
from miafast.tables import Array, Signals

SCHEMA = "miafast/report/1"


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What one attack said of every record, and how well it told members from non-members.

    Raises ValueError when `scores` and `is_member` do not fit together.

    >>> import miafast as mf, numpy as np
    >>> scores, is_member = np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False])
    >>> AttackResult("loss threshold", "Threshold()", scores, is_member, roc=mf.roc(scores, is_member)).roc.auc
    0.75
    """

    name: str  # "LiRA online", "loss threshold"
    options: str  # repr of the attack
    scores: Array  # [models, records] when every model is the target in turn, [records] for the user's; NaN: not scored
    is_member: Array  # the same shape, bool
    roc: Roc  # of the scored ones

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError(f"name={self.name!r}; give the attack a name to be listed under.")
        if self.scores.ndim not in (1, 2):
            raise ValueError(f"scores has shape {self.scores.shape}; give [models, records] or [records].")
        if self.is_member.shape != self.scores.shape or self.is_member.dtype != np.bool_:
            raise ValueError(
                f"is_member is {self.is_member.dtype} {self.is_member.shape}; scores need bool {self.scores.shape}."
            )


@dataclass(frozen=True, eq=False)
class Report:
    """What an audit found. `print(report)` for the measures, `report.save(folder)` for everything.

    The first of `results` is the headline attack: choose it before looking at what it finds. All results tell of the
    same targets: [models, records] scores when every model was the target in turn, [records] for the user's target.

    Raises ValueError when results, signals and names do not fit together.

    >>> import miafast as mf, numpy as np
    >>> is_member, phi = np.arange(40) < 20, np.linspace(5, -5, 40)
    >>> signals = mf.Signals(phi[None, :, None], is_member[None], labels=np.zeros(40, int), has_target=True)
    >>> result = AttackResult("phi", "phi itself", phi, is_member, roc=mf.roc(phi, is_member))
    >>> print(mf.Report((result,), signals))                                           # doctest: +ELLIPSIS
                       phi
    ───────────────────────...
    AUC                1.000 (...)
    balanced accuracy  100.0 %
    TPR at 10 % FPR    100.0 % (...)
    TPR at 1 % FPR     not measurable
    TPR at 0.1 % FPR   not measurable
    TPR at 0.01 % FPR  not measurable
    <BLANKLINE>
    With 20 non-members, 1 %, 0.1 % and 0.01 % FPR cannot be measured; that takes 100, 1,000 and 10,000.
    """

    results: tuple[AttackResult, ...]
    signals: Signals
    name: str = "records"
    class_names: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # recipe, seed, membership, ...
    seconds: Mapping[str, float] = field(default_factory=dict)  # stage -> seconds
    versions: Mapping[str, str] = field(default_factory=dict)
    backends: Mapping[str, str] = field(default_factory=dict)  # op -> the backend that ran; how shadows were trained
    warnings: tuple[str, ...] = ()
    white_box: tuple[
        Mapping[str, Any], ...
    ] = ()  # how right attacks on layers are, see `miafast.whitebox.layers.judged`
    checks: tuple[Check, ...] = ()  # what `miafast.guards` found; texts of failed ones stand in warnings as well

    def __post_init__(self) -> None:
        if not self.results:
            raise ValueError("results is empty; a report needs at least one attack.")
        names = [each.name for each in self.results]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"results holds {twice[0]!r} more than once; give every attack its own name.")
        if taken := sorted(set(names) & set(COLUMNS)):
            raise ValueError(f"name={taken[0]!r} is a column of the scores file; give the attack another name.")
        models, records = self.signals.models, self.signals.records
        expected = (records,) if self.signals.has_target else (models, records)
        for each in self.results:
            if each.scores.shape != expected:
                raise ValueError(
                    f"scores of {each.name!r} have shape {each.scores.shape}; signals of {models} models and {records} "
                    f"records with has_target={self.signals.has_target} need {expected}."
                )
            if not np.array_equal(each.is_member, self.results[0].is_member):
                raise ValueError(f"is_member of {each.name!r} differs from {names[0]!r}'s; all must judge the same.")
        if self.class_names is not None and len(self.class_names) <= int(self.signals.labels.max()):
            raise ValueError(
                f"class_names has {len(self.class_names)} names for labels up to {self.signals.labels.max()}; "
                "give one name per class."
            )

    @property
    def headline(self) -> str:
        """What the first attack finds at the smallest false-alarm rate of general interest, in one sentence."""
        return words.headline(self._measures[0])

    @property
    def verdict(self) -> str:
        """What that means for a release, in a few sentences."""
        return words.verdict(self._measures)[1]

    def __str__(self) -> str:
        return words.terminal_table(self._measures, warnings=self._warnings)

    def save(self, folder: str | Path, *, scores: str = "csv") -> Path:
        """Write report.html, roc.png, report.json and scores.csv (or scores.parquet) into a folder, made if need be.

        report.json is described by ``report.schema.json`` in this package. All four files appear together: after an
        error none of them is half-written and earlier ones are untouched. The same report gives the same bytes.

        Returns the folder. Raises ValueError for an unknown kind of scores, ModuleNotFoundError when Matplotlib, Jinja2
        or (for Parquet) pyarrow is missing, OSError when the folder cannot be written.
        """
        if scores not in KINDS:
            raise ValueError(f"scores={scores!r} is not known; choose one of {', '.join(KINDS)}.")
        _require("matplotlib", "jinja2", extra="report")
        if scores == "parquet":
            _require("pyarrow", extra="data")
        from miafast.report.page import page
        from miafast.report.picture import draw_roc

        folder = Path(folder)
        with all_or_nothing(folder) as temporary:
            facts = self.facts
            temporary("report.html").write_text(page(facts, scores_file=f"scores.{scores}"), encoding="utf-8")
            temporary("report.json").write_text(as_json(facts), encoding="utf-8")
            temporary("roc.png").write_bytes(draw_roc(facts["attacks"], name=self.name))
            write_scores(temporary(f"scores.{scores}"), self.results, signals=self.signals, kind=scores)
        return folder

    @cached_property
    def facts(self) -> Facts:
        """Everything that report.json says, as plain numbers, texts, lists and dicts."""
        level, verdict = words.verdict(self._measures)
        signals = self.signals
        return {
            "schema": SCHEMA,
            "records": {
                "name": self.name,
                "count": signals.records,
                "class_names": None if self.class_names is None else list(self.class_names),
            },
            "setting": "one target" if signals.has_target else "every model in turn",
            "models": signals.models,
            "queries": signals.queries,
            "headline": words.headline_facts(self._measures[0]),
            "verdict": {"level": level, "text": verdict},
            "attacks": self._measures,
            "exposed": exposed(
                self.results[0], signals, class_names=self.class_names, level=headline_level(self._measures[0])
            ),
            "remembered": remembered(
                self.results[0], signals, class_names=self.class_names, level=headline_level(self._measures[0])
            ),
            "accuracy": self._accuracy,
            "white_box": plain(self.white_box),
            "settings": plain(self.settings),
            "seconds": plain(self.seconds),
            "versions": plain(self.versions),
            "backends": plain(self.backends),
            "warnings": self._warnings,
            "checks": [{"name": each.name, "passed": each.passed, "text": each.text} for each in self.checks],
        }

    @cached_property
    def _measures(self) -> list[Facts]:
        return [measures(each, band=place == 0) for place, each in enumerate(self.results)]

    @cached_property
    def _accuracy(self) -> list[Facts]:
        return accuracy(self.signals)

    @property
    def _warnings(self) -> list[str]:
        return [*self.warnings, *words.cautions(self._measures, self._accuracy)]


def _require(*modules: str, extra: str) -> None:
    for name in modules:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"saving this needs {name}; pip install 'miafast[{extra}]'.", name=name)
