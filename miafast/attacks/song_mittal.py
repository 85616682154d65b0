"""Song & Mittal's metric attacks: confidence, entropy and modified entropy, raw or against thresholds per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from miafast.attacks.direct import mean_query
from miafast.attacks.shapes import with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.class_threshold import above_class_threshold
from miafast.ops.lira import check_choice

THRESHOLDS = ("none", "class-wise")


@dataclass(frozen=True)
class _Metric:
    """One signal as the score; `Entropy` says what ``thresholds`` do."""

    thresholds: str = "none"

    metric: ClassVar[str] = ""
    signals: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[bool] = True
    sign: ClassVar[int] = 1  # of the signal in the score

    def __post_init__(self) -> None:
        check_choice("thresholds", self.thresholds, THRESHOLDS)

    @property
    def name(self) -> str:
        """What reports call the attack."""
        return self.metric + (", class-wise" if self.thresholds == "class-wise" else "")

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None, *, labels: Any = None) -> Any:
        """Scores [records], the mean over queries.

        Args:
            target: the signal [records(, queries)], floating.
            shadow, in_mask, labels: [models, records(, queries)], [models, records] bool, [records] integers; needed,
                and looked at, for class-wise thresholds alone.

        Raises:
            ValueError: shapes or dtypes that do not fit; signals that are not finite; thresholds without labels.
        """
        if self.thresholds == "none":
            return self.sign * mean_query("target", target, axes=1)
        target, shadow = with_queries("target", target, 1), _given(shadow, in_mask, labels)
        scores = above_class_threshold(self.sign * target, self.sign * shadow, in_mask, labels)
        explain_nan(scores, remedy="thresholds='none'", target=target, shadow=shadow)
        return scores

    def score_all(self, shadow: Any, in_mask: Any = None, *, labels: Any = None) -> Any:
        """Scores [models, records], every model in turn the target; balanced masks are kept balanced as in LiRA."""
        if self.thresholds == "none":
            return self.sign * mean_query("shadow", shadow, axes=2)
        shadow = _given(shadow, in_mask, labels)
        scores = above_class_threshold(None, self.sign * shadow, in_mask, labels)
        explain_nan(scores, remedy="thresholds='none'", shadow=shadow)
        return scores


def _given(shadow: Any, in_mask: Any, labels: Any) -> Any:
    for name, value in (("shadow", shadow), ("in_mask", in_mask), ("labels", labels)):
        if value is None:
            raise ValueError(f"{name} is missing; class-wise thresholds need it, or use thresholds='none'.")
    return with_queries("shadow", shadow, 2)


@dataclass(frozen=True)
class Confidence(_Metric):
    """Confidence attack of Song & Mittal (2021), "Systematic evaluation of privacy risks of machine learning models".

    Member if p_y >= t_y. The score is phi = log p_y - log(1 - p_y), which orders as p_y does and
    never saturates, or phi - logit(t_y). See ``thresholds`` in `Entropy`.

    >>> import numpy as np
    >>> shadow, mask = np.array([[2.0, 8.0], [1.0, 5.0]]), np.array([[True, True], [False, False]])
    >>> Confidence("class-wise").score(np.array([3.0, 6.0]), shadow, mask, labels=np.array([0, 1]))
    array([ 1., -2.])
    """

    metric: ClassVar[str] = "confidence"
    signals: ClassVar[tuple[str, ...]] = ("phi",)


@dataclass(frozen=True)
class Entropy(_Metric):
    """Entropy attack of Song & Mittal (2021): member if -sum p log p <= t_y; no label is needed.

    The score is minus the entropy, in nats, or t_y - entropy: ``thresholds="class-wise"`` takes, per class, the t_y
    that separates the shadows' members best by balanced accuracy (the authors' rule). A score of 0 or more is then
    their verdict "member", and the ROC moves all thresholds alike. ``"none"`` needs no shadows and no labels.

    >>> import numpy as np
    >>> Entropy().score(np.array([0.25, 0.5]))
    array([-0.25, -0.5 ])
    """

    metric: ClassVar[str] = "entropy"
    signals: ClassVar[tuple[str, ...]] = ("entropy",)
    sign: ClassVar[int] = -1


@dataclass(frozen=True)
class ModifiedEntropy(_Metric):
    """Modified-entropy attack of Song & Mittal (2021): member if Mentr(p, y) <= t_y (their equation 8).

    Mentr = -(1 - p_y) log p_y - sum over j != y of p_j log(1 - p_j): an entropy that is small only if the sure answer
    is right. The score is minus that, or t_y - Mentr. See ``thresholds`` in `Entropy`.

    >>> import numpy as np
    >>> ModifiedEntropy().score(np.array([0.25, 0.5]))
    array([-0.25, -0.5 ])
    """

    metric: ClassVar[str] = "modified entropy"
    signals: ClassVar[tuple[str, ...]] = ("modified_entropy",)
    sign: ClassVar[int] = -1
