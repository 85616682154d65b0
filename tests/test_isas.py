"""Kernels without a test of their own for it agree with the truth under every instruction set of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import miafast as mf
from miafast.ops import dispatch
from tests.cases import CASES
from tests.test_ops import assert_agrees_with_the_truth

native = pytest.importorskip("miafast._native")


@pytest.fixture(params=native.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    best = native.isa()
    native.limit_isa(request.param)
    yield request.param
    native.limit_isa(best)


@pytest.mark.parametrize("name", ["log_ratio", "log_ratio_leave_one_out", "mlp_steps", "neighbour_share", "redraw"])
def test_every_instruction_set_agrees(name: str, isa: str) -> None:
    for case in CASES[name][0]():
        with mf.backend("cpp"):
            got = dispatch.every_op()[name](*case.args, **case.kwargs)
        assert_agrees_with_the_truth(name, case, got)
