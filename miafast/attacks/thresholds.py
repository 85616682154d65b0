"""Where to cut scores into members and non-members, and where that number comes from: never from the target's truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from miafast.tables import Array


@dataclass(frozen=True)
class Cutoff:
    """A score threshold with its provenance. For Yeom's attack scores are minus the loss (`Threshold`).

    >>> Cutoff(-0.5, source="training loss", rule="its mean", records=100).decide(np.array([-0.1, -0.9]))
    array([ True, False])
    """

    value: float
    source: str  # "training loss", "shadows" or "population"
    rule: str
    records: int  # scores that it rests on

    def decide(self, scores: Any) -> Any:
        """bool, of the scores' shape: member where the score is at or above the threshold."""
        return scores >= self.value


def from_training_loss(scores: Array, is_member: Array) -> Cutoff:
    """The mean score of the target's own members: Yeom's adversary, who was told the mean training loss.

    scores, is_member: [records], bool. Source: Yeom et al. 2018, "Privacy risk in machine learning", adversary 2.

    >>> from_training_loss(np.array([-1.0, -3.0, -9.0]), np.array([True, True, False])).value
    -2.0
    """
    _, members, _ = _sides(scores, is_member)
    return Cutoff(float(members.mean()), "training loss", "mean over the target's members", len(members))


def from_shadow_losses(scores: Array, in_mask: Array) -> Cutoff:
    """The mean score of the shadows' IN records [models, records]: Yeom's threshold without the target's help.

    >>> from_shadow_losses(np.array([[-1.0, -5.0], [-7.0, -3.0]]), np.eye(2, dtype=bool)).value
    -2.0
    """
    _, members, _ = _sides(scores, in_mask)
    return Cutoff(float(members.mean()), "shadows", "mean over the shadows' IN records", len(members))


def from_shadows(scores: Array, in_mask: Array, *, fpr: float | None = None) -> Cutoff:
    """The threshold that does best on shadows attacked like the target: scores and in_mask [models, records].

    ``fpr=None``: best balanced accuracy (the highest, of equals). Else the lowest score at or above which at most a
    share ``fpr`` of the shadows' OUT records lie. Scores that are NaN are left out.

    Raises ValueError for shapes that do not fit, no IN or OUT score, or an fpr that so few OUT records cannot show.

    >>> scores, in_mask = np.array([[4.0, 3.0], [2.0, 1.0]]), np.array([[True, False], [True, False]])
    >>> from_shadows(scores, in_mask).value, from_shadows(scores, in_mask, fpr=0.5).value
    (4.0, 2.0)
    """
    values, members, others = _sides(scores, in_mask)
    candidates = np.unique(values)[::-1]
    tpr, out = (1 - np.searchsorted(np.sort(side), candidates) / len(side) for side in (members, others))
    if fpr is None:
        best, rule = int(np.argmax(tpr - out)), "best balanced accuracy on the shadows"
    else:
        _check_fpr(fpr, len(others) * fpr, f"{len(others):,} OUT scores")
        best, rule = int((out <= fpr).sum()) - 1, f"false-positive rate of at most {fpr:g} on the shadows"
        if best < 0:
            raise ValueError(f"fpr={fpr} is not reached: too many OUT records share the highest score; raise it.")
    return Cutoff(float(candidates[best]), "shadows", rule, len(values))


def from_population(scores: Array, *, fpr: float) -> Cutoff:
    """The threshold that a new non-member reaches with probability at most ``fpr``: scores [population] of the target.

    It is the k-th highest score, k = floor(fpr · (population + 1)): k / (population + 1) <= fpr is exact for
    exchangeable scores, where the plain quantile is not.

    Raises ValueError for NaN and where the population is too small for the rate (k = 0).

    Source: Yeom et al. 2018 (population threshold); Vovk et al. 2005, "Algorithmic learning in a random world", ch. 2.

    >>> from_population(np.arange(1.0, 20.0), fpr=0.1).value
    18.0
    """
    values = np.sort(np.asarray(scores, np.float64).ravel())[::-1]
    if np.isnan(values).any():
        raise ValueError(f"scores holds {int(np.isnan(values).sum())} NaN; drop these records.")
    rank = int(np.floor(fpr * (len(values) + 1) + 1e-9))
    _check_fpr(fpr, rank, f"{len(values):,} population scores")
    value = values[rank - 1]
    if rank < len(values) and values[rank] == value:  # ties would let more than k through
        value = np.nextafter(value, np.inf)
    return Cutoff(float(value), "population", f"false-positive rate of at most {fpr:g}", len(values))


def _check_fpr(fpr: float, expected: float, of_what: str) -> None:
    if not 0 < fpr < 1:
        raise ValueError(f"fpr={fpr}; give a rate between 0 and 1, both excluded.")
    if expected < 1:
        raise ValueError(f"fpr={fpr} cannot be set with {of_what}; give at least {int(np.ceil(1 / fpr)):,}.")


def _sides(scores: Array, is_member: Array) -> tuple[Array, Array, Array]:
    """All scores that are numbers, those of members, those of non-members."""
    values, members = np.asarray(scores, np.float64), np.asarray(is_member)
    if values.shape != members.shape or members.dtype != np.bool_:
        raise ValueError(f"scores has shape {values.shape}, membership {members.shape} of {members.dtype}; give bool.")
    known = ~np.isnan(values)
    found, rest = values[members & known], values[~members & known]
    if not len(found) or not len(rest):
        raise ValueError("scores holds no member or no non-member; a threshold needs both.")
    return values[known], found, rest
