"""What an embedding program relies on: no op ends the process, whatever memory, threads and arrays it meets."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miafast as mf
from miafast.ops import dispatch
from miafast.ops.roc_counts import roc_counts
from miafast.ops.tpr_at import tpr_at
from tests.cases import CASES, Case

pytest.importorskip("miafast._native")

#: Takes the place of operator new, one allocation of which fails, and tells of six processors.
FAILING = """
#include <sched.h>
#include <atomic>
#include <cstdlib>
#include <new>
std::atomic<long> left{-1};
extern "C" void fail_after(long allocations) { left = allocations; }
extern "C" bool none_failed() { return left >= 0; }
extern "C" int sched_getaffinity(pid_t, size_t size, cpu_set_t* allowed) noexcept {
    CPU_ZERO_S(size, allowed);
    for (int processor = 0; processor < 6; ++processor) CPU_SET_S(processor, size, allowed);
    return 0;
}
void* operator new(std::size_t size) {
    if (left >= 0 && left.fetch_sub(1) == 0) throw std::bad_alloc();
    if (void* memory = std::malloc(size ? size : 1)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
"""

#: Every op as tests know it: without memory for the first allocation, the second and so on.
EVERY_ALLOCATION = """
import ctypes
import miafast as mf
from miafast.ops import dispatch
from tests.cases import CASES

process = ctypes.CDLL(None)
process.fail_after.argtypes, process.none_failed.restype = [ctypes.c_long], ctypes.c_bool
for name, (make, _) in CASES.items():
    op = dispatch.every_op()[name]
    if dispatch.find_twin(op, "cpp")[0] is None:
        continue
    cases = [case for case in make() if not case.slow]
    case = max(cases, key=lambda case: sum(getattr(each, "nbytes", 0) for each in case.args))
    refused = 0
    with mf.backend("cpp"):
        op(*case.args, **case.kwargs)
        for allocations in (*range(40), *range(40, 400, 23)):
            process.fail_after(allocations)
            try:
                op(*case.args, **case.kwargs)
            except MemoryError:
                refused += 1
            if process.none_failed():
                break
        process.fail_after(-1)
    assert refused, name
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes the place of glibc's functions")
def test_memory_that_runs_out_anywhere_is_a_memory_error(tmp_path: Path) -> None:
    source, library = tmp_path / "failing.cpp", tmp_path / "failing.so"
    source.write_text(FAILING)
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    subprocess.run([*compiler, "-std=c++17", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    done = subprocess.run(
        [sys.executable, "-c", EVERY_ALLOCATION],
        env={**os.environ, "LD_PRELOAD": str(library)}, cwd=Path(__file__).parents[1], capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def few_cases() -> list[tuple[str, Case]]:
    """Three cases of every op that has a twin in C++."""
    names = [name for name, op in dispatch.every_op().items() if dispatch.find_twin(op, "cpp")[0] is not None]
    return [(name, case) for name in names for case in list(CASES[name][0]())[:3] if not case.slow]


def answer(name: str, case: Case) -> list[Any]:
    result = dispatch.every_op()[name](*case.args, **case.kwargs)
    return list(result) if isinstance(result, tuple) else [result]


def test_ops_may_run_in_several_threads_and_in_a_fork_afterwards() -> None:
    todo = few_cases()
    expected = [answer(*each) for each in todo]

    def differing(_: object) -> int:
        found = (answer(*each) for each in todo)
        return sum(
            not np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
            for got, wanted in zip(found, expected, strict=True)
            for one, other in zip(got, wanted, strict=True)
        )

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(differing, range(8))) == [0] * 8
    if hasattr(os, "fork"):
        if (child := os.fork()) == 0:
            wrong = True
            try:
                wrong = differing(None) > 0
            finally:  # whatever happens, no second test run goes on from here
                os._exit(wrong)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(("name", "place"), [("mlp_steps", "y batches counts"), ("dp_sgd_steps", "y places")])
def test_training_refuses_what_it_would_read_out_of_bounds(name: str, place: str) -> None:
    case = next(iter(CASES[name][0]()))
    named = dict(zip(dispatch.every_op()[name]._signature.parameters, case.args, strict=False))
    for each in place.split():
        with pytest.raises(ValueError, match=f"{each} has dtype float64; give integers"):
            answer(name, replace(case, args=(*{**named, each: np.full(named[each].shape, np.nan)}.values(),)))
    with pytest.raises(ValueError, match="give the units of every layer"):
        answer(name, replace(case, kwargs={**case.kwargs, "widths": case.kwargs["widths"][:1]}))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bool_may_be_any_byte_but_zero(dtype: type) -> None:
    random = np.random.default_rng(0)
    is_member = random.random(70_000) < 0.5
    scores = (random.normal(size=70_000) + is_member).astype(dtype)
    bytes_of_255 = (is_member * np.uint8(255)).view(bool)
    with mf.backend("cpp"):
        for one, other in zip(roc_counts(scores, bytes_of_255), roc_counts(scores, is_member), strict=True):
            np.testing.assert_array_equal(one, other)
        rates = [0.2, 1e-2, 1e-4]
        np.testing.assert_array_equal(tpr_at(scores, bytes_of_255, rates), tpr_at(scores, is_member, rates))


def test_no_kernel_sees_numbers_across_their_own_size() -> None:
    scores = np.empty(801, np.uint8)[1:].view(np.float64)
    scores[:] = np.arange(100)
    assert not scores.flags.aligned
    np.testing.assert_array_equal(given := dispatch._to_host(scores), scores)
    assert given.flags.aligned
    assert dispatch._to_host(given) is given
