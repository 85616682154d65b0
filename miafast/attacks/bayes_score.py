"""BASE: the log of how much likelier the target makes the label than models do on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from miafast.attacks.shapes import with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.log_ratio import check_log_ratio, log_ratio
from miafast.ops.log_ratio_leave_one_out import log_ratio_leave_one_out


@dataclass(frozen=True)
class BASE:
    """BASE of Lassila et al. (2025), "Practical Bayes-optimal membership inference attacks" (arXiv:2505.24089).

    The score is log p_target(x) - log p(x), p being the models' mean likelihood of the label: minus the target's loss,
    less the log mean exp of minus the shadows' losses. It approximates the log posterior odds of membership under
    Sablayrolles' posterior over models. `log_ratio` says what ``mode``, ``offline_a`` and ``temperature`` do; several
    queries are averaged.

    It is RMIA without a population: for one target and one query RMIA's score is the empirical distribution function of
    the population's log ratios at this score less log gamma, so it never ranks two records the other way round. Where
    RMIA's population is finite it ties records that BASE tells apart; across targets the two differ, as every target
    has a population of its own. `LiRA` relates to both as the other end of one family (Brännvall 2026,
    arXiv:2603.11799): there both sides' likelihoods are normal densities of phi; that paper's BaVarIA-t is LiRA with a
    normal-inverse-gamma prior and Student-t prediction, which ``LiRA(variance="shrunken")`` is with a prior on the
    variance fitted to all records (empirical Bayes) and a flat one on the mean.

    >>> import numpy as np
    >>> phi = np.log([[[3.0]], [[1.0]]])  # p = .75 under the IN model, .5 under the OUT model
    >>> BASE().score(np.log([4.0]), phi[..., 0], np.array([[True], [False]])).round(4)  # log(.8 / .625)
    array([0.2469])
    """

    mode: str = "online"
    offline_a: float = 1.0
    temperature: float = 1.0

    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def __post_init__(self) -> None:
        check_log_ratio(self.mode, self.offline_a, self.temperature)

    @property
    def name(self) -> str:
        """What reports call the attack: its mode, and every option that is not the default."""
        return f"BASE {self.mode}" + ratio_words(self.mode, self.offline_a, self.temperature, usual_a=1.0)

    def score(self, target: Any, shadow: Any, in_mask: Any) -> Any:
        """Scores [records] of target [records(, queries)] by shadow [models, records(, queries)]; errors as LiRA's."""
        target, shadow = with_queries("target", target, 1), with_queries("shadow", shadow, 2)
        scores = log_ratio(target, shadow, in_mask, **self._options()).mean(-1)
        explain_nan(scores, remedy=offline_instead(self.mode), target=target, shadow=shadow)
        return scores

    def score_all(self, shadow: Any, in_mask: Any) -> Any:
        """Scores [models, records], every model in turn the target; balanced masks are kept balanced as in LiRA."""
        shadow = with_queries("shadow", shadow, 2)
        scores = log_ratio_leave_one_out(shadow, in_mask, **self._options()).mean(-1)
        explain_nan(scores, remedy=offline_instead(self.mode), shadow=shadow)
        return scores

    def _options(self) -> dict[str, Any]:
        return {"mode": self.mode, "offline_a": self.offline_a, "temperature": self.temperature}


def ratio_words(mode: str, offline_a: float, temperature: float, *, usual_a: float) -> str:
    """What of a likelihood ratio's options is not the default, in words for a name."""
    words = f", a={offline_a:g}" if mode == "offline" and offline_a != usual_a else ""
    return words + (f", temperature {temperature:g}" if temperature != 1 else "")


def offline_instead(mode: str) -> str:
    """What needs fewer models than this mode."""
    return "mode='offline', which needs OUT models only" if mode == "online" else ""
