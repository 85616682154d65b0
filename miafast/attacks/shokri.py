"""Attack models on prediction vectors: one binary classifier per class, trained on what shadow models answer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np

from miafast.attacks.shapes import find_not_finite
from miafast.ops.lira import check_choice
from miafast.ops.lira_leave_one_out import has_fixed_counts
from miafast.ops.mlp_confidence import layers
from miafast.ops.mlp_steps import MlpState, mlp_steps
from miafast.tables import Array

MODELS = ("mlp", "logistic", "boosting")
FEATURES = ("sorted", "raw")
HIDDEN = 64
BATCH = 128
RATE = 0.005
BLOCK = 64  # steps whose batches are drawn at once


class PooledClassesWarning(UserWarning):
    """Some classes have too few examples for an attack model of their own; one of all classes scores them."""


class Task(NamedTuple):
    """What one attack model learns: rows of the examples."""

    rows: Array
    is_in: Array


@dataclass(frozen=True)
class Shokri:
    """Shokri et al. (2017), "Membership inference attacks against machine learning models", section V: a binary attack
    model per class, trained on the prediction vectors (softmax of ``logits``) of shadow models, labelled IN or OUT.

    * ``model``: ``"mlp"`` (one hidden layer of 64 ReLU, Adam; a class's networks of all folds train at once), or
      scikit-learn's ``"logistic"`` regression or histogram gradient ``"boosting"``. The score is the log-odds of IN,
      less those among the examples learnt from.
    * ``features``: the vector ``"sorted"`` in descending order, or ``"raw"``. ``top``: only its largest k entries;
      raw, the others are 0. Features are standardised per class; several queries' vectors are averaged.
    * ``epochs``: passes of an mlp over its class's examples (at least 200 steps). ``folds``: see `score_all`.
    * ``fewest``: a class with fewer examples than this on a side has no attack model of its own: one trained on all
      classes scores its records, and a `PooledClassesWarning` says so.

    Deterministic by ``seed``. Raises ValueError for an option that is not known or out of range.

    >>> rng = np.random.default_rng(0)
    >>> labels, in_mask = np.zeros(100, int), rng.random((8, 100)) < 0.5
    >>> logits = rng.normal(size=(8, 100, 2)) + 3.0 * in_mask[:, :, None] * [1, 0]
    >>> scores = Shokri().score_all(logits, in_mask, labels=labels)
    >>> bool(scores[in_mask].mean() > scores[~in_mask].mean() + 1)
    True
    """

    model: str = "mlp"
    features: str = "sorted"
    top: int | None = None
    seed: int = 0
    epochs: int = 20
    folds: int = 8
    fewest: int = 20

    signals: ClassVar[tuple[str, ...]] = ("logits",)
    labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("model", self.model, MODELS)
        check_choice("features", self.features, FEATURES)
        for name, least in (("epochs", 1), ("folds", 2), ("fewest", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; give a whole number >= {least}.")
        if self.top is not None and self.top < 1:
            raise ValueError(f"top={self.top}; give a number of entries >= 1, or None for the whole vector.")

    @property
    def name(self) -> str:
        """What reports call the attack."""
        parts = [self.model, *([self.features] if self.features != "sorted" else [])]
        return f"Shokri {' '.join(parts)}" + ("" if self.top is None else f" top-{self.top}")

    def score(self, target: Any, shadow: Any, in_mask: Any, *, labels: Any, target_labels: Any = None) -> Array:
        """Log-odds of IN of one target's records, [records] float32.

        Args:
            target: logits [records, classes] or [records, queries, classes], floating.
            shadow: the shadow models' logits [models, records(, queries), classes].
            in_mask: [models, records] bool.
            labels: [records] class indices.
            target_labels: class indices of the target's records where they are others, and maybe another number of
                them, than the shadows were asked about, to which ``labels`` and ``in_mask`` then belong: shadows of
                synthetic records, or of another data set of the same classes. None: they are the same.

        Raises:
            ValueError: shapes that do not fit, logits that are not finite, no IN or no OUT example at all.
        """
        target, shadow = np.asarray(target), np.asarray(shadow)
        vectors = self._vectors(target[None], name="target")
        shadows = self._vectors(shadow, name="shadow")
        in_mask, labels = _checked(shadows, np.asarray(in_mask), np.asarray(labels))
        if target.shape[-1] != shadow.shape[-1]:
            raise ValueError(
                f"target has {target.shape[-1]} classes, shadow {shadow.shape[-1]}; give logits of the same."
            )
        if target_labels is None and vectors.shape[1] != shadows.shape[1]:
            raise ValueError(
                f"target has {vectors.shape[1]} records, shadow {shadows.shape[1]}; for other records than the "
                "shadows' give target_labels."
            )
        asked = labels if target_labels is None else _class_indices("target_labels", np.asarray(target_labels), vectors)
        everything = np.ones(in_mask.shape, bool)
        scores: Array = self._scores(shadows, in_mask, labels, [everything], [vectors], asked)[0][0]
        return scores

    def score_all(self, shadow: Any, in_mask: Any, *, labels: Any) -> Array:
        """Scores [models, records] float32: every model in turn is the target, arguments and errors as for `score`.

        Cross-fitting instead of a fit per target: the models are cut into ``folds`` runs of neighbours, and each is
        scored by attack models trained on the other folds alone, never on a target of their own. ``folds`` of at least
        the number of models leaves one out exactly.

        Where **every record is IN the same number of models** (balanced masks), what is left of a record would tell
        through its counts how many of the fold were IN. There every record keeps equally many examples per side
        whatever the fold holds: of the other folds' models the surplus, cyclically after the fold, is left out too;
        with one model per fold this is LiRA's rule.
        """
        vectors = self._vectors(np.asarray(shadow), name="shadow")
        in_mask, labels = _checked(vectors, np.asarray(in_mask), np.asarray(labels))
        if len(vectors) < 2:
            raise ValueError("shadow has 1 model; leaving one out needs at least 2.")
        folds = list(_folds(in_mask, self.folds))
        used, asked = [each for _, each in folds], [vectors[models] for models, _ in folds]
        return np.concatenate(self._scores(vectors, in_mask, labels, used, asked, labels))

    def _vectors(self, logits: Array, *, name: str) -> Array:
        """Features [models, records, k] float32."""
        if logits.ndim not in (3, 4) or logits.dtype.kind != "f" or 0 in logits.shape:
            raise ValueError(
                f"{name} is {logits.dtype} {logits.shape}; give floating logits […, records(, queries), classes]."
            )
        find_not_finite(name, logits)
        power = np.exp((logits - logits.max(axis=-1, keepdims=True)).astype(np.float32))
        vectors: Array = power / power.sum(axis=-1, keepdims=True)
        if vectors.ndim == 4:
            vectors = vectors.mean(axis=2)
        ordered = np.sort(vectors, axis=-1)[..., ::-1]
        top = vectors.shape[-1] if self.top is None else min(self.top, vectors.shape[-1])
        if self.features == "sorted":
            return np.ascontiguousarray(ordered[..., :top])
        return np.where(vectors >= ordered[..., top - 1 : top], vectors, np.float32(0.0))

    def _scores(
        self, vectors: Array, in_mask: Array, labels: Array, used: list[Array], asked: list[Array], asked_labels: Array
    ) -> list[Array]:
        """For every fold [its models, asked records]: ``used`` [models, records] says which of the shadows' examples it
        learns from, ``asked`` [its models, asked records, k] are the vectors that it scores."""
        found = [np.full(each.shape[:2], np.nan, np.float32) for each in asked]
        fit = self._mlps if self.model == "mlp" else self._sklearn
        for learnt, scored in self._groups(in_mask, labels, used, asked_labels):
            x = vectors[:, learnt].reshape(-1, vectors.shape[-1])
            mean, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
            is_in, places = in_mask[:, learnt].ravel(), [np.flatnonzero(each[:, learnt]) for each in used]
            tasks = [Task(rows, is_in[rows]) for rows in places]
            questions = [((each[:, scored] - mean) / spread).reshape(-1, x.shape[1]) for each in asked]
            for scores, task, odds in zip(found, tasks, fit((x - mean) / spread, tasks, questions), strict=True):
                share = task.is_in.mean()  # known of the other models: it must not tell folds or classes apart
                scores[:, scored] = odds.reshape(len(scores), -1) - np.log(share / (1 - share))
        return found

    def _groups(
        self, in_mask: Array, labels: Array, used: list[Array], asked_labels: Array
    ) -> Iterator[tuple[Array, Array]]:
        """(records to learn from, records to score): a class each, and all records for the classes with too few."""
        few = []
        for label in np.unique(asked_labels):
            records, scored = np.flatnonzero(labels == label), np.flatnonzero(asked_labels == label)
            sides = [(in_mask[:, records] == side) & each[:, records] for side in (True, False) for each in used]
            if min(int(side.sum()) for side in sides) < self.fewest:
                few.append(scored)
            else:
                yield records, scored
        if not few:
            return
        if any(not np.any((in_mask == side) & each) for side in (True, False) for each in used):
            raise ValueError("in_mask leaves no IN or no OUT example to learn from; train more models.")
        warnings.warn(
            f"{len(few)} classes have fewer than {self.fewest} examples IN or OUT; an attack model of all classes "
            f"scores their {sum(map(len, few))} records. Train more shadow models, or give more records per class.",
            PooledClassesWarning,
            stacklevel=4,
        )
        yield np.arange(len(labels)), np.concatenate(few)

    def _mlps(self, x: Array, tasks: list[Task], questions: list[Array]) -> list[Array]:
        """All folds' networks at once, each on batches of its own."""
        widths = (x.shape[1], HIDDEN, 2)
        rngs = [np.random.default_rng([self.seed, place]) for place in range(len(tasks))]
        steps = np.array([max(200, -(-self.epochs * len(task.rows) // BATCH)) for task in tasks])
        weights = np.stack([_start(rng, widths) for rng in rngs])
        state = MlpState(weights, np.zeros_like(weights), np.zeros_like(weights))
        y = np.zeros(len(x), np.int64)
        for task in tasks:
            y[task.rows] = task.is_in
        for taken in range(0, int(steps.max()), BLOCK):
            batches = np.stack(
                [
                    task.rows[rng.integers(len(task.rows), size=(BLOCK, BATCH))]
                    for task, rng in zip(tasks, rngs, strict=True)
                ]
            )
            share = np.minimum((taken + np.arange(BLOCK)) / steps[:, None], 1.0)
            state = mlp_steps(
                *state, np.ascontiguousarray(x, np.float32), y, batches, np.clip(steps - taken, 0, BLOCK),
                RATE * (1.0 + np.cos(np.pi * share)) / 2.0, np.zeros(len(tasks), np.uint32), widths=widths, taken=taken,
                activation="relu", optimizer="adam", momentum=0.0, nesterov=False, weight_decay=0.0, dropout=0.0,
                label_smoothing=0.0, bfloat16=False, scale=1.0, shift=0.0,
            )  # fmt: skip
        return [_log_odds(each, own, widths) for own, each in zip(state.weights, questions, strict=True)]

    def _sklearn(self, x: Array, tasks: list[Task], questions: list[Array]) -> list[Array]:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression

        def fitted(task: Task) -> Any:
            boosting = HistGradientBoostingClassifier(max_iter=60, random_state=self.seed)
            made = LogisticRegression(max_iter=1000) if self.model == "logistic" else boosting
            return made.fit(x[task.rows], task.is_in)

        return [fitted(task).decision_function(each) for task, each in zip(tasks, questions, strict=True)]


def _checked(vectors: Array, in_mask: Array, labels: Array) -> tuple[Array, Array]:
    if in_mask.dtype != np.bool_ or in_mask.shape != vectors.shape[:2]:
        raise ValueError(f"in_mask is {in_mask.dtype} {in_mask.shape}; give booleans {vectors.shape[:2]}.")
    return in_mask, _class_indices("labels", labels, vectors)


def _class_indices(name: str, labels: Array, vectors: Array) -> Array:
    if labels.shape != vectors.shape[1:2] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{name} is {labels.dtype} {labels.shape}; give a class index per record {vectors.shape[1:2]}."
        )
    return labels


def _folds(in_mask: Array, folds: int) -> Iterator[tuple[Array, Array]]:
    """(models of the fold, which examples [models, records] its attack models may learn from)."""
    models, count = len(in_mask), int(in_mask[:, 0].sum())
    fixed, size = has_fixed_counts(in_mask), -(-models // folds)
    if fixed:
        size = max(1, min(size, count - 1, models - count - 1))
    for start in range(0, models, size):
        fold = np.arange(start, min(start + size, models))
        used = np.ones(in_mask.shape, bool)
        used[fold] = False
        if fixed:  # of every record count - size stay IN, models - count - size OUT
            after = np.roll(np.arange(models), -int(fold[-1]) - 1)
            for side, kept in ((in_mask, count - size), (~in_mask, models - count - size)):
                there = (side & used)[after]
                surplus = there.sum(axis=0) - kept
                used[after] &= ~(there & (np.cumsum(there, axis=0) <= surplus))
        yield fold, used


def _start(rng: np.random.Generator, widths: tuple[int, ...]) -> Array:
    """Weights and biases uniform in ± 1/sqrt(inputs), as PyTorch's linear layers begin."""
    parts = [rng.uniform(-1, 1, (inside + 1) * outside) / np.sqrt(inside) for inside, outside in pairwise(widths)]
    return np.concatenate(parts).astype(np.float32)


def _log_odds(x: Array, weights: Array, widths: tuple[int, ...]) -> Array:
    (first, first_bias), (last, last_bias) = layers(weights[None], widths)
    hidden = np.maximum(x @ first[0].T + first_bias[0], 0.0)
    logits = hidden @ last[0].T + last_bias[0]
    odds: Array = logits[:, 1] - logits[:, 0]
    return odds
