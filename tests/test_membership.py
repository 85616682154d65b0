"""Who is IN where: the promised counts, uniformity, determinism and refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from miafast.shadow import check_membership, membership


@settings(max_examples=30, deadline=None)
@given(records=st.integers(20, 300), half=st.integers(1, 20), seed=st.integers(0, 2**40))
def test_balanced_puts_every_record_into_exactly_half_of_the_models(records: int, half: int, seed: int) -> None:
    mask = membership(records, 2 * half, seed=seed)
    assert mask.dtype == np.bool_
    assert mask.shape == (2 * half, records)
    assert (mask.sum(axis=0) == half).all()


def test_balanced_choices_are_all_equally_likely() -> None:
    records = 60_000
    mask = membership(records, 4, seed=1)
    counts = dict.fromkeys(itertools.combinations(range(4), 2), 0)
    for choice, count in zip(*np.unique(mask.T, axis=0, return_counts=True), strict=True):
        counts[tuple(np.flatnonzero(choice))] = int(count)
    expected = records / 6
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 20.5  # chi-squared, 5 dof, p = .001


def test_coins_are_fair_and_independent() -> None:
    mask = membership(40_000, 6, kind="coins", seed=3)
    np.testing.assert_allclose(mask.mean(axis=1), 0.5, atol=4 * 0.5 / 200)
    off_diagonal = np.corrcoef(mask)[~np.eye(6, dtype=bool)]
    assert np.abs(off_diagonal).max() < 4 / 200
    assert 0 < (mask.sum(axis=0) == 0).mean() < 0.03  # 1/64 of the records are IN no model


@pytest.mark.parametrize("kind", ["balanced", "coins"])
def test_the_seed_and_only_the_seed_matters(kind: str) -> None:
    first = membership(500, 8, kind=kind, seed=5)
    np.testing.assert_array_equal(first, membership(500, 8, kind=kind, seed=5))
    assert 0.3 < (first != membership(500, 8, kind=kind, seed=6)).mean() < 0.7


GOLDEN = ["111011101010", "000111011101", "000100000001", "111000110110"]


def test_masks_are_the_same_on_every_platform() -> None:
    mask = membership(12, 4, seed=7)
    assert ["".join("01"[int(each)] for each in row) for row in mask] == GOLDEN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"records": 1, "models": 2}, "records=1"),
        ({"records": 9, "models": 1}, "1 models or shadows"),
        ({"records": 9, "models": 3}, "3 models or shadows are an odd number"),
        ({"records": 9, "models": 2, "seed": -1}, "seed=-1"),
        ({"records": 9, "models": 2, "kind": "thirds"}, "kind 'thirds'"),
        ({"records": 2, "models": 64}, "without"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        membership(**{"seed": 0, **arguments})  # type: ignore[arg-type]


def test_an_integer_mask_is_not_taken_for_indices() -> None:
    with pytest.raises(TypeError, match=r"in_mask has dtype int64; give bool .*astype\(bool\)"):
        check_membership(np.array([[0, 1], [1, 0]]), 2, 2)
    with pytest.raises(TypeError, match="type list"):
        check_membership([[True, False]], 2, 1)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[True, False, True]], r"shape \(1, 3\)"),
        ([[True, False], [True, True]], "without OUT records .*model 1"),
        ([[False, False], [True, False]], "without IN records .*model 0"),
    ],
)
def test_bad_masks_are_refused(mask: list[list[bool]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_membership(np.array(mask), 2, 2)
