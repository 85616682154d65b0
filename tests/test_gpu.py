"""Twins on a CUDA device: right, on the caller's stream, without waiting for the device, and for huge arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import miafast as mf  # noqa: E402
from miafast.attacks import ATTACKS  # noqa: E402
from miafast.ops import dispatch  # noqa: E402
from tests.as_torch import as_torch  # noqa: E402
from tests.cases import CASES, Case  # noqa: E402
from tests.test_ops import assert_agrees_with_the_truth  # noqa: E402
from tests.waiting import WAITING  # noqa: E402

if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.gpu


def _every() -> Iterator[Any]:
    for op_name, (make, _) in sorted(CASES.items()):
        for case in make():
            for where in dispatch.BACKENDS["cuda"]:
                yield pytest.param(op_name, case, where, id=f"{op_name}-{case.name}-{where}")


def _skip_without_twin(op_name: str, where: str) -> Any:
    which = dispatch.every_op()[op_name]
    if (reason := dispatch.find_twin(which, where)[1]) != "":
        pytest.skip(reason)
    return which


def _on_device(case: Case) -> tuple[tuple[Any, ...], dict[str, Any]]:
    kwargs = {name: as_torch(value, "cuda") for name, value in case.kwargs.items()}
    return tuple(as_torch(each, "cuda") for each in case.args), kwargs


def _on_host(result: Any) -> Any:
    return tuple(each.cpu() for each in result) if isinstance(result, tuple) else result.cpu()


@pytest.mark.parametrize(("op_name", "case", "where"), list(_every()))
def test_twin_agrees_with_the_truth(op_name: str, case: Case, where: str) -> None:
    which = _skip_without_twin(op_name, where)
    args, kwargs = _on_device(case)
    with mf.backend(where):
        got = which(*args, **kwargs)
    for each in got if isinstance(got, tuple) else (got,):
        assert each.device == args[1 if args[0] is None else 0].device
    assert_agrees_with_the_truth(op_name, case, _on_host(got))


@pytest.mark.parametrize("where", dispatch.BACKENDS["cuda"])
@pytest.mark.parametrize("op_name", sorted(set(CASES) - WAITING))
def test_no_op_waits_for_the_device(op_name: str, where: str) -> None:
    which = _skip_without_twin(op_name, where)
    for case in CASES[op_name][0]():
        args, kwargs = _on_device(case)
        with mf.backend(where):
            which(*args, **kwargs)  # compiles, and fills what is kept between calls
            torch.cuda.set_sync_debug_mode("error")
            try:
                which(*args, **kwargs)
            finally:
                torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("where", dispatch.BACKENDS["cuda"])
@pytest.mark.parametrize("op_name", sorted(CASES))
def test_the_caller_s_stream_is_used(op_name: str, where: str) -> None:
    """A graph captured on a side stream holds every launch; one on another stream would break the capture."""
    if op_name in WAITING:
        pytest.skip("waits for the device")
    which = _skip_without_twin(op_name, where)
    case = max(CASES[op_name][0](), key=lambda each: 0 if each.slow else max(np.size(value) for value in each.args))
    args, kwargs = _on_device(case)
    with mf.backend(where):
        expected = _on_host(which(*args, **kwargs))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with mf.backend(where), torch.cuda.graph(graph, stream=side):
        got = which(*args, **kwargs)
    graph.replay()
    torch.cuda.synchronize()
    for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in (got, expected)), strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=0, atol=0, equal_nan=True)


def test_cupy_arrays_share_memory_and_stream() -> None:
    cupy = pytest.importorskip("cupy")
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(1000, 10)).astype(np.float32), draw.integers(0, 10, 1000).astype(np.int32)
    expected = mf.signals(logits, labels)
    with cupy.cuda.Stream(non_blocking=True):
        for turned in (slice(None), slice(None, None, -1)):
            found = mf.signals(cupy.asarray(logits)[turned], cupy.asarray(labels)[turned])
            for got, wanted in zip(found, expected, strict=True):
                assert isinstance(got, cupy.ndarray)
                assert got.dtype == wanted.dtype
                np.testing.assert_allclose(cupy.asnumpy(got), wanted[turned], rtol=2e-5, atol=2e-6)


ON_PHI = [
    each
    for each in (make() for make in ATTACKS.values())
    if each.signals == ("phi",) and not getattr(each, "labels", False)
]


@pytest.mark.parametrize("attack", ON_PHI, ids=lambda attack: attack.name)
def test_attacks_score_signals_where_they_are(attack: Any) -> None:
    draw = np.random.default_rng(0)
    in_mask = draw.random((12, 300)) < 0.5
    in_mask[:2], in_mask[2:4] = True, False
    phi = draw.normal(size=(12, 300)) + 2.0 * in_mask
    found = attack.score_all(as_torch(phi, "cuda"), as_torch(in_mask, "cuda"))
    assert found.is_cuda
    np.testing.assert_allclose(found.cpu().numpy(), attack.score_all(phi, in_mask), rtol=1e-6, atol=1e-6)


def test_arrays_on_host_and_device_are_an_error() -> None:
    with pytest.raises(ValueError, match="logits is on cuda:0, labels is on cpu; nothing moves between devices"):
        mf.logit_confidence(torch.zeros(3, 2, device="cuda"), np.zeros(3, np.int64))


@pytest.mark.slow
@pytest.mark.parametrize(("records", "classes"), [(230_000_000, 10), (43_000, 50_257)])
def test_more_than_2_to_31_logits(records: int, classes: int) -> None:
    logits = torch.zeros(records, classes, dtype=torch.bfloat16, device="cuda")
    labels = torch.arange(records, device="cuda", dtype=torch.int32) % classes
    logits[torch.arange(records, device="cuda"), labels.long()] = (torch.arange(records, device="cuda") % 7).bfloat16()
    expected = torch.arange(records, device="cuda").remainder(7).float() - float(np.log(classes - 1))
    for found in (mf.logit_confidence(logits, labels), mf.signals(logits, labels).phi):
        assert float((found - expected).abs().max()) < 1e-4


@pytest.mark.slow
def test_more_than_2_to_31_logits_class_by_class() -> None:
    logits = torch.zeros(10, 230_000_000, dtype=torch.bfloat16, device="cuda")
    logits[3] = 2.0
    found = mf.logit_confidence(logits.T, torch.full((230_000_000,), 3, device="cuda"))
    assert float((found - (2 - float(np.log(9)))).abs().max()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("where", dispatch.BACKENDS["cuda"])
def test_more_than_2_to_31_signals(where: str) -> None:
    """The last records are scored as they are alone: each has its own variance."""
    leave_one_out, alone = _skip_without_twin("lira_leave_one_out", where), slice(-50, None)
    models, records = 64, 34_000_000
    in_mask = torch.randint(0, 2, (models, records), dtype=torch.uint8, device="cuda").bool()
    shadow = torch.randn(models, records, 1, dtype=torch.float16, device="cuda")
    options = {"variance": "per-record"}
    few = shadow[:, alone].contiguous(), in_mask[:, alone].contiguous()
    with mf.backend(where):
        found = leave_one_out(shadow, in_mask, **options)[:, alone].clone()
        torch.testing.assert_close(found, leave_one_out(*few, **options), rtol=1e-5, atol=1e-5)
    one_target = dispatch.every_op()["lira"]
    found = one_target(shadow[0], shadow, in_mask, **options)[alone]
    torch.testing.assert_close(found, one_target(few[0][0], *few, **options), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_head_of_50_257_classes_keeps_no_logits(dtype: Any) -> None:
    features = torch.randn(2000, 256, device="cuda").to(dtype)
    weight = torch.randn(50_257, 256, device="cuda").div_(16).to(dtype)
    labels = torch.arange(2000, device="cuda") * 25
    mf.linear_confidence(features, weight, None, labels)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = mf.linear_confidence(features, weight, None, labels)
    assert torch.cuda.max_memory_allocated() - before < 2000 * 50_257 * 4 // 100
    expected = mf.logit_confidence(features[:100].double() @ weight.double().T, labels[:100])
    torch.testing.assert_close(found.phi[:100].double(), expected, rtol=1e-4, atol=1e-4)
