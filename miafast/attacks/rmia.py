"""RMIA: does a record's likelihood rise more under the target than other records' do?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from miafast.attacks.bayes_score import offline_instead, ratio_words
from miafast.attacks.shapes import population_columns, with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.lira import check_choice
from miafast.ops.log_ratio import check_log_ratio, log_ratio
from miafast.ops.log_ratio_leave_one_out import log_ratio_leave_one_out
from miafast.ops.rmia import check_gamma, rmia
from miafast.ops.roc_counts import roc_counts

QUERIES = ("majority", "mean")
#: What `RMIA.tune_offline_a` tries.
GRID = tuple(each / 10 for each in range(11))


@dataclass(frozen=True)
class RMIA:
    """Robust membership inference of Zarifzadeh et al. (2024), "Low-cost high-power membership inference attacks".

    The score of x is the share of population records z with ratio_x / ratio_z >= gamma, ratio = p_target / p being the
    label's likelihood under the target over its mean under models with and without the record. All on the log scale:
    nothing saturates.

    * ``mode``: ``"online"``: p = (mean_in + mean_out) / 2. ``"offline"``: from OUT models alone,
      p = ((1 + a)·mean_out + 1 - a) / 2 with a = ``offline_a``; `tune_offline_a` finds one, as the best a differs
      between data sets (0.3 is our default, not tuned).
    * ``gamma``: the margin. 1.0 asks for any rise; larger values ask for a clear one, and lower every score. For one
      target and one query every gamma ranks records alike, up to ties: with a large one many records tie at 0.
    * ``temperature``: p = sigmoid(phi / temperature). phi is the logit of the label against all other classes
      together, so this is the softmax with temperature for two classes; with C classes that softmax's own phi lies
      between phi / T - (1 - 1/T) log(C - 1) and phi / T for T >= 1, the latter where one other class has all the rest.
    * ``queries``: ``"majority"``: x dominates z if more than half of x's queries do, against z's first query.
      ``"mean"`` averages the log ratios over queries first, for x and z alike.

    Population: the pool's other records, unless others are given. Members of the target among them lower all its
    scores alike, so scores of several targets compare only where about as many of their pools are members. Records that
    are known non-members can be given as column indices of the pool, or as signals of their own, all taken for OUT. A
    record is never compared with itself.

    Raises ValueError for an option that is not known or out of range.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> in_mask = rng.random((8, 500)) < 0.5
    >>> in_mask[:2], in_mask[2:4] = True, False
    >>> phi = rng.normal(size=(8, 500)) + 2 * in_mask
    >>> scores = RMIA().score_all(phi, in_mask)
    >>> bool(scores[in_mask].mean() > scores[~in_mask].mean())
    True
    """

    mode: str = "online"
    gamma: float = 1.0
    offline_a: float = 0.3
    temperature: float = 1.0
    queries: str = "majority"

    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def __post_init__(self) -> None:
        check_log_ratio(self.mode, self.offline_a, self.temperature)
        check_gamma(self.gamma)
        check_choice("queries", self.queries, QUERIES)

    @property
    def name(self) -> str:
        """What reports call the attack: its mode, and every option that is not the default."""
        margin = f", gamma {self.gamma:g}" if self.gamma != 1 else ""
        queries = f", {self.queries} of queries" if self.queries != "majority" else ""
        words = ratio_words(self.mode, self.offline_a, self.temperature, usual_a=RMIA.offline_a)
        return f"RMIA {self.mode}{margin}{words}{queries}"

    def score(self, target: Any, shadow: Any, in_mask: Any, population: Any = None) -> Any:
        """Score one target model's records.

        Args:
            target: phi [records] or [records, queries], floating.
            shadow: phi [models, records] or [models, records, queries].
            in_mask: [models, records] bool.
            population: None, the pool's other records; or integers [population], columns of the pool; or a pair
                (target, shadow) of phi of other records, [population(, queries)] and [models, population(, queries)].

        Returns:
            scores [records] in [0, 1], float64 for float64 signals, else float32. NaN, with an
            `UnscoredRecordsWarning`, where a side that the mode needs has no model.

        Raises:
            ValueError: shapes, dtypes or a population that do not fit; signals that are not finite.
        """
        target, shadow = with_queries("target", target, 1), with_queries("shadow", shadow, 2)
        ratio = log_ratio(target, shadow, in_mask, **self._options(self.mode))
        signals = {"target": target, "shadow": shadow}
        others = None
        if isinstance(population, tuple):
            of_target, of_shadow = _pair(population)
            signals |= {"population's target": of_target, "population's shadow": of_shadow}
            others = log_ratio(of_target, of_shadow, _nowhere_in(of_shadow), **self._options("population"))
        return self._shares(ratio, others, population, signals)

    def score_all(self, shadow: Any, in_mask: Any, population: Any = None) -> Any:
        """Score every model in turn, the others being its shadows: [models, records].

        As `score` on the others, but where every record is IN the same number of models: there, as in
        `LiRA.score_all`, the target's counterpart is left out too. ``population``: as in `score`, other records' phi
        being one array [models, population(, queries)].
        """
        shadow = with_queries("shadow", shadow, 2)
        ratio = log_ratio_leave_one_out(shadow, in_mask, **self._options(self.mode))
        signals = {"shadow": shadow}
        others = None
        if getattr(population, "ndim", 1) > 1:
            of_shadow = with_queries("population", population, 2)
            signals |= {"population": of_shadow}
            others = log_ratio_leave_one_out(of_shadow, _nowhere_in(of_shadow), **self._options("population"))
        return self._shares(ratio, others, population, signals)

    def tune_offline_a(self, shadow: Any, in_mask: Any, *, target: int = 0) -> RMIA:
        """This attack with the ``offline_a`` of 0, 0.1, …, 1 that finds the members of one shadow model best, by AUC.

        The shadow ``target`` is attacked with the others by `score`: nothing about the real target's members is used.
        Ties go to the largest a.

        Raises ValueError for a mode that is not offline, a ``target`` that is no model, and what `score` refuses.
        """
        if self.mode != "offline":
            raise ValueError(f"mode={self.mode!r} has no offline_a to tune; make it RMIA(mode='offline').")
        if not 0 <= target < len(shadow):
            raise ValueError(f"target={target} is no model of shadow; give an index from 0 to {len(shadow) - 1}.")
        members = int(in_mask[target].sum())
        if members in (0, len(in_mask[target])):
            raise ValueError(f"target={target} is a shadow without {'OUT' if members else 'IN'} records; take another.")
        rest = [model for model in range(len(shadow)) if model != target]

        def found(attack: RMIA) -> float:
            scores = attack.score(shadow[target], shadow[rest], in_mask[rest])
            known = scores == scores
            return roc_counts(scores[known], in_mask[target][known]).auc

        return max((replace(self, offline_a=a) for a in reversed(GRID)), key=found)

    def _shares(self, ratio: Any, others: Any, population: Any, signals: dict[str, Any]) -> Any:
        """From log ratios [..., records, queries]; ``others`` are those of a population outside the pool."""
        records = ratio.shape[-2]
        if self.queries == "mean":
            ratio = ratio.mean(-1)[..., None]
            others = None if others is None else others.mean(-1)[..., None]
        if others is not None:
            against, columns = others[..., 0], None
        elif population is None:
            against, columns = ratio[..., 0], np.arange(records)
        else:
            columns = population_columns(population, records)
            against = ratio[..., columns, 0]
        scores = rmia(ratio, against, gamma=self.gamma, columns=columns)
        explain_nan(scores, remedy=offline_instead(self.mode), **signals)
        return scores

    def _options(self, mode: str) -> dict[str, Any]:
        """Of `log_ratio`. Population records outside the pool have OUT models only: p is their mean online."""
        if mode == "population":
            a = 1.0 if self.mode == "online" else self.offline_a
            return {"mode": "offline", "offline_a": a, "temperature": self.temperature}
        return {"mode": mode, "offline_a": self.offline_a, "temperature": self.temperature}


def _pair(population: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(population) != 2:
        raise ValueError(f"population is a tuple of {len(population)}; give a pair (target, shadow) of phi.")
    return with_queries("population's target", population[0], 1), with_queries("population's shadow", population[1], 2)


def _nowhere_in(shadow: Any) -> Any:
    """[models, records] False, of the caller's kind of array."""
    first = shadow[..., 0]
    return (first == first) & (first != first)
