"""`epsilon_lower_bound`: from scores and membership to the largest epsilon that they refute."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from miafast.epsilon.one_run import f_dp_one_run, one_run
from miafast.epsilon.rates import Counts, bayesian, clopper_pearson, gaussian
from miafast.epsilon.threshold import best_threshold, counts_at, halves, hull
from miafast.tables import Array

_RATES: dict[str, Callable[..., Array]] = {
    "clopper-pearson": clopper_pearson, "gdp": gaussian, "bayesian": bayesian,
}  # fmt: skip
_ONE_RUN: dict[str, Callable[..., Array]] = {"one-run": one_run, "f-dp one-run": f_dp_one_run}

#: How every method's name is written.
METHODS = (*_RATES, *_ONE_RUN)

_COIN_LIMIT = 6.0  # standard deviations from one half that fair coins are believed to be


def epsilon_lower_bound(
    scores: Any,
    is_member: Any,
    *,
    method: str = "clopper-pearson",
    delta: float = 0.0,
    confidence: float = 0.95,
    threshold: float | str = "hull",
    guesses: int | tuple[int, int] | None = None,
    family: str = "gaussian",
    copies: int = 1,
    seed: int = 0,
) -> float:
    """The largest epsilon such that (epsilon, delta)-DP is rejected with this confidence; 0 where nothing is.

    Two kinds of audit. In **many runs**, entries are independent trainings, and ``is_member`` says which were done with
    the canary: methods "clopper-pearson", "gdp" (for mechanisms that add Gaussian noise; needs delta > 0) and
    "bayesian" (credible, not frequentist). In **one run**, entries are the canaries of a single training, each in by
    an independent fair coin: methods "one-run" and "f-dp one-run".

    Parameters
    ----------
    scores: [runs] or [canaries] real numbers, higher = more likely in; a [canaries] score may be anything fixed before
        the coins are looked at.
    is_member: bool, the shape of scores.
    confidence: that epsilon is not overstated, in (0, 1).
    threshold: of many runs. A number fixed beforehand (called a member at or above it); "split" chooses it on one half
        of the runs and judges on the other; "hull" judges every vertex of the ROC's upper hull, each with its share of
        the error (Bonferroni over as many as these runs have: borne out by simulation, where the other two are proven).
        The best threshold of the same runs, uncorrected, is not valid and not offered.
    guesses: of one run. (in, out): the so many highest scores are guessed in, the so many lowest out, the rest left
        out of the count; a number is divided evenly; by default all canaries are guessed. Fix it before looking.
    family: of "f-dp one-run": "gaussian" (as "gdp") or "approximate", which assumes nothing.
    copies: how many copies of the canary were added or left out together: privacy of groups.
    seed: of "split", and of the lots that decide between equal scores of one run.

    Raises
    ------
    ValueError: for anything out of range, naming it; for one run whose coins cannot have been fair.

    Source: see `miafast.epsilon`'s methods; the choice of thresholds follows Carlini et al. 2022, section III, and
    Zanella-Béguelin et al. 2023, section 2.

    >>> import numpy as np
    >>> is_member = np.arange(1000) < 500
    >>> epsilon_lower_bound(is_member * 1.0, is_member, threshold=0.5, confidence=0.99)
    4.5419158...
    >>> epsilon_lower_bound(is_member * 1.0, is_member, method="one-run")
    5.8090...
    """
    scores, is_member = _runs(scores, is_member)
    _check(method, delta=delta, confidence=confidence, family=family, copies=copies)
    alpha = 1 - confidence
    if method in _ONE_RUN:
        called_in, called_out = _guesses(guesses, len(scores))
        _check_coins(is_member)
        more = {"family": family} if method == "f-dp one-run" else {}
        right = right_guesses(scores, is_member, called_in=called_in, called_out=called_out, seed=seed)
        found = _ONE_RUN[method](
            right, guesses=called_in + called_out, canaries=len(scores), delta=delta, alpha=alpha, copies=copies, **more
        )
        return float(found[0])
    counts, alpha = _counts(scores, is_member, threshold, delta=delta, alpha=alpha, seed=seed)
    return float(np.max(_RATES[method](counts, delta=delta, alpha=alpha, copies=copies)))


def right_guesses(scores: Array, is_member: Array, *, called_in: int, called_out: int, seed: int) -> int:
    """How many of the highest scores are members, and how many of the lowest are not.

    Lots decide between equal scores: their places may tell who was in, as where members are listed first.
    """
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(scores))
    order = order[np.argsort(-scores[order], kind="stable")]
    last = len(scores) - called_out
    return int(is_member[order[:called_in]].sum() + (~is_member[order[last:]]).sum())


def _counts(
    scores: Array, is_member: Array, threshold: float | str, *, delta: float, alpha: float, seed: int
) -> tuple[Counts, float]:
    """The tests to judge, and the error that each may have."""
    if threshold == "hull":
        counts = hull(scores, is_member)
        return counts, alpha / len(counts.false_positives)
    if threshold == "split":
        chosen, judged = halves(len(scores), is_member, seed)
        if min(is_member[chosen].sum(), (~is_member[chosen]).sum()) == 0:
            raise ValueError("threshold='split' needs 2 or more runs with and without the canary; do more runs.")
        threshold = best_threshold(scores[chosen], is_member[chosen], delta=delta, alpha=alpha)
        return counts_at(scores[judged], is_member[judged], threshold), alpha
    if isinstance(threshold, str) or not np.isreal(threshold) or np.isnan(threshold):
        raise ValueError(f"threshold={threshold!r}; give a number fixed beforehand, 'split' or 'hull'.")
    return counts_at(scores, is_member, threshold), alpha


def _runs(scores: Any, is_member: Any) -> tuple[Array, Array]:
    scores, is_member = np.asarray(scores), np.asarray(is_member)
    if is_member.dtype != np.bool_ or is_member.ndim != 1:
        raise ValueError(f"is_member is {is_member.dtype} {is_member.shape}; give bool [runs] or [canaries].")
    if scores.shape != is_member.shape or scores.dtype.kind not in "biuf":
        raise ValueError(f"scores is {scores.dtype} {scores.shape}; give real numbers of shape {is_member.shape}.")
    scores = scores.astype(np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"scores holds {int(np.isnan(scores).sum())} NaN; leave those runs out or fix the score.")
    if is_member.all() or not is_member.any():
        raise ValueError(f"is_member is the same for all {len(is_member)}; an audit needs both, with and without.")
    return scores, is_member


def _check(method: str, *, delta: float, confidence: float, family: str, copies: int) -> None:
    if method not in METHODS:
        raise ValueError(f"method={method!r} is not known; choose one of {', '.join(METHODS)}.")
    if not 0 <= delta < 1:
        raise ValueError(f"delta={delta}; give a number in [0, 1).")
    if family not in ("gaussian", "approximate"):
        raise ValueError(f"family={family!r} is not known; choose gaussian or approximate.")
    if delta == 0 and (method == "gdp" or (method == "f-dp one-run" and family == "gaussian")):
        raise ValueError(f"delta=0 with method={method!r}: Gaussian DP has no finite epsilon there; give delta > 0.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}; give a probability between 0 and 1, both excluded (usually 0.95).")
    if isinstance(copies, bool) or not isinstance(copies, int) or copies < 1:
        raise ValueError(f"copies={copies!r}; give how many copies of the canary were added, at least 1.")


def _guesses(guesses: int | tuple[int, int] | None, canaries: int) -> tuple[int, int]:
    guesses = canaries if guesses is None else guesses
    called_in, called_out = ((guesses + 1) // 2, guesses // 2) if isinstance(guesses, int | np.integer) else guesses
    if min(called_in, called_out) < 0 or not 1 <= called_in + called_out <= canaries:
        raise ValueError(f"guesses={guesses} of {canaries} canaries; guess at least one and at most all.")
    return called_in, called_out


def _check_coins(is_member: Array) -> None:
    """Refuse what independent fair coins give less than once in hundreds of millions."""
    canaries = len(is_member)
    away = abs(int(is_member.sum()) - canaries / 2) / (sqrt(canaries) / 2)
    if away > _COIN_LIMIT:
        raise ValueError(
            f"is_member has {int(is_member.sum())} of {canaries} canaries in, which fair coins would not; a one-run "
            "audit needs every canary in with probability one half, independently."
        )
