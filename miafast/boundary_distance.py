"""How far a record lies from where a model changes its answer, from predicted labels alone: HopSkipJump."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from miafast.noise import normals
from miafast.tables import Array

#: Inputs [batch, ...] float32 to class indices [batch].
Predict = Callable[[Array], Array]

FEWEST_QUERIES = 50
_STARTS = 24  # radii that the first wrong answer is looked for at, each twice the one before
_BISECTIONS = 10  # questions to place a point on the boundary
_LARGEST_BATCH = 1 << 23  # numbers in one question to the model


def boundary_distance(predict: Predict, x: Array, labels: Array, *, queries: int, seed: int, first: int = 0) -> Array:
    """An upper bound of each record's L2 distance to the nearest input with another predicted class: float32 [batch].

    All records search at once, each with a random stream of its own: the answer does not depend on the batch. A start
    is found along a random direction at doubling radii; then, until the questions are used up: bisect to the boundary,
    estimate its normal from the labels of random points around, step along it (halving while the step leaves the other
    class). The least distance seen counts. Inputs are not clipped to any range.

    Args:
        predict: float32 inputs [n, ...] to predicted class indices [n].
        x: [batch, ...] inputs as the model sees them.
        labels: [batch] true class indices; records predicted otherwise have distance 0.
        queries: questions per record, at least 50; a final bisection may go over by 10.
        seed: of all randomness; ``first`` is the number of the first record of the batch.

    Returns:
        float32 [batch], finite. Where no other class was met, the largest radius looked at.

    Raises:
        ValueError: too few queries, labels or answers of another length.

    Source: Chen, Jordan & Wainwright 2020, "HopSkipJumpAttack: a query-efficient decision-based attack", algorithm 2
    (L2, untargeted), as used for membership by Choquette-Choo et al. 2021 and Li & Zhang 2021.

    >>> x = np.array([[3.0, 0.0], [-1.0, 0.0]], np.float32)  # the boundary is where the first number is 0
    >>> found = boundary_distance(lambda x: (x[:, 0] > 0) * 1, x, np.array([1, 1]), queries=500, seed=0)
    >>> bool(3 <= found[0] < 3.1), float(found[1])
    (True, 0.0)
    """
    if queries < FEWEST_QUERIES:
        raise ValueError(f"queries={queries}; give at least {FEWEST_QUERIES} questions per record.")
    if np.shape(labels) != (len(x),):
        raise ValueError(f"labels has shape {np.shape(labels)}; give one per record, [{len(x)}].")
    inputs = np.asarray(x, np.float32)
    asked = _Asked(predict, inputs, np.asarray(labels))
    distance = np.zeros(len(inputs), np.float32)
    right = np.flatnonzero(~asked.differ(np.arange(len(inputs)), inputs))
    points, radius, used, met = _start(asked, right, seed=seed, first=first)
    distance[right[~met]] = radius[~met]
    rows, points, used = right[met], points[met], used[met] + 1
    if len(rows):
        distance[rows] = _walk(asked, rows, points, used, queries=queries, seed=seed, first=first)
    return distance


class _Asked:
    """The model's answers: does it call points something else than their records' labels?"""

    def __init__(self, predict: Predict, x: Array, labels: Array) -> None:
        self.predict, self.x, self.labels = predict, x, labels

    def differ(self, rows: Array, points: Array) -> Array:
        """bool [rows] for points [rows, ...], or [rows, samples] for [rows, samples, ...]."""
        lead = points.shape[: points.ndim - self.x.ndim + 1]
        flat = np.ascontiguousarray(points.reshape(-1, *self.x.shape[1:]), dtype=np.float32)
        size = max(1, _LARGEST_BATCH // max(1, int(np.prod(self.x.shape[1:]))))
        answers = [np.asarray(self.predict(flat[start : start + size])) for start in range(0, len(flat), size)]
        found = np.concatenate(answers) if answers else np.zeros(0, np.int64)
        if found.shape != (len(flat),):
            raise ValueError(f"predict answered shape {found.shape} for {len(flat)} inputs; return one class each.")
        return np.asarray(found.reshape(lead) != self.labels[rows].reshape(-1, *[1] * (len(lead) - 1)))


def _start(asked: _Asked, rows: Array, *, seed: int, first: int) -> tuple[Array, Array, Array, Array]:
    """Per row a point of another class: (points, radius, questions used, whether one was met)."""
    x = asked.x[rows]
    points, radius = x.copy(), np.zeros(len(rows), np.float32)
    used, met = np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
    for attempt in range(_STARTS):
        left = np.flatnonzero(~met)
        if not len(left):
            break
        radius[left] = 2.0 ** (attempt - 6) * np.sqrt(x[0].size)
        away = _unit(_draw(seed, first, rows[left], f"start {attempt}", x.shape[1:]))
        points[left] = x[left] + _along(radius[left], away)
        used[left] += 1
        met[left] = asked.differ(rows[left], points[left])
    return points, radius, used, met


def _walk(asked: _Asked, rows: Array, points: Array, used: Array, *, queries: int, seed: int, first: int) -> Array:
    """The least distances [rows] from x to points of another class on the way of HopSkipJump."""
    x = asked.x[rows]
    points = _bisect(asked, rows, points)
    used = used + _BISECTIONS
    best = _length(points - x)
    base = max(8, min(100, queries // 10))
    for step in range(1, queries):
        samples = int(base * np.sqrt(step))
        active = np.flatnonzero(used + samples + 2 * _BISECTIONS <= queries)
        if not len(active):
            break
        now, at, around = rows[active], points[active], x[active]
        gap = np.maximum(_length(at - around), np.float32(1e-12))
        direction = _normal(asked, now, at, gap, samples=samples, step=step, seed=seed, first=first)
        stride, moved = gap / np.float32(np.sqrt(step)), at.copy()
        trying = np.arange(len(active))
        for _ in range(_BISECTIONS):
            candidate = at[trying] + _along(stride[trying], direction[trying])
            used[active[trying]] += 1
            good = asked.differ(now[trying], candidate)
            moved[trying[good]] = candidate[good]
            trying = trying[~good]
            stride[trying] /= 2
            if not len(trying):
                break
        points[active] = _bisect(asked, now, moved)
        used[active] += samples + _BISECTIONS
        best[active] = np.minimum(best[active], _length(points[active] - around))
    return best


def _bisect(asked: _Asked, rows: Array, points: Array) -> Array:
    """Towards x as far as the class stays another one."""
    x = asked.x[rows]
    low, high = np.zeros(len(rows), np.float32), np.ones(len(rows), np.float32)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        other = asked.differ(rows, x + _along(middle, points - x))
        high, low = np.where(other, middle, high), np.where(other, low, middle)
    return np.asarray(x + _along(high, points - x), dtype=np.float32)


def _normal(
    asked: _Asked, rows: Array, at: Array, gap: Array, *, samples: int, step: int, seed: int, first: int
) -> Array:
    """The direction into the other class at a boundary point: random ones, weighted by answers less their mean."""
    drawn = np.stack(
        [_draw(seed, first, rows[[i]], f"step {step}", (samples, *at.shape[1:]))[0] for i in range(len(rows))]
    )
    drawn = _unit(drawn.reshape(-1, *at.shape[1:])).reshape(drawn.shape)
    near = gap * np.float32(0.1 / np.sqrt(step))
    signs = asked.differ(rows, at[:, None] + near.reshape(-1, *[1] * at.ndim) * drawn) * np.float32(2) - 1
    mean = signs.mean(axis=1, keepdims=True)
    weights = np.where(np.abs(mean) == 1, signs, signs - mean)
    return _unit(np.einsum("rs,rs...->r...", weights, drawn).astype(np.float32))


def _draw(seed: int, first: int, rows: Array, purpose: str, shape: tuple[int, ...]) -> Array:
    return np.stack([normals(seed, first + int(row), f"boundary {purpose}", shape) for row in rows])


def _length(vectors: Array) -> Array:
    return np.asarray(np.sqrt((vectors.reshape(len(vectors), -1) ** 2).sum(axis=1)), dtype=np.float32)


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(_length(vectors), 1e-12).reshape(-1, *[1] * (vectors.ndim - 1)))


def _along(lengths: Array, directions: Array) -> Array:
    return np.asarray(lengths.reshape(-1, *[1] * (directions.ndim - 1)) * directions)
