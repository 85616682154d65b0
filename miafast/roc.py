"""Scores and the truth about membership in, the whole trade-off of an attack out: `roc` and the table `Roc`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, floor, log10
from typing import Any, cast

import numpy as np

from miafast.intervals import Design, auc_interval, design_effect, tpr_interval
from miafast.ops.auc_components import auc_components
from miafast.ops.roc_counts import RocCounts, roc_counts
from miafast.ops.tpr_at import allowed_false_positives, tpr_at
from miafast.tables import Array


@dataclass(frozen=True, eq=False)
class Roc:
    """True- and false-positive counts at every distinct score, best score first, from (0, 0) with threshold +inf.

    A record is called a member when its score is at or above the threshold; equal scores stand or fall together.
    Everything pools all targets, except what is named per_target. Made by `roc`.

    >>> found = roc(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))
    >>> found.thresholds, found.tpr, found.auc
    (array([inf,  3.,  2.,  1.]), array([0. , 0.5, 1. , 1. ]), 0.875)
    """

    thresholds: Array = field(repr=False)  # [points] strictly descending after the leading +inf
    false_positives: Array = field(repr=False)  # [points] int64
    true_positives: Array = field(repr=False)  # [points] int64
    members: int  # scores of members, over all targets
    non_members: int
    targets: int  # 1 for scores [records]
    scores: Array = field(repr=False)  # [targets, records]
    is_member: Array = field(repr=False)  # [targets, records] bool

    @cached_property
    def fpr(self) -> Array:
        """[points] share of non-members called members, 0 … 1, ascending."""
        return self.false_positives / self.non_members

    @cached_property
    def tpr(self) -> Array:
        """[points] share of members found, 0 … 1, ascending."""
        return self.true_positives / self.members

    @cached_property
    def auc(self) -> float:
        """The chance that a member outscores a non-member, ties counting half. ½ is guessing."""
        return RocCounts(self.thresholds, self.false_positives, self.true_positives).auc

    @cached_property
    def balanced_accuracy(self) -> float:
        """(TPR + 1 − FPR) / 2 at the best threshold, chosen in hindsight."""
        return float(np.max(self.tpr - self.fpr) + 1) / 2

    @cached_property
    def true_positives_before_first_false_positive(self) -> int:
        """How many members score above every non-member."""
        return int(self._found(np.array(0)))

    def measurable(self, fpr: float) -> bool:
        """Whether there are enough non-members for at least one false positive at this rate."""
        return bool(allowed_false_positives(_rates(fpr), self.non_members) >= 1)

    def tpr_at(self, fpr: float) -> float:
        """The largest TPR whose FPR is at most ``fpr``.

        Raises ValueError for fpr outside (0, 1) and for one too small for the number of non-members.

        Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles", section III.

        >>> roc(np.arange(6.0), np.array([0, 0, 1, 0, 1, 1]) == 1).tpr_at(0.4)
        1.0
        """
        return float(self._found(self._allowed(fpr)) / self.members)

    def threshold_at(self, fpr: float) -> float:
        """The lowest threshold whose FPR is at most ``fpr``, where `tpr_at` is read off. Raises ValueError as there."""
        return float(self.thresholds[self._point(self._allowed(fpr))])

    def interval(self, fpr: float, confidence: float = 0.95) -> tuple[float, float]:
        """(low, high) for the true TPR at the true FPR ``fpr``; see `intervals`."""
        low, high = self.intervals(fpr, confidence)
        return float(low), float(high)

    def intervals(self, fprs: Any, confidence: float = 0.95) -> tuple[Array, Array]:
        """Confidence intervals of TPR at many FPRs at once: (low, high), each of the shape of ``fprs``.

        They count the noise of the threshold as well as that of the members, and, with several targets, that all
        scores of one record hang together: what varies is which records were drawn. With fewer than about four
        false positives to expect nothing bounds the threshold from above and ``low`` is 0.

        Raises ValueError for FPRs as in `tpr_at` and for a confidence outside (0, 1).

        >>> roc(np.arange(6.0), np.array([0, 0, 1, 0, 1, 1]) == 1).interval(0.4)
        (0.0, 1.0)
        """
        _check_confidence(confidence)
        allowed = self._allowed(fprs)
        return tpr_interval(
            self._found,
            self._largest_step,
            self.members,
            self.non_members,
            fprs=_rates(fprs),
            allowed=allowed,
            confidence=confidence,
            design=self._design(allowed),
        )

    def auc_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """(low, high) for the AUC; with several targets, records are what varies, as in `intervals`.

        Raises ValueError for a confidence outside (0, 1).

        >>> roc(np.arange(6.0), np.array([0, 0, 1, 0, 1, 1]) == 1).auc_interval()
        (0.46..., 0.98...)
        """
        _check_confidence(confidence)
        records = [int(side.any(axis=0).sum()) for side in (self.is_member, ~self.is_member)]
        return auc_interval(
            self.auc,
            self._auc_variance,
            scores=min(self.members, self.non_members),
            records=min(records),
            confidence=confidence,
        )

    def precision_at(self, fpr: float, prior: float) -> float:
        """Share of those called members that are, if a share ``prior`` of all records were: 0 … 1.

        At the FPR reached, which ties can keep below ``fpr``; 0 where nobody is called a member.

        Raises ValueError for fpr as in `tpr_at` and for a prior outside (0, 1).

        Source: Jayaraman et al. 2021, "Revisiting Membership Inference Under Realistic Assumptions", definition 4.1.

        >>> roc(np.arange(6.0), np.array([0, 0, 1, 0, 1, 1]) == 1).precision_at(0.4, prior=0.25)
        0.5
        """
        if not 0 < prior < 1:
            raise ValueError(f"prior={prior}; give the share of members to expect, between 0 and 1, both excluded.")
        point = self._point(self._allowed(fpr))
        found, wrong = prior * float(self.tpr[point]), (1 - prior) * float(self.fpr[point])
        return found / (found + wrong) if found > 0 else 0.0

    @cached_property
    def per_target_auc(self) -> Array:
        """[targets] float64. Raises ValueError if a target has no members or no non-members."""
        self._check_targets(1, "an AUC")
        return np.array([_roc(*each).auc for each in self._rows()])

    def per_target_tpr_at(self, fpr: float) -> Array:
        """[targets] float64: `tpr_at` of each target with a threshold of its own.

        Raises ValueError for fpr outside (0, 1), or if some target has too few non-members or no members.
        """
        _rates(fpr)
        self._check_targets(ceil(round(1 / fpr, 9)), f"fpr={fpr:g}")
        return np.array([tpr_at(scores, is_member, [fpr])[0] for scores, is_member in self._rows()])

    def _rows(self) -> list[tuple[Array, Array]]:
        return [(self.scores[target], self.is_member[target]) for target in range(self.targets)]

    def _check_targets(self, least: int, what: str) -> None:
        members = self.is_member.sum(axis=1)
        non_members = self.is_member.shape[1] - members
        if (bad := np.flatnonzero((members == 0) | (non_members < least))).size:
            first = bad[0]
            raise ValueError(
                f"{what} cannot be measured for {bad.size} of {self.targets} targets; target {first} has "
                f"{members[first]:,} members and {non_members[first]:,} non-members: give each 1 and {least:,} or more."
            )

    def _allowed(self, fprs: Any) -> Array:
        """False positives allowed at each rate, at least 1."""
        rates = _rates(fprs)
        allowed = allowed_false_positives(rates, self.non_members)
        if (allowed < 1).any():
            smallest = float(rates.min())
            raise ValueError(
                f"fpr={smallest:g} cannot be measured with {self.non_members:,} non-members; audit at least "
                f"{ceil(round(1 / smallest, 9)):,} or ask for fpr >= {_round_up(1 / self.non_members):g}."
            )
        return allowed

    def _point(self, allowed: Array) -> Array:
        """Index of the last point with at most so many false positives."""
        return np.searchsorted(self.false_positives, allowed, side="right") - 1

    def _found(self, allowed: Array) -> Array:
        """Members found with at most so many false positives; 0 where even none are too many."""
        return cast(Array, np.where(allowed < 0, 0, self.true_positives[self._point(np.maximum(allowed, 0))]))

    def _largest_step(self, low: Array, high: Array) -> Array:
        """The most members that one threshold adds from at most ``low`` to at most ``high`` false positives."""
        steps = np.append(np.diff(self.true_positives), 0)
        begin, end = (self._point(np.maximum(each, 0)) * (each >= 0) for each in (low, high))
        largest = np.maximum.reduceat(steps, np.stack([begin, end], axis=-1).ravel())[::2].reshape(begin.shape)
        return cast(Array, np.where(begin < end, largest, 0))

    def _design(self, allowed: Array) -> Design:
        """What the dependence within records costs at each FPR's threshold."""
        if self.targets == 1:
            return Design()
        effects = []
        rows = self.is_member.sum(axis=0), (~self.is_member).sum(axis=0)
        for point in self._point(allowed).ravel():
            called = self.scores >= self.thresholds[point] if point > 0 else np.zeros_like(self.is_member)
            hits = (called & self.is_member).sum(axis=0), (called & ~self.is_member).sum(axis=0)
            (members, one), (non_members, other) = map(design_effect, hits, rows)
            effects.append((members, non_members, float(one @ other)))
        columns = np.array(effects).T.reshape(3, *np.shape(allowed))
        return Design(columns[0], columns[1], columns[2])

    @cached_property
    def _auc_variance(self) -> float:
        """Each record's components of the AUC, squared and added up."""
        if self.targets == 1:
            mid_fpr, mid_tpr = (self.fpr[1:] + self.fpr[:-1]) / 2, (self.tpr[1:] + self.tpr[:-1]) / 2
            members, non_members = np.diff(self.true_positives), np.diff(self.false_positives)
            spread = np.sum(members * (1 - mid_fpr - self.auc) ** 2) / self.members**2
            return float(spread + np.sum(non_members * (mid_tpr - self.auc) ** 2) / self.non_members**2)
        curve = self.thresholds[1:], self.false_positives[1:], self.true_positives[1:]
        components = auc_components(self.scores, self.is_member, *curve)
        return float(components @ components * len(components) / max(1, len(components) - 1))


def roc(scores: Any, is_member: Any) -> Roc:
    """The exact, tie-aware ROC of an attack's scores.

    scores: [records], or [models, records] where every model was the target in turn (leave-one-out); higher = more
        likely a member; floating or integer, infinities allowed.
    is_member: bool, the shape of scores.

    Raises ValueError for NaN scores, a mask that is not bool, differing or other shapes, no members, no non-members.

    Source: Fawcett 2006, "An introduction to ROC analysis", Algorithm 1.

    >>> import miafast as mf, numpy as np
    >>> curve = mf.roc(np.array([2.0, 1.0, 1.0, 0.0]), np.array([True, True, False, False]))
    >>> curve.fpr, curve.tpr, curve.auc
    (array([0. , 0. , 0.5, 1. ]), array([0. , 0.5, 1. , 1. ]), 0.875)
    """
    scores, is_member = _numpy(scores), _numpy(is_member)
    if is_member.dtype != np.bool_:
        raise ValueError(f"is_member has dtype {is_member.dtype}; give bool (a 0/1 mask as is_member == 1).")
    if scores.ndim not in (1, 2) or scores.size == 0:
        raise ValueError(f"scores has shape {scores.shape}; give [records] or [models, records], not empty.")
    if scores.shape != is_member.shape:
        raise ValueError(f"scores has shape {scores.shape} and is_member {is_member.shape}; give one bool per score.")
    if scores.dtype.kind not in "biuf":
        raise ValueError(f"scores has dtype {scores.dtype}; give real numbers, higher = more likely a member.")
    if is_member.all() or not is_member.any():
        which = "non-members" if is_member.all() else "members"
        raise ValueError(f"is_member holds no {which} among {is_member.size:,} scores; a ROC needs both.")
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float32 if scores.dtype == np.float16 else np.float64)
    return _roc(scores, is_member)


def _roc(scores: Array, is_member: Array) -> Roc:
    counts = roc_counts(scores, is_member)
    return Roc(
        thresholds=np.concatenate((np.array([np.inf], counts.thresholds.dtype), counts.thresholds)),
        false_positives=np.concatenate(([0], counts.false_positives)),
        true_positives=np.concatenate(([0], counts.true_positives)),
        members=int(counts.true_positives[-1]),
        non_members=int(counts.false_positives[-1]),
        targets=len(scores) if scores.ndim == 2 else 1,
        scores=np.atleast_2d(scores),
        is_member=np.atleast_2d(is_member),
    )


def _numpy(values: Any) -> Array:
    """A NumPy array of the values; a tensor that carries gradients is taken without them."""
    values = values.detach() if hasattr(values, "detach") else values
    return np.asarray(values.float() if str(getattr(values, "dtype", "")) == "torch.bfloat16" else values)


def _rates(fprs: Any) -> Array:
    rates = np.asarray(fprs, dtype=np.float64)
    if not np.all((rates > 0) & (rates < 1)):
        raise ValueError(f"fpr={fprs}; give a false-positive rate between 0 and 1, both excluded.")
    return rates


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}; give a probability between 0 and 1, both excluded (usually 0.95).")


def _round_up(rate: float) -> float:
    """The rate with two significant digits, not below it."""
    scale = 10.0 ** (1 - floor(log10(rate)))
    return ceil(round(rate * scale, 9)) / scale
