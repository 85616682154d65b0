"""What models remember of single records, and what those do to others: memorisation, influence, hardness.

All of it comes from who is right under which model: the signal ``correct`` [models, records(, queries)] of a run and
its mask of IN and OUT models. No model is trained or asked again.

Source: Feldman and Zhang 2020, "What neural networks memorize and why: discovering the long tail via influence
estimation", equations 1 and 2 and section 2.2 (the subsampled estimator).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from miafast.separation import separation
from miafast.tables import Array, Signals

#: Records looked at at once: what is float64 stays small beside the signals themselves.
BLOCK = 8_192
NORMAL_975 = 1.959963984540054


@dataclass(frozen=True, eq=False)
class Memorization:
    """How much likelier a model is right on a record when trained with it, per record; arrays [records] float64.

    ``value`` = ``in_accuracy`` − ``out_accuracy`` in [−1, 1], NaN where a side has no model. ``standard_error`` adds
    one right and one wrong model to each side (Agresti and Caffo 2000): few models that agree are not certainty.
    ``low`` and ``high`` bound the value at 95 % (Newcombe 1998, method 10: Wilson's interval of each side, combined):
    on average over shares; where one is near 0 or 1 they may cover 84 % only with 8 models a side, 90 % with 32.
    """

    value: Array
    standard_error: Array
    low: Array
    high: Array
    in_accuracy: Array  # share of IN models that are right
    out_accuracy: Array  # share of OUT models that are right
    in_models: Array  # how many IN models there are
    out_models: Array

    @property
    def hardness(self) -> Array:
        """Share of models trained without a record that get it wrong, [records] in [0, 1]."""
        return 1.0 - self.out_accuracy


@dataclass(frozen=True, eq=False)
class Influence:
    """What training on records ``of`` [chosen] does to the correctness on every record: [chosen, records] float64.

    NaN where a chosen record is IN no model or in all. ``standard_error`` as in `Memorization`.
    """

    of: Array
    value: Array
    standard_error: Array


@dataclass(frozen=True, eq=False)
class Pairs:
    """The strongest influences, strongest first; arrays [pairs]. ``z`` = value / standard error."""

    of: Array  # the record trained on
    on: Array  # the record it makes right
    value: Array
    standard_error: Array

    @property
    def z(self) -> Array:
        """How many standard errors from 0: the largest of n² pairs of pure noise reaches about 2·sqrt(log n)."""
        return self.value / self.standard_error


@dataclass(frozen=True, eq=False)
class ClassHardness:
    """Means over the records of each class that have IN and OUT models; arrays [classes], NaN for an empty class.

    ``standard_error`` is of ``memorization``, by the jackknife over models: records share them.
    """

    records: Array
    in_accuracy: Array
    out_accuracy: Array
    memorization: Array
    standard_error: Array


def memorization(correct: Array, in_mask: Array) -> Memorization:
    """mem(x) = P[right | trained with x] − P[right | trained without x], estimated over IN and OUT models.

    Args:
        correct: [models, records] or [models, records, queries], 1 where a model predicts the label; bool or numbers in
            [0, 1]. Queries are averaged.
        in_mask: [models, records] bool.

    Raises:
        ValueError: shapes or dtypes that do not fit, values outside [0, 1].

    >>> correct = np.array([[1, 1], [1, 0], [0, 1], [0, 1]])
    >>> found = memorization(correct, np.array([[True, True], [True, False], [False, True], [False, False]]))
    >>> found.value, found.hardness
    (array([1. , 0.5]), array([1. , 0.5]))
    """
    check_correct(correct, in_mask)
    sums = np.zeros((2, in_mask.shape[1]))
    for columns, right in _blocks(correct):
        sums[:, columns] = [np.where(side[:, columns], right, 0.0).sum(axis=0) for side in (in_mask, ~in_mask)]
    models = np.stack([in_mask.sum(axis=0), (~in_mask).sum(axis=0)])
    share = _share(sums, models)
    value = share[0] - share[1]
    low, high = _newcombe(share, models)
    return Memorization(
        value=value, standard_error=_standard_error(sums, models), low=low, high=high,
        in_accuracy=share[0], out_accuracy=share[1], in_models=models[0], out_models=models[1],
    )  # fmt: skip


def by_luck(found: Memorization) -> float:
    """How many records would have a ``low`` above 0 if training on them changed nothing.

    Then a record's right models are dealt out among IN and OUT at random: their number among IN is hypergeometric.
    With several queries it is rounded.

    >>> correct, in_mask = np.array([[1.0], [1.0], [0.0], [0.0]]), np.array([[True], [True], [False], [False]])
    >>> round(by_luck(memorization(correct, in_mask)), 4)  # the one of six deals in which both right models are IN
    0.1667
    """
    from scipy.stats import hypergeom

    sides, expected = np.stack([found.in_models, found.out_models]), 0.0
    right = found.in_accuracy * found.in_models + found.out_accuracy * found.out_models
    for is_in, is_out in np.unique(sides[:, np.isfinite(right)], axis=1).T:
        of = right[(sides[0] == is_in) & (sides[1] == is_out)]
        among_in, in_all = np.arange(is_in + 1), np.arange(is_in + is_out + 1)[:, None]
        share = np.stack(np.broadcast_arrays(among_in / is_in, np.clip((in_all - among_in) / is_out, 0, 1)))
        low, _ = _newcombe(share, np.array([is_in, is_out])[:, None, None])
        chance = (hypergeom.pmf(among_in, is_in + is_out, in_all, is_in) * (low > 0)).sum(axis=1)
        expected += float(chance[np.rint(of).astype(int)].sum())
    return expected


def influence(correct: Array, in_mask: Array, *, of: Any) -> Influence:
    """infl(i → j) = P[right on j | trained with i] − P[right on j | trained without i] for chosen i and every j.

    One product of the mask and the table of who is right. The influence of a record on itself is its memorisation.
    ``of`` [chosen] are record indices; for the strongest of all pairs see `top_influences`.

    Raises ValueError as `memorization`, and for indices that are no records.

    >>> correct = np.array([[1, 1], [1, 0], [0, 1], [0, 1]])
    >>> influence(correct, np.array([[True, True], [True, False], [False, True], [False, False]]), of=[0]).value
    array([[ 1. , -0.5]])
    """
    check_correct(correct, in_mask)
    of = np.atleast_1d(np.asarray(of))
    if of.ndim != 1 or of.dtype.kind not in "iu" or np.any((of < 0) | (of >= in_mask.shape[1])):
        raise ValueError(f"of={of!r}; give indices of records, 0 … {in_mask.shape[1] - 1}.")
    trained = in_mask[:, of].T.astype(np.float64)
    models = np.stack([trained.sum(axis=1), (1.0 - trained).sum(axis=1)])[:, :, None]
    value, error = (np.empty((len(of), in_mask.shape[1])) for _ in range(2))
    for columns, right in _blocks(correct):
        with_it = trained @ right
        sums = np.stack([with_it, right.sum(axis=0) - with_it])
        share = _share(sums, models)
        value[:, columns], error[:, columns] = share[0] - share[1], _standard_error(sums, models)
    return Influence(of=of, value=value, standard_error=error)


def top_influences(correct: Array, in_mask: Array, *, count: int = 20, labels: Array | None = None) -> Pairs:
    """The ``count`` pairs i ≠ j with the strongest influence of i on j among all records [records]².

    With ``labels`` [records] only pairs of one class are looked at, as Feldman and Zhang do. Computed in blocks: the
    whole matrix is never held. The largest of many noisy values flatters itself: see `Pairs.z`.

    Raises ValueError as `memorization`, and for ``count`` < 1 or labels that are not one per record.

    >>> rng = np.random.default_rng(0)
    >>> in_mask = rng.random((64, 30)) < 0.5
    >>> correct = rng.random((64, 30)) < 0.5
    >>> correct[:, 7] = in_mask[:, 3]                                # record 7 is right where record 3 was trained on
    >>> pairs = top_influences(correct, in_mask, count=1)
    >>> int(pairs.of[0]), int(pairs.on[0]), float(pairs.value[0])
    (3, 7, 1.0)
    """
    check_correct(correct, in_mask)
    records = in_mask.shape[1]
    if count < 1:
        raise ValueError(f"count={count}; give at least 1 pair to list.")
    if labels is not None and np.shape(labels) != (records,):
        raise ValueError(f"labels has shape {np.shape(labels)}; give one per record, ({records},).")
    best: list[Array] = [np.empty((4, 0))]
    rows = max(1, (1 << 24) // max(records, 1))
    for start in range(0, records, rows):
        of = np.arange(start, min(start + rows, records))
        found = influence(correct, in_mask, of=of)
        strength = np.where(np.isnan(found.value), -np.inf, found.value)
        strength[np.arange(len(of)), of] = -np.inf
        if labels is not None:
            strength[labels[of][:, None] != labels] = -np.inf
        flat = strength.ravel()
        chosen = np.argpartition(-flat, min(count, flat.size) - 1)[:count]
        chosen = chosen[np.isfinite(flat[chosen])]
        i, j = np.divmod(chosen, records)
        best.append(np.stack([of[i], j, found.value[i, j], found.standard_error[i, j]]))
    pairs = np.concatenate(best, axis=1)
    pairs = pairs[:, np.lexsort((pairs[1], pairs[0], -pairs[2]))[:count]]
    return Pairs(
        of=pairs[0].astype(np.int64), on=pairs[1].astype(np.int64), value=pairs[2], standard_error=pairs[3]
    )  # fmt: skip


def class_hardness(correct: Array, in_mask: Array, labels: Array) -> ClassHardness:
    """How hard every class is, and how much of it is memorised: means over the records of a class.

    ``labels`` [records] int64 in [0, classes). Raises ValueError as `memorization`, and for labels that do not fit.

    >>> correct = np.array([[1, 1], [1, 0], [0, 1], [0, 1]])
    >>> in_mask = np.array([[True, True], [True, False], [False, True], [False, False]])
    >>> class_hardness(correct, in_mask, np.array([0, 0])).memorization
    array([0.75])
    """
    check_correct(correct, in_mask)
    labels = np.asarray(labels)
    if labels.shape != in_mask.shape[1:] or labels.dtype.kind not in "iu" or (labels.size and labels.min() < 0):
        raise ValueError(
            f"labels is {labels.dtype} {labels.shape}; give a class index per record, {in_mask.shape[1:]}."
        )
    rows = [
        _one_class(correct, in_mask, np.flatnonzero(labels == label)) for label in range(labels.max(initial=-1) + 1)
    ]
    return ClassHardness(*np.array(rows).reshape(-1, 5).T)


def memorization_and_separation(signals: Signals) -> tuple[Memorization, Array]:
    """Memorisation and LiRA's separation d′ of every record, over the shadow models of a run: two views of one leak.

    d′ = (mean phi IN − mean phi OUT) / pooled sd [records]: it grows with any shift of confidence, memorisation only
    with shifts that turn a wrong answer right. Needs the signal ``correct``; raises ValueError where it was not
    collected.
    """
    correct = signals.arrays.get("correct")
    if correct is None:
        raise ValueError("signals hold no 'correct'; collect it with them (an attack that reads it asks for it).")
    shadows = range(signals.models - signals.has_target)
    d, _ = separation(signals, models=shadows)
    return memorization(correct[: len(shadows)], signals.in_mask[: len(shadows)]), d


def check_correct(correct: Array, in_mask: Array) -> None:
    """ValueError unless both are arrays that fit each other."""
    if in_mask.dtype != np.bool_ or in_mask.ndim != 2:
        raise ValueError(f"in_mask is {in_mask.dtype} {in_mask.shape}; give booleans [models, records].")
    if correct.ndim not in (2, 3) or correct.shape[:2] != in_mask.shape or 0 in correct.shape[2:]:
        raise ValueError(
            f"correct has shape {correct.shape}; in_mask needs [models, records(, queries)] = {in_mask.shape}."
        )
    if correct.size and not (correct.min() >= 0 and correct.max() <= 1):  # NaN fails both
        raise ValueError(f"correct holds {correct.min()} … {correct.max()}; give 1 where a model is right, else 0.")


def _one_class(correct: Array, in_mask: Array, members: Array) -> tuple[float, float, float, float, float]:
    """(records, in_accuracy, out_accuracy, memorization, standard_error) of the records of one class."""
    counts = in_mask[:, members].sum(axis=0)
    covered = members[(counts > 0) & (counts < len(in_mask))]
    if len(covered) == 0:
        return len(members), np.nan, np.nan, np.nan, np.nan
    is_in, right = in_mask[:, covered], _right(correct[:, covered])
    shares = []
    without = np.zeros(len(is_in))
    for side, sign in ((is_in, 1.0), (~is_in, -1.0)):
        models, sums = side.sum(axis=0), np.where(side, right, 0.0).sum(axis=0)
        shares.append(float((sums / models).mean()))
        without += sign * _share(sums - np.where(side, right, 0.0), models - side).mean(axis=1)
    error = np.sqrt((len(without) - 1) / len(without) * np.square(without - without.mean()).sum())
    return len(members), shares[0], shares[1], shares[0] - shares[1], float(error)


def _blocks(correct: Array) -> Iterator[tuple[slice, Array]]:
    for start in range(0, correct.shape[1], BLOCK):
        columns = slice(start, start + BLOCK)
        yield columns, _right(correct[:, columns])


def _right(correct: Array) -> Array:
    """[models, records] float64: queries averaged."""
    right = np.asarray(correct, np.float64)
    return right if right.ndim == 2 else right.mean(axis=2)


def _share(sums: Array, models: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Array = sums / models
    return share


def _standard_error(sums: Array, models: Array) -> Array:
    """Of the difference of two shares, one right and one wrong model added to each; NaN where a side is empty."""
    share = (sums + 1.0) / (models + 2.0)
    variance = (share * (1.0 - share) / (models + 2.0)).sum(axis=0)
    return np.where((models > 0).all(axis=0), np.sqrt(variance), np.nan)


def _newcombe(share: Array, models: Array) -> tuple[Array, Array]:
    """Bounds of share[0] - share[1]: Newcombe's method 10."""
    low, high = _wilson(share, models)
    value = share[0] - share[1]
    return (
        value - np.hypot(share[0] - low[0], high[1] - share[1]),
        value + np.hypot(high[0] - share[0], share[1] - low[1]),
    )


def _wilson(share: Array, models: Array) -> tuple[Array, Array]:
    """Wilson's 95 % interval of each share."""
    z2 = NORMAL_975**2
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (share + z2 / (2 * models)) / (1 + z2 / models)
        half = NORMAL_975 / (1 + z2 / models) * np.sqrt(share * (1 - share) / models + z2 / (4 * np.square(models)))
    return centre - half, centre + half
