"""CUDA sources without a device: they compile for Hopper, and compute the truth when a processor runs their threads."""

from __future__ import annotations

import ctypes
import importlib
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from miafast.ops import dispatch  # noqa: E402
from miafast.ops.cuda.source import OPTIONS, source, stream_of  # noqa: E402
from tests.as_torch import as_torch  # noqa: E402
from tests.cases import CASES, Case  # noqa: E402
from tests.interpreter import interpreted  # noqa: E402
from tests.test_ops import assert_agrees_with_the_truth  # noqa: E402

SOURCES = Path(__file__).parents[1] / "csrc" / "cuda"
HERE = Path(__file__).parent


#: Source -> the kernels in it that cases launch.
PARTS = {
    "lira_leave_one_out": [
        f"scores_kernel<{{types}}, {median_quick}, {{run}}, {{lanes}}>"
        for median_quick in ("false, false", "false, true", "true, false")
    ],
    "lira_moments": [f"moments_kernel<{{types}}, {pooling}, {{run}}, {{lanes}}>" for pooling in (1, 2, 3)],
}


def _instances(name: str, types: str, run: int, lanes: int) -> list[str]:
    return [each.format(types=types, run=run, lanes=lanes) for each in PARTS[name]]


#: Source -> the instances that the cases launch, with as few models to a thread as below.
KERNELS = {
    name: [
        kernel
        for types in ("float, float", "double, double", "Half, float", "BFloat16, float")
        for run in ((4, 16) if types == "float, float" else (4,))
        for kernel in _instances(name, types, run, 4)
    ]
    for name in PARTS
}
FEW = {"lira_leave_one_out": {"LANES": 4, "SHARING": 3, "RUN": 16, "most_shared": lambda device: 96 * 1024}}


def test_every_source_is_tested() -> None:
    assert {path.stem for path in SOURCES.glob("*.cu")} == set(KERNELS)


def _nvrtc() -> ctypes.CDLL:
    found = sorted(Path(sysconfig.get_path("purelib"), "nvidia").glob("**/libnvrtc.so*"))
    if not found:
        pytest.fail("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12 (the extra 'dev' has it)")
    return ctypes.CDLL(str(found[-1]))


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_source_compiles_for_hopper(name: str) -> None:
    nvrtc, program = _nvrtc(), ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source(name).encode(), b"", 0, None, None) == 0
    kernels = [*KERNELS[name][::3], *_instances(name, "float, float", 32, 32)]
    for kernel in kernels:
        assert nvrtc.nvrtcAddNameExpression(program, kernel.encode()) == 0
    options = [b"--gpu-architecture=sm_90", *(each.encode() for each in OPTIONS)]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert not failed, log.value.decode()
    assert nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0
    assert size.value > 1000
    for kernel in kernels:
        assert nvrtc.nvrtcGetLoweredName(program, kernel.encode(), ctypes.byref(ctypes.c_char_p())) == 0


@pytest.mark.parametrize("version", [13, 14])
def test_the_caller_s_stream_becomes_cupy_s_once(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """CuPy 14 deprecates `ExternalStream`; what it has instead may destroy the stream when it goes."""
    made = []

    def external(pointer: int, device: int) -> int:
        made.append(pointer)
        return pointer

    def from_external(stream: Any) -> int:
        return external(stream.__cuda_stream__()[1], 0)

    stream = SimpleNamespace(from_external=from_external) if version == 14 else SimpleNamespace()
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(Stream=stream)))
    if version == 13:
        sys.modules["cupy"].cuda.ExternalStream = external
    stream_of.cache_clear()
    assert [stream_of(0, 8), stream_of(0, 16), stream_of(0, 8)] == [8, 16, 8]
    assert made == [8, 16]
    stream_of.cache_clear()


HARNESS = """
#include "cuda_on_host.h"
#include "{name}.cu"
#include <utility>

template <typename... Types, std::size_t... I>
void call(void (*kernel)(Types...), void** given, std::index_sequence<I...>) {{
    kernel(*static_cast<Types*>(given[I])...);
}}

template <typename... Types>
void run(void (*kernel)(Types...), int blocks, int x, int y, void** given) {{
    launch(blocks, {{x, y}}, [=] {{ call(kernel, given, std::index_sequence_for<Types...>()); }});
}}
"""


@pytest.fixture(scope="module")
def on_host(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Stands in for `source.launch`, on tensors in main memory."""
    folder, libraries = tmp_path_factory.mktemp("kernels"), {}

    def library_of(name: str) -> ctypes.CDLL:
        text = HARNESS.format(name=name)
        for number, kernel in enumerate(KERNELS[name]):
            body = f"{{ run({kernel}, blocks, x, y, given); }}"
            text += f'extern "C" void run_{number}(int blocks, int x, int y, void** given) {body}\n'
        (folder / f"{name}.cpp").write_text(text)
        built = folder / f"{name}.so"
        command = [
            *shlex.split(os.environ.get("CXX", "c++")),
            "-std=c++20",
            "-O1",
            "-ffp-contract=fast",
            "-shared",
            "-fPIC",
            "-pthread",
            "-fsanitize=alignment",  # as a device is
            "-fsanitize-undefined-trap-on-error",
        ]
        command += ["-I", str(HERE), "-I", str(SOURCES), "-o", str(built), str(built.with_suffix(".cpp"))]
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(built))

    def launch(name: str, kernel: str, arguments: Any, *, blocks: int, threads: Any, shared: int) -> None:
        assert shared <= 1 << 20
        if name not in libraries:
            libraries[name] = library_of(name)
        given = [np.uint64(each.data_ptr()) if isinstance(each, torch.Tensor) else each for each in arguments]
        kept = [np.array(each) for each in given]
        pointers = (ctypes.c_void_p * len(kept))(*(each.ctypes.data for each in kept))
        run = getattr(libraries[name], f"run_{KERNELS[name].index(kernel)}")
        run(blocks, *(*threads, 1)[:2], pointers)

    return launch


def _every() -> Iterator[Any]:
    for op_name in sorted(FEW):
        for case in CASES[op_name][0]():
            many = case.args[0].shape[1] > 90 or "coins-float64" in case.name
            if not (case.slow or many):  # all of them run in tests/test_gpu.py
                yield pytest.param(op_name, case, id=f"{op_name}-{case.name}")


@interpreted
@pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")
@pytest.mark.parametrize(("op_name", "case"), list(_every()))
def test_kernel_agrees_with_the_truth(
    monkeypatch: pytest.MonkeyPatch, on_host: Callable[..., None], op_name: str, case: Case
) -> None:
    monkeypatch.setattr(importlib.import_module("miafast.ops.triton.lira_leave_one_out"), "LANES", 128)
    module = importlib.import_module(f"miafast.ops.cuda.{op_name}")
    for name, value in {"launch": on_host, **FEW[op_name]}.items():
        monkeypatch.setattr(module, name, value)
    kwargs = {name: as_torch(value) for name, value in case.kwargs.items()}
    found = getattr(module, op_name)(*map(as_torch, case.args), **kwargs)
    assert_agrees_with_the_truth(op_name, case, found)


@interpreted
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("columns", [slice(0, 32), slice(2, 36), slice(1, 40), slice(0, 40, 2), slice(0, 2)], ids=str)
def test_tiles_are_copied_from_wherever_they_lie(
    monkeypatch: pytest.MonkeyPatch, on_host: Callable[..., None], dtype: Any, columns: slice
) -> None:
    """In pieces of 16, 8 and 4 bytes or one by one, as rows are aligned; several tiles and queries for each block."""
    module, which = importlib.import_module("miafast.ops.cuda.lira_leave_one_out"), "lira_leave_one_out"
    for name, value in {"launch": on_host, "PROGRAMS": 2, "SUMMING": 2, **FEW[which]}.items():
        monkeypatch.setattr(module, name, value)
    draw = np.random.default_rng(0)
    in_mask = draw.random((12, 40)) < 0.5
    in_mask[:3], in_mask[3:6] = True, False
    for queries in (1, 2):
        shadow = draw.normal(size=(queries, 12, 40)).transpose(1, 2, 0).astype(dtype)  # a query's records are adjacent
        x, mask = torch.as_tensor(shadow.transpose(2, 0, 1).copy()).permute(1, 2, 0), torch.as_tensor(in_mask)
        for variance in ("per-record", "total"):
            found = module.lira_leave_one_out(x[:, columns], mask[:, columns], variance=variance)
            wanted = dispatch.every_op()[which].truth(
                shadow[:, columns].astype(np.float64), in_mask[:, columns], variance=variance
            )
            np.testing.assert_allclose(found.numpy(), wanted, rtol=2e-4, atol=2e-4)


@interpreted
def test_models_may_lie_2_to_31_signals_apart(monkeypatch: pytest.MonkeyPatch, on_host: Callable[..., None]) -> None:
    module, draw = importlib.import_module("miafast.ops.cuda.lira_leave_one_out"), np.random.default_rng(0)
    for name, value in {"launch": on_host, **FEW["lira_leave_one_out"]}.items():
        monkeypatch.setattr(module, name, value)
    few = draw.normal(size=(12, 8, 1)).astype(np.float16), draw.random((12, 8)) < 0.5
    few[1][:3], few[1][3:6] = True, False
    far = [np.zeros((12, 200_000_000, *each.shape[2:]), each.dtype)[:, :8] for each in few]  # memory when it is written
    for there, each in zip(far, few, strict=True):
        there[:] = each
    for variance in ("per-record", "pooled"):
        found, expected = (
            module.lira_leave_one_out(*map(torch.as_tensor, each), variance=variance) for each in (far, few)
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@interpreted
@pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")
def test_more_models_than_a_block_has_room_for_are_left_to_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("miafast.ops.cuda.lira_leave_one_out")
    monkeypatch.setattr(module, "MOST_MODELS", 8)
    monkeypatch.setattr(module, "launch", None)
    case = next(each for each in CASES["lira_leave_one_out"][0]() if each.name.startswith("ties-"))
    found = module.lira_leave_one_out(*map(as_torch, case.args), **case.kwargs)
    assert_agrees_with_the_truth("lira_leave_one_out", case, found)
