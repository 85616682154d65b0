"""Distances to a decision boundary against their closed form, and noise that belongs to records."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from miafast.boundary_distance import boundary_distance
from miafast.noise import noisy_inputs


def linear(seed: int = 0, records: int = 40, features: int = 20) -> tuple[np.ndarray, np.ndarray, float]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(records, features)).astype(np.float32), rng.normal(size=features).astype(np.float32), 0.3


def test_a_linear_classifier_s_distance_is_its_closed_form() -> None:
    x, weights, bias = linear()
    asked = np.zeros(1, int)

    def predict(inputs: np.ndarray) -> np.ndarray:
        asked[0] += len(inputs)
        return (inputs @ weights + bias > 0).astype(int)

    expected = np.abs(x @ weights + bias) / np.linalg.norm(weights)
    labels = predict(x)
    asked[:] = 0
    found = boundary_distance(predict, x, labels, queries=2000, seed=0)
    assert found.dtype == np.float32
    assert (found >= expected * (1 - 1e-4) - 1e-6).all()  # what was found is another class: no nearer than the nearest
    assert np.median(found / expected) < 1.05
    assert stats.spearmanr(found, expected).statistic > 0.99
    assert asked[0] <= len(x) * 2010
    few = boundary_distance(predict, x, labels, queries=100, seed=0)
    assert np.median(found / expected) < np.median(few / expected)
    wrong = boundary_distance(predict, x, 1 - labels, queries=100, seed=0)
    np.testing.assert_array_equal(wrong, 0)


def test_a_record_s_distance_does_not_depend_on_its_batch() -> None:
    x, weights, bias = linear()
    weights = weights.round(1)

    def predict(inputs: np.ndarray) -> np.ndarray:
        return ((inputs.astype(np.float64) * weights).sum(axis=1) + bias > 0).astype(int)

    labels = predict(x)
    together = boundary_distance(predict, x, labels, queries=300, seed=3, first=5)
    alone = [
        boundary_distance(predict, x[i : i + 1], labels[i : i + 1], queries=300, seed=3, first=5 + i) for i in (0, 9)
    ]
    np.testing.assert_allclose(together[[0, 9]], np.concatenate(alone), rtol=1e-5)
    assert not np.allclose(together, boundary_distance(predict, x, labels, queries=300, seed=4, first=5), rtol=1e-5)


def test_one_class_everywhere_is_far_and_finite_and_images_keep_their_shape() -> None:
    x = np.zeros((2, 1, 3, 3), np.float32)

    def predict(inputs: np.ndarray) -> np.ndarray:
        assert inputs.shape[1:] == (1, 3, 3)
        return np.zeros(len(inputs), int)

    found = boundary_distance(predict, x, np.zeros(2, int), queries=100, seed=0)
    assert np.isfinite(found).all()
    assert (found > 100).all()


@pytest.mark.parametrize(
    ("queries", "labels", "said"), [(10, np.zeros(2, int), "at least 50"), (100, np.zeros(3, int), "one per record")]
)
def test_bad_arguments_are_refused(queries: int, labels: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        boundary_distance(lambda x: np.zeros(len(x)), np.zeros((2, 2)), labels, queries=queries, seed=0)


def test_noise_is_a_record_s_own_and_standard_normal() -> None:
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    all_at_once = noisy_inputs(x, copies=4000, sigma=0.5, seed=1, first=0)
    assert all_at_once.shape == (6, 4000, 2)
    assert all_at_once.dtype == np.float32
    np.testing.assert_array_equal(noisy_inputs(x[4:], copies=4000, sigma=0.5, seed=1, first=4), all_at_once[4:])
    noise = ((all_at_once - x[:, None]) / 0.5).reshape(12 * 4000)
    assert stats.kstest(noise, "norm").pvalue > 0.01
    for options, said in (({"copies": 0}, "copies=0"), ({"sigma": 0.0}, "sigma=0.0"), ({"first": -1}, "first=-1")):
        with pytest.raises(ValueError, match=said):
            noisy_inputs(x, **{"copies": 1, "sigma": 1.0, "seed": 0, "first": 0, **options})
