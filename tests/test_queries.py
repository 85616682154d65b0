"""Queries change inputs as their names say."""

from __future__ import annotations

import numpy as np
import pytest

from miafast.queries import COUNTS, ask, check_queries, choose_queries, query_name

IMAGE = np.arange(2 * 1 * 6 * 6, dtype=np.float32).reshape(2, 1, 6, 6)


@pytest.mark.parametrize("count", COUNTS)
def test_standard_sets_are_distinct_and_begin_with_the_record_itself(count: int) -> None:
    queries = choose_queries(count)
    assert len(set(queries)) == count
    assert queries[0] == "identity"


def test_mirror_twice_is_identity() -> None:
    np.testing.assert_array_equal(ask("mirror", ask("mirror", IMAGE)), IMAGE)
    np.testing.assert_array_equal(ask("identity", IMAGE), IMAGE)


def test_shift_moves_down_and_right_and_reflects_the_edge() -> None:
    shifted = ask("shift:2,-1", IMAGE)
    np.testing.assert_array_equal(shifted[:, :, 2:, :-1], IMAGE[:, :, :-2, 1:])
    np.testing.assert_array_equal(shifted[:, :, 1, :-1], IMAGE[:, :, 1, 1:])
    np.testing.assert_array_equal(ask("mirror+shift:0,2", IMAGE), ask("shift:0,2", ask("mirror", IMAGE)))


def test_users_functions_are_named_by_their_source_and_checked() -> None:
    def darker(x: np.ndarray) -> np.ndarray:
        return x / 2

    np.testing.assert_array_equal(ask(darker, IMAGE), IMAGE / 2)
    assert "darker:" in query_name(darker)
    with pytest.raises(ValueError, match="return one input each"):
        ask(lambda x: x[:1], IMAGE)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (3, "queries=3; choose 1, 2, 18, 162"),
        (["flip"], "query 'flip' is not known"),
        (["shift:1"], "query 'shift:1' is not known"),
        (["mirror", "mirror"], "each once"),
        ([], "at least one"),
    ],
)
def test_bad_queries_are_refused(queries: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_queries(queries)  # type: ignore[arg-type]


def test_images_are_needed_for_image_queries() -> None:
    check_queries(["identity"], (64,))
    with pytest.raises(ValueError, match=r"needs images .* shape \(64,\)"):
        check_queries(["mirror"], (64,))
    with pytest.raises(ValueError, match="shifts by more than the image"):
        check_queries(["shift:6,0"], (1, 6, 6))
