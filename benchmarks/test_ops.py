"""The ops alone, to compare commits: ``pytest benchmarks --benchmark-autosave``, then ``--benchmark-compare``."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import cases, ops


@pytest.mark.parametrize("name", ops.CASES)
def test_op(name: str, benchmark: Any) -> None:
    case = ops.CASES[name][0]()
    cases.check(case, {"miafast": case.ours})
    benchmark.extra_info["title"] = case.title
    benchmark.pedantic(case.ours.run, rounds=15, warmup_rounds=1)
