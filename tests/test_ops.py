"""Every op × case × backend against the float64 NumPy truth."""

from __future__ import annotations

import numpy as np
import pytest

import miafast as mf
from miafast.ops import dispatch
from tests.cases import CASES, Case


def _every() -> list[object]:
    found = []
    for op_name, (make, _) in sorted(CASES.items()):
        which = dispatch.every_op()[op_name]
        reasons = {where: dispatch.find_twin(which, where)[1] for where in dispatch.BACKENDS["cpu"]}
        backends = [where for where, reason in reasons.items() if reason != dispatch.NO_TWIN]
        for case in make():
            for where in backends:
                marks = [pytest.mark.slow] if case.slow else []
                found.append(pytest.param(op_name, case, where, id=f"{op_name}-{case.name}-{where}", marks=marks))
    return found


def _as_double(value: object) -> object:
    is_float = isinstance(value, np.ndarray) and (value.dtype.kind == "f" or value.dtype == dispatch.BFLOAT16)
    return dispatch.as_float(value) if is_float else value


def _arrays(result: object) -> list[np.ndarray]:
    return [np.asarray(each) for each in result] if isinstance(result, tuple) else [np.asarray(result)]


def _agree(got: np.ndarray, expected: np.ndarray, tolerance: object) -> None:
    assert got.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    error = np.zeros(expected.shape)
    error[finite] = np.abs(got[finite].astype(np.float64) - expected[finite])
    worst = np.max(error - np.broadcast_to(np.asarray(tolerance), expected.shape), initial=-1.0, where=finite)
    assert worst <= 0, f"off by {error.max()} where {tolerance} is allowed"


@pytest.mark.parametrize(("op_name", "case", "where"), _every())
def test_twin_agrees_with_the_truth(op_name: str, case: Case, where: str) -> None:
    which = dispatch.every_op()[op_name]
    if dispatch.find_twin(which, where)[0] is None:
        pytest.skip(f"{op_name} has no {where} twin")
    with mf.backend(where):
        got = which(*case.args, **case.kwargs)
    assert_agrees_with_the_truth(op_name, case, got)


def assert_agrees_with_the_truth(op_name: str, case: Case, got: object) -> None:
    expected = dispatch.every_op()[op_name].truth(
        *(_as_double(each) for each in case.args), **{name: _as_double(each) for name, each in case.kwargs.items()}
    )
    for got_array, expected_array in zip(_arrays(got), _arrays(expected), strict=True):
        _agree(got_array, expected_array, CASES[op_name][1](case, expected_array))


def test_every_op_has_cases() -> None:
    assert set(CASES) == set(dispatch.every_op())
