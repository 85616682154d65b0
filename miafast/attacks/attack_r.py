"""Attack-R of Ye et al.: where the target's loss lies among the losses of models that did not train on the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from miafast.attacks.shapes import with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.lira import check_choice
from miafast.ops.out_percentile import SMOOTHS, out_percentile


@dataclass(frozen=True)
class AttackR:
    """Attack-R of Ye et al. (2022), "Enhanced membership inference attacks against machine learning models".

    Member if the loss is below the alpha-quantile of the record's losses under reference (OUT) models. The score is one
    minus the loss's percentile among them: the share of OUT models with a higher loss, ties counting half.

    ``smooth``: n OUT models tell n + 1 scores apart, too few for small false-positive rates. ``"linear"`` is the
    authors' interpolation between the OUT losses, with 0 and 1000 added at the ends. ``"loss"`` fits a Gaussian
    to the OUT losses and ``"logit"`` to their phi (two more that they compare), and the score is
    the fitted percentile's normal quantile: (mean - loss) / sd, (phi - mean) / sd. ``"logit"`` ranks one record as LiRA
    offline with per-record variance does.

    Attack-D is this score with shadows that were distilled from the target: `miafast.attacks.AttackD`.

    >>> import numpy as np
    >>> shadow, in_mask = np.array([[0.0], [1.0], [2.0], [9.0]]), np.array([[False], [False], [False], [True]])
    >>> target = np.array([1.5])
    >>> AttackR().score(target, shadow, in_mask).round(4), AttackR("logit").score(target, shadow, in_mask)
    (array([0.6667]), array([0.5]))
    """

    smooth: str = "none"

    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def __post_init__(self) -> None:
        check_choice("smooth", self.smooth, SMOOTHS)

    @property
    def name(self) -> str:
        """What reports call the attack."""
        how = {"none": "", "linear": ", linear"}.get(self.smooth, f", Gaussian {self.smooth}")
        return f"Attack-R{how}"

    def score(self, target: Any, shadow: Any, in_mask: Any) -> Any:
        """Scores [records] of target phi [records(, queries)] by shadow phi [models, records(, queries)] and in_mask
        [models, records]. NaN with a warning where OUT models are too few; ValueError for what does not fit."""
        target, shadow = with_queries("target", target, 1), with_queries("shadow", shadow, 2)
        scores = out_percentile(target, shadow, in_mask, smooth=self.smooth)
        explain_nan(scores, remedy=self._instead(), target=target, shadow=shadow)
        return scores

    def score_all(self, shadow: Any, in_mask: Any) -> Any:
        """Scores [models, records], every model in turn the target; balanced masks are kept balanced as in LiRA."""
        shadow = with_queries("shadow", shadow, 2)
        scores = out_percentile(None, shadow, in_mask, smooth=self.smooth)
        explain_nan(scores, remedy=self._instead(), shadow=shadow)
        return scores

    def _instead(self) -> str:
        return "" if self.smooth in ("none", "linear") else "smooth='none', which needs one OUT model"
