"""Synthesis: accepted records are what Algorithm 1 promises, and the batch does not matter."""

from __future__ import annotations

import numpy as np
import pytest

from miafast.synthesis import climb, from_marginals, from_noisy


def nearest(x: np.ndarray) -> np.ndarray:
    """Probabilities in closed form, row by row: class 1 likes ones (or large values), class 0 the opposite."""
    p = np.round(x.astype(np.float64), 6).sum(axis=1) / x.shape[1]
    return np.stack([1 - p, p], axis=1)


@pytest.mark.parametrize("bounds", [{}, {"low": 0.0, "high": 1.0}])
def test_accepted_records_satisfy_the_target(bounds: dict[str, float]) -> None:
    classes = np.arange(40) % 2
    found = climb(nearest, classes, features=30, conf_min=0.75, k_max=8, k_min=1, seed=3, **bounds)
    assert found.accepted.all()
    y = nearest(found.x)
    np.testing.assert_allclose(y[np.arange(40), classes], found.confidence)
    assert found.confidence.min() > 0.75
    np.testing.assert_array_equal(y.argmax(axis=1), classes)
    assert len(np.unique(found.x, axis=0)) == 40


@pytest.mark.parametrize("bounds", [{}, {"low": -1.0, "high": 1.0}])
def test_one_at_a_time_equals_many(bounds: dict[str, float]) -> None:
    options = {"features": 20, "conf_min": 0.6, "k_max": 8, "k_min": 1, "iter_max": 60, "seed": 1, **bounds}
    many = climb(nearest, np.arange(12) % 2, **options)
    for batch in (1, 5):
        some = climb(nearest, np.arange(12) % 2, batch=batch, **options)
        for name in ("x", "confidence", "accepted", "queries"):
            np.testing.assert_array_equal(getattr(some, name), getattr(many, name))


def test_giving_up() -> None:
    found = climb(lambda x: np.tile([0.9, 0.1], (len(x), 1)), np.array([1, 1]), features=5, iter_max=7)
    assert not found.accepted.any()
    assert found.queries.tolist() == [7, 7]


def test_marginals_and_noise() -> None:
    x = (np.random.default_rng(0).random((500, 40)) < np.linspace(0.1, 0.9, 40)).astype(np.float32)
    made = from_marginals(x, 4000, seed=1)
    assert np.abs(made.mean(axis=0) - x.mean(axis=0)).max() < 4 * np.sqrt(0.25 / 4000)
    assert abs(np.corrcoef(made[:, 19], made[:, 20])[0, 1]) < 4 / np.sqrt(4000)
    np.testing.assert_array_equal(from_marginals(x, 10, seed=1), made[:10])
    noisy = from_noisy(x, share=0.2, seed=2)
    np.testing.assert_array_equal((noisy != x).sum(axis=1), 8)
    np.testing.assert_array_equal(from_noisy(x[:9], share=0.2, seed=2), noisy[:9])


@pytest.mark.parametrize(
    "options", [{"conf_min": 1.0}, {"k_min": 0}, {"low": 0.0}, {"low": 1.0, "high": 0.0}, {"batch": 0}]
)
def test_bad_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"; (need|give)"):
        climb(nearest, np.array([0]), features=4, **options)
