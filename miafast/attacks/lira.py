"""The likelihood-ratio attack (LiRA): is a signal likelier under models that trained on the record?"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from miafast.attacks.shapes import with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.lira import CENTERS, MODES, TAILS, check_choice, lira
from miafast.ops.lira_leave_one_out import lira_leave_one_out
from miafast.ops.lira_multivariate import lira_multivariate, lira_multivariate_leave_one_out
from miafast.ops.lira_released_code import lira_released_code, lira_released_code_leave_one_out
from miafast.ops.variance_prior import VARIANCES

QUERIES = ("mean", "multivariate")


@dataclass(frozen=True)
class LiRA:
    """Likelihood-ratio attack of Carlini et al. (2022), "Membership inference attacks from first principles".

    * ``mode="online"``: log N(phi; mean_in, var_in) - log N(phi; mean_out, var_out), their equation 4.
      ``"offline"``: log Φ((phi - mean_out) / sd_out), their one-sided test (equation 5), which needs OUT models only
      and is accurate far in the lower tail. ``tail="two-sided"`` (offline) is the released code's: minus the log
      density under OUT, high for every unusual signal, an unusually low one too: it cannot tell the directions apart.
    * ``center``: ``"mean"`` or ``"median"`` of a side's signals. Variances are about the mean either way, unbiased.
    * ``variance``: s̃² = (d0·s0² + d·s²) / (d0 + d), with s² the record's own variance on a side, d = models - 1.
      ``"per-record"``: d0 = 0. ``"pooled"``: s0² alone, residuals around every record's own mean, IN and OUT apart.
      ``"total"``: one variance of all IN signals (offline: OUT) around their grand mean, for both sides, as in the
      released code. ``"shrunken"``: d0 and s0² estimated from all records (empirical Bayes: Smyth 2004), and a
      Student-t prediction with d0 + d degrees of freedom and scale² s̃²(1 + 1/models).
      ``"auto"`` is ``"shrunken"`` at every number of models: online it beat or matched the better of the others on 8
      to 256 models, simulated and real, as it turns into "pooled" where records are alike and into "per-record" where
      models are many. Offline "pooled" can be a little better.
    * ``queries``: ``"mean"`` of the queries' scores, or ``"multivariate"``: one Gaussian (Student t) over the queries
      with covariance D R D, D from the variance rule, R the queries' correlation pooled over records, per side.

    d0·s0² + d·s² (pooled, total: s0²) is never taken below 1e-12. A record whose side has too few models (per-record:
    2; otherwise 1) is NaN, and an `UnscoredRecordsWarning` says how many those are. Signals on a device are scored
    there and not looked at: what would be an error or a warning about values is NaN alone.

    Raises ValueError for an option that is not known or a combination that has no meaning.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> in_mask = rng.random((64, 500)) < 0.5
    >>> phi = rng.normal(size=(64, 500)) + 2 * in_mask
    >>> scores = LiRA().score_all(phi, in_mask)
    >>> bool(scores[in_mask].mean() > scores[~in_mask].mean())
    True
    """

    mode: str = "online"
    center: str = "mean"
    variance: str = "auto"
    tail: str = "one-sided"
    queries: str = "mean"

    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        check_choice("center", self.center, CENTERS)
        check_choice("variance", self.variance, ("auto", *VARIANCES))
        check_choice("tail", self.tail, TAILS)
        check_choice("queries", self.queries, QUERIES)
        if self.mode == "online" and self.tail != "one-sided":
            raise ValueError(f"tail={self.tail!r} is a choice of mode='offline'; leave it out for mode='online'.")

    @property
    def name(self) -> str:
        """What reports call the attack: its mode, and every option that is not the default."""
        chosen = {
            "tail": self.tail,
            "variance": f"{self.variance} variance",
            "center": f"{self.center} centers",
            "queries": f"{self.queries} queries",
        }
        defaults = {each.name: each.default for each in fields(self)}
        told = [words for option, words in chosen.items() if getattr(self, option) != defaults[option]]
        return ", ".join((f"LiRA {self.mode}", *told))

    @staticmethod
    def released_code(variance: str = "per-record", mode: str = "online") -> ReleasedLiRA:
        """The scores of the paper's released code, higher = member, to compare with published results.

        See `ReleasedLiRA`. ``variance``: ``"per-record"``, or ``"total"`` for its fixed variance.
        """
        return ReleasedLiRA(variance=variance, mode=mode)

    def score(self, target: Any, shadow: Any, in_mask: Any) -> Any:
        """Score one target model's records, higher = more likely a member.

        The target's membership must not follow from ``in_mask``: no row of a balanced mask is a target for the others'
        rows, whose counts tell its own (`score_all` sees to that).

        Args:
            target: the target's signals [records] or [records, queries], floating.
            shadow: the shadow models' signals [models, records] or [models, records, queries].
            in_mask: [models, records] bool, whether the model trained on the record.

        Returns:
            scores [records], float64 for float64 signals, else float32; of the caller's kind of array.

        Raises:
            ValueError: shapes or dtypes that do not fit; no IN or no OUT model at all; signals that are not finite;
                no record that can be scored.
        """
        target, shadow = with_queries("target", target, 1), with_queries("shadow", shadow, 2)
        op = lira_multivariate if self.queries == "multivariate" else lira
        scores = op(target, shadow, in_mask, **self._options())
        explain_nan(scores, remedy=self._remedy(), target=target, shadow=shadow)
        return scores

    def score_all(self, shadow: Any, in_mask: Any) -> Any:
        """Score every model in turn as the target, the others being its shadow models: [models, records].

        One pass over the signals (``queries="multivariate"``: one per model), and what `score` gives on the others —
        but where **every record is IN the same number of models** (balanced masks). There the left-out model's side
        has one model fewer, so the counts alone would tell members from non-members even on pure noise. The next model
        of the other side, cyclically after the target, is then left out too: both cases have equal counts.
        Records that are IN no model or all hide such a mask: score the others alone, as `miafast.audit` does. So do
        records of several fixed counts: score those of each count alone.

        Args and errors as for `score`.
        """
        shadow = with_queries("shadow", shadow, 2)
        op = lira_multivariate_leave_one_out if self.queries == "multivariate" else lira_leave_one_out
        scores = op(shadow, in_mask, **self._options())
        explain_nan(scores, remedy=self._remedy(), shadow=shadow)
        return scores

    def _remedy(self) -> str:
        if self.variance == "per-record":
            return "a variance rule that needs fewer (shrunken, pooled)"
        return "mode='offline', which needs OUT models only" if self.mode == "online" else ""

    def _options(self) -> dict[str, str]:
        variance = "shrunken" if self.variance == "auto" else self.variance
        return {"mode": self.mode, "center": self.center, "variance": variance, "tail": self.tail}


@dataclass(frozen=True)
class ReleasedLiRA:
    """LiRA as its authors' released code computes it; made by `LiRA.released_code`.

    Median centres, population standard deviations + 1e-30 (``variance="total"``: one over all IN signals, or all OUT
    signals offline, for every record), every record truncated to the smallest IN and OUT counts in model order, mean
    over queries. Online the sign is turned so that higher = member; offline it is minus the log density under OUT.
    """

    variance: str = "per-record"
    mode: str = "online"

    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def __post_init__(self) -> None:
        check_choice("variance", self.variance, ("per-record", "total"))
        check_choice("mode", self.mode, MODES)

    @property
    def name(self) -> str:
        """What reports call the attack."""
        fixed = ", total variance" if self.variance == "total" else ""
        return f"LiRA {self.mode} (released code{fixed})"

    def score(self, target: Any, shadow: Any, in_mask: Any) -> Any:
        """As `LiRA.score`; raises ValueError where some record has no IN (or no OUT) model, as truncation needs one."""
        target, shadow = with_queries("target", target, 1), with_queries("shadow", shadow, 2)
        scores = lira_released_code(target, shadow, in_mask, mode=self.mode, variance=self.variance)
        explain_nan(scores, remedy="miafast.LiRA()", target=target, shadow=shadow)
        return scores

    def score_all(self, shadow: Any, in_mask: Any) -> Any:
        """As `LiRA.score_all`, one `score` per model; with balanced masks a counterpart is left out in the same way."""
        shadow = with_queries("shadow", shadow, 2)
        scores = lira_released_code_leave_one_out(shadow, in_mask, mode=self.mode, variance=self.variance)
        explain_nan(scores, remedy="miafast.LiRA()", shadow=shadow)
        return scores
