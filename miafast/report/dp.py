"""What an audit of a differential-privacy claim found, ready to be read and saved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from miafast.report import svg
from miafast.report.files import all_or_nothing
from miafast.report.filled import filled
from miafast.report.measures import Facts, measures
from miafast.report.plain import as_json, plain
from miafast.report.report import AttackResult
from miafast.roc import roc
from miafast.tables import Array

#: Methods whose bound is one of Gaussian differential privacy.
GAUSSIAN = ("gdp", "f-dp one-run")


@dataclass(frozen=True)
class Look:
    """One look at the runs done so far."""

    runs: int  # models, or canaries of one run
    epsilon: float  # the lower bound then
    threshold: float | None = None


@dataclass(frozen=True, eq=False)
class DpReport:
    """The claim, the accountant's upper bound and the audit's lower bound. Made by `miafast.audit_dp`.

    >>> is_member = np.arange(100) < 50
    >>> report = DpReport(claim=1.0, delta=1e-5, upper=1.0, looks=(Look(100, 2.5, 0.5),), method="clopper-pearson",
    ...     mode="many-runs", confidence=0.95, canary="blank", records="mnist", recipe="", scores=is_member * 1.0,
    ...     is_member=is_member, seconds=1.0, seed=0)
    >>> print(report.headline)
    The claim ε = 1 is refuted: with 95 % confidence ε is at least 2.50 (δ = 1e-05).
    """

    claim: float
    delta: float
    upper: float | None  # the accountant's epsilon
    looks: tuple[Look, ...]  # in order; the last one decides
    method: str
    mode: str
    confidence: float  # of all looks together
    canary: str
    records: str
    recipe: str
    scores: Array  # [models], or [canaries] of one run
    is_member: Array  # the same shape, bool
    seconds: float
    seed: int

    @property
    def epsilon(self) -> float:
        """The largest epsilon rejected at any look."""
        return max(each.epsilon for each in self.looks)

    @property
    def refuted(self) -> bool:
        """Whether the lower bound lies above the claim."""
        return self.epsilon > self.claim

    @property
    def headline(self) -> str:
        """The verdict, with what it takes for granted: neither Gaussian noise nor a prior goes without saying."""
        kind = "posterior probability" if self.method == "bayesian" else "confidence"
        given = ", if its privacy is that of Gaussian noise" if self.method in GAUSSIAN else ""
        verdict = "is refuted" if self.refuted else "is not refuted"
        found = f"with {100 * self.confidence:g} % {kind} ε is at least {self.epsilon:.2f} (δ = {self.delta:g})."
        return f"The claim ε = {self.claim:.3g} {verdict}{given}: {found}"

    @cached_property
    def facts(self) -> Facts:
        """Everything that dp.json says."""
        result = AttackResult("canary", self.recipe, self.scores, self.is_member, roc=roc(self.scores, self.is_member))
        names = ("claim", "delta", "upper", "method", "mode", "confidence", "canary", "records", "recipe", "seconds")
        return {
            "schema": "miafast/dp/1",
            "headline": self.headline,
            "epsilon": plain(self.epsilon),
            "refuted": self.refuted,
            **{name: plain(getattr(self, name)) for name in (*names, "seed")},
            "looks": [plain(each) for each in self.looks],
            "attack": measures(result, band=True),
        }

    def __str__(self) -> str:
        unit = "models" if self.mode == "many-runs" else "canaries"
        rows = [(f"{each.runs:,} {unit}", f"ε ≥ {each.epsilon:.3f}") for each in self.looks]
        rows.append(("claim", f"ε = {self.claim:.3f}"))
        if self.upper is not None:
            rows.append(("accountant", f"ε ≤ {self.upper:.3f}"))
        width = max(len(name) for name, _ in rows)
        return "\n".join([*(f"{name.ljust(width)}  {value}" for name, value in rows), "", self.headline])

    def save(self, folder: str | Path) -> Path:
        """Write dp.html, dp.json, dp.png and dp-scores.npy into a folder, all or none; returns the folder.

        The pictures show the ROC beside what (epsilon, delta)-DP allows at the claim and at the lower bound.

        Raises ModuleNotFoundError without Matplotlib or Jinja2, OSError when the folder cannot be written.
        """
        from markupsafe import Markup

        from miafast.report.picture import draw_roc

        regions = {"allowed by the claim": (self.claim, self.delta)}
        if self.epsilon > 0:
            regions["the lower bound"] = (self.epsilon, self.delta)
        with all_or_nothing(Path(folder)) as temporary:
            facts = self.facts
            plot = Markup(svg.roc_plot([facts["attack"]], regions=regions))
            page = filled("dp.html", {"facts": facts, "plot": plot, "regions": regions})
            temporary("dp.html").write_text(page, encoding="utf-8")
            temporary("dp.json").write_text(as_json(facts), encoding="utf-8")
            temporary("dp.png").write_bytes(draw_roc([facts["attack"]], name=self.records, regions=regions))
            with temporary("dp-scores.npy").open("wb") as file:
                np.save(file, np.stack([self.scores, self.is_member]))
        return Path(folder)
