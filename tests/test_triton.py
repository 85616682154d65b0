"""Triton twins without a device: right in Triton's interpreter, compiled for Hopper, and called as they should be."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import miafast as mf  # noqa: E402
import miafast.ops.triton  # noqa: E402
from miafast import attacks  # noqa: E402
from miafast.ops import dispatch  # noqa: E402
from miafast.ops.triton import halves, narrow_mlps  # noqa: E402
from tests.as_torch import as_torch  # noqa: E402
from tests.cases import CASES, Case, bfloat16  # noqa: E402
from tests.interpreter import interpreted  # noqa: E402
from tests.test_ops import assert_agrees_with_the_truth  # noqa: E402
from tests.waiting import WAITING, NeverWaits  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # the interpreter is NumPy
OPS = sorted({module.name for module in pkgutil.iter_modules(miafast.ops.triton.__path__)} & set(CASES))
ON_LOGITS = ("logit_confidence", "signals")
ALL_TARGETS = "lira_leave_one_out"  # interpreted in float32 and on whole blocks, to be done in seconds
SORTING = ("lira", ALL_TARGETS)  # medians take seconds in the interpreter: few records are enough
#: Many programs of what other cases have a few of, or many steps: seconds in the interpreter, which tell nothing new.
MORE_OF_THE_SAME = (
    "linear_confidence-many-classes",
    "logit_confidence-threads",
    "mlp_confidence-many-models",
    "mlp_confidence-pieces",
    "mlp_confidence-weights-beyond-the-cache",
    "signals-threads",
)


def twin_of(op_name: str) -> Any:
    return getattr(importlib.import_module(f"miafast.ops.triton.{op_name}"), op_name)


def check(op_name: str, case: Case) -> None:
    args, kwargs = [*map(as_torch, case.args)], {name: as_torch(value) for name, value in case.kwargs.items()}
    with nullcontext() if op_name in WAITING else NeverWaits():
        found = twin_of(op_name)(*args, **kwargs)
    assert_agrees_with_the_truth(op_name, case, found)


def _every() -> Iterator[Any]:
    for op_name in OPS:
        for case in CASES[op_name][0]():
            sorts = op_name in SORTING and case.kwargs.get("center") == "median"
            slow = (
                (op_name == ALL_TARGETS and "-float64-" in case.name)
                or (op_name == "linear_confidence" and "specials" in case.name)  # its float64 is `signals`
                or f"{op_name}-{case.name}" in MORE_OF_THE_SAME
            )
            if not (sorts and case.args[1].shape[1] > 20) and not slow:
                marks = [pytest.mark.slow] if case.slow else []
                yield pytest.param(op_name, case, id=f"{op_name}-{case.name}", marks=marks)


def _take_larger_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miafast.ops.triton.halves.ROWS", 256)
    monkeypatch.setattr("miafast.ops.triton.narrow_mlps.TILE", narrow_mlps.Tile(64, 64, 128, 4, 1, None))


@interpreted
@pytest.mark.parametrize(("op_name", "case"), list(_every()))
def test_twin_agrees_with_the_truth(monkeypatch: pytest.MonkeyPatch, op_name: str, case: Case) -> None:
    # The interpreter's products of bfloat16 are of their bits.
    monkeypatch.setattr("miafast.ops.triton.linear_confidence.TENSOR_CORES", (torch.float16,))
    _take_larger_steps(monkeypatch)
    for name in SORTING:
        monkeypatch.setattr(importlib.import_module(f"miafast.ops.triton.{name}"), "SORTED", 128)
    monkeypatch.setattr(importlib.import_module(f"miafast.ops.triton.{ALL_TARGETS}"), "LANES", 1024)
    check(op_name, case)


@interpreted
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("variance", ["per-record", "pooled", "shrunken", "total"])
def test_all_targets_in_several_blocks(monkeypatch: pytest.MonkeyPatch, variance: str, balanced: bool) -> None:
    """Fewer programs than blocks, runs of two models, two queries, float64 and a signal that is no number."""
    leave_one_out = importlib.import_module(f"miafast.ops.triton.{ALL_TARGETS}")
    for name, value in (("ROWS", 8), ("LANES", 16), ("PROGRAMS", 2)):
        monkeypatch.setattr(leave_one_out, name, value)
    draw = np.random.default_rng(0)
    in_mask = draw.random((13, 39)) < 0.5
    in_mask[:3], in_mask[3:6] = True, False
    if balanced:
        in_mask = draw.random((13, 39)).argsort(axis=0) < 6
    phi = draw.normal(size=(13, 39, 2)) + in_mask[:, :, None]
    if variance == "per-record":
        phi[5, 7] = np.nan
        phi[2, 8, 1] = np.inf
    check(ALL_TARGETS, Case("blocks", (phi, in_mask), {"variance": variance}))


@interpreted
@pytest.mark.parametrize("balanced", [False, True])
def test_all_targets_by_medians(balanced: bool) -> None:
    draw = np.random.default_rng(1)
    for models in (5, 8):  # every parity of both sides, and one model alone
        in_mask = (
            draw.random((models, 7)).argsort(axis=0) < np.full(7, 3) if balanced else draw.random((models, 7)) < 0.5
        )
        phi = np.round(draw.normal(size=(models, 7, 1)), 1).astype(np.float32) + np.float32(100)
        check(ALL_TARGETS, Case("medians", (phi, in_mask), {"variance": "total", "center": "median"}))


@interpreted
def test_medians_without_a_model_that_is_not_finite() -> None:
    """Sorting finds the others' ranks: NaN would leave them where they are."""
    draw = np.random.default_rng(1)
    in_mask = draw.random((13, 6)).argsort(axis=0) < 6
    phi = draw.normal(size=(13, 6, 1))
    phi[4, :4, 0] = np.nan, np.inf, -np.inf, np.nan
    check(ALL_TARGETS, Case("medians", (phi, in_mask), {"variance": "per-record", "center": "median"}))


def _first_records() -> Iterator[Any]:
    """Cases on logits, cut to few records: in chunks every record is a program of its own."""
    for op_name in ON_LOGITS:
        for case in CASES[op_name][0]():
            logits, labels = case.args
            cut = Case(case.name, (logits[..., :7, :], labels[:7]))
            if logits.ndim == 2 and cut.args[0].size < 4000 and not case.name.endswith("-records"):
                yield pytest.param(op_name, cut, id=f"{op_name}-{case.name}")


@interpreted
@pytest.mark.parametrize(("op_name", "case"), list(_first_records()))
def test_chunks_agree_with_the_truth(monkeypatch: pytest.MonkeyPatch, op_name: str, case: Case) -> None:
    rows = importlib.import_module("miafast.ops.triton.rows")
    for name, value in (("LARGEST_TILE", 0), ("LANES", 32), ("DEEP", 2)):
        monkeypatch.setattr(rows, name, value)
    check(op_name, case)


@interpreted
@pytest.mark.parametrize("op_name", ON_LOGITS)
@pytest.mark.parametrize("classes", [4097, 8192])
def test_many_classes(op_name: str, classes: int) -> None:
    draw = np.random.default_rng(classes)
    logits, labels = draw.normal(0, 4, (3, classes)).astype(np.float32), np.array([0, classes - 1, 7])
    check(op_name, Case("float32", (logits, labels)))
    check(op_name, Case("bfloat16", (bfloat16(logits)[:, 1:], labels % 100)))


@pytest.mark.parametrize("op_name", OPS)
def test_contracts_take_every_case_on_a_device(op_name: str) -> None:
    """They see shapes and dtypes alone there: PyTorch's meta device has as much."""
    which = dispatch.every_op()[op_name]
    for case in CASES[op_name][0]():
        args, kwargs = map(_on_meta, case.args), {name: _on_meta(value) for name, value in case.kwargs.items()}
        if which.contract is not None:
            which.contract(*args, **kwargs)


def _on_meta(value: Any) -> Any:
    return dispatch._outline(as_torch(value, "meta"))


@interpreted
@pytest.mark.parametrize("op_name", ["rmia", "population_share"])
def test_columns_on_a_device_that_name_no_record_are_of_nobody(op_name: str) -> None:
    phi = torch.arange(9.0)[None, :, None].repeat(2, 1, 1)
    population = torch.tensor([[2.5, 3.5, 5.0, 6.5]]).repeat(2, 1)
    outside = twin_of(op_name)(phi, population)
    changed = twin_of(op_name)(phi, population, columns=torch.tensor([-1, 9, 5, 1000])) != outside
    assert changed.any(0).tolist() == [record == 5 for record in range(9)]


@interpreted
@pytest.mark.parametrize("op_name", ON_LOGITS)
@pytest.mark.parametrize("classes", [5, 5000])
def test_labels_that_are_no_class_give_nan(op_name: str, classes: int) -> None:
    logits = torch.randn(4, classes, generator=torch.Generator().manual_seed(0))
    found = twin_of(op_name)(logits, torch.tensor([-1, 0, classes, 1]))
    for each in found if isinstance(found, tuple) else (found,):
        if each.dtype == torch.bool:
            assert not each[[0, 2]].any()
        else:
            assert each.isnan().tolist() == [True, False, True, False]


@interpreted
def test_lira_without_a_side_is_nan() -> None:
    phi, in_mask = torch.randn(6, 5, 1, generator=torch.Generator().manual_seed(0)), torch.ones(6, 5, dtype=torch.bool)
    for variance in ("per-record", "pooled", "shrunken", "total"):
        assert twin_of("lira")(phi[0], phi, in_mask, variance=variance).isnan().all()


def test_scores_on_a_device_are_not_looked_at() -> None:
    from miafast.attacks.unscored import explain_nan

    explain_nan(torch.zeros(2, 3, device="meta"), shadow=torch.zeros(2, 3, 1, device="meta"))


def test_priors_on_the_device_are_the_same() -> None:
    from miafast.ops import lira_tables
    from miafast.ops.triton import lira_rules

    draw = np.random.default_rng(0)
    moments = draw.gamma(2.0, 50.0, (3, 2, 4, 4))
    moments[..., 0] = np.floor(moments[..., :1, 0]) + 2
    moments[..., 1] = draw.normal(0, 20, (3, 2, 4))
    moments[0, 0, :, 0], moments[1, 1, 0, 1] = 1, np.nan
    for variance in ("per-record", "pooled", "shrunken", "total"):
        for mode in ("online", "offline"):
            prior = lira_tables.priors_of(moments, variance, mode)
            found = lira_rules.priors_of(torch.from_numpy(moments), variance, mode)
            for got, wanted in zip(found, prior, strict=True):
                np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-9)
            with np.errstate(all="ignore"):
                wanted_tables = lira_tables.tables(prior, variance, 9, np.dtype(np.float64))
            for got, wanted in zip(lira_rules.tables(found, variance, 9), wanted_tables, strict=True):
                np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-9)


def test_scores_of_no_records_are_of_the_wider_type() -> None:
    target, shadow = torch.zeros(0, 1, dtype=torch.float64), torch.zeros(3, 0, 1)
    nobody = torch.zeros(3, 0, dtype=torch.bool)
    assert (
        twin_of("above_class_threshold")(target, shadow, nobody, torch.zeros(0, dtype=torch.int64)).dtype
        == torch.float64
    )


def test_rates_of_what_has_no_rank_are_nan() -> None:
    scores, is_member = torch.tensor([3.0, torch.nan, 1.0]), torch.tensor([True, False, False])
    tpr_at, nowhere = twin_of("tpr_at"), torch.zeros(3, dtype=torch.bool)
    for members in (is_member, nowhere, ~nowhere):
        assert tpr_at(scores if members is is_member else scores.nan_to_num(), members, [0.5, 1.0]).isnan().all()
    assert tpr_at(scores[:0], is_member[:0], [0.5]).isnan().all()
    assert tpr_at(scores.nan_to_num(), is_member, torch.tensor([0.0, 1.0])).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="scores holds 1 NaN"):
        twin_of("roc_counts")(scores, is_member)


def test_leading_axes_are_walked_without_a_copy() -> None:
    rows = importlib.import_module("miafast.ops.triton.rows")
    logits = torch.zeros(3, 4, 5, 6, 7)
    views = (logits, logits[:, :1], logits[:, :, ::2], logits.permute(1, 0, 2, 3, 4))
    for view, expected in zip(views, (1, 3, 12, 12), strict=True):
        parts = list(rows.parts(view, torch.zeros(view.shape[:-1])))
        assert len(parts) == expected
        assert {part.untyped_storage().data_ptr() for part, _ in parts} == {logits.untyped_storage().data_ptr()}
        assert sum(part.numel() for part, _ in parts) == view.numel()


@interpreted
def test_halves_of_a_row_are_the_row() -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(2, 40, 70)) * 10.0 ** draw.integers(-30, 30, (2, 40, 1)) * (draw.random((2, 40, 70)) < 0.8)
    rows[0, 5], rows[0, 6] = 0.0, np.round(rows[0, 6])
    rows[1, 0, 3], rows[1, 1, 69] = np.nan, -np.inf
    values = torch.from_numpy(rows.astype(np.float32))
    high, low = torch.full((2, 2, 64, 128), 9, dtype=torch.float16)
    scale, rest = torch.full((2, 2, 64), 9.0)
    halves.halves(values, high, low, scale, rest)
    found = (high.double() + low.double()) * scale[:, :, None].double()
    error = (found[:, :40, :70] - values.double()).abs()
    size = values.double().abs()
    allowed = torch.maximum(size * 2.0**-23, size.amax(-1, keepdim=True) * 2.0**-39)
    whole = size.amax(-1) < torch.inf
    assert (error <= allowed)[whole].all()
    assert scale[:, :40].isnan().tolist() == (~whole).tolist()
    assert high[:, 40:].count_nonzero() == high[:, :, 70:].count_nonzero() == scale[:, 40:].count_nonzero() == 0
    torch.testing.assert_close(rest, low.float().abs().amax(-1))


@interpreted
def test_only_models_that_diverged_are_left_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the kernel of float32 products, narrow perceptrons are as before where they are finite."""
    every = {case.name: case for case in CASES["mlp_confidence"][0]()}
    kernel = mock.MagicMock()
    monkeypatch.setattr(narrow_mlps, "plain_kernel", kernel)
    _take_larger_steps(monkeypatch)
    for name in ("three-layers", "bits", "huge-hidden", "tiny-hidden"):
        check("mlp_confidence", every[name])
    twin_of("mlp_confidence")(*map(as_torch, every["not-finite"].args), **every["not-finite"].kwargs)
    done = kernel.__getitem__.return_value.call_args.args[6]
    assert done.unflatten(0, (3, -1)).bool().all(1).tolist() == [
        True,
        False,
        True,
    ]  # the last's bias is infinite, no weight


def test_every_kernel_compiles_for_hopper(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.sm90", *OPS],
        capture_output=True,
        text=True,
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        cwd=Path(__file__).parent.parent,
    )
    assert ran.returncode == 0, ran.stderr
    assert [line.split()[0] for line in ran.stdout.splitlines()] == OPS
    launched = {each.split(":")[0] for line in ran.stdout.splitlines() for each in line.split()[1:]}
    assert launched == {f"{each.name}.{kernel}" for each in _modules() for kernel in _kernels(each.name)}


def _modules() -> Iterator[pkgutil.ModuleInfo]:
    return pkgutil.iter_modules(miafast.ops.triton.__path__)


def _kernels(module_name: str) -> set[str]:
    """By their names, the kernels in a file."""
    module = importlib.import_module(f"miafast.ops.triton.{module_name}")
    return {name for name, value in vars(module).items() if name.endswith("_kernel") and hasattr(value, "fn")}


def test_arrays_on_two_devices_are_an_error_that_names_them() -> None:
    logits, labels = torch.zeros(3, 2, device="meta"), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="logits is on meta, labels is on cpu; nothing moves between devices"):
        mf.logit_confidence(logits, labels)


def test_a_device_without_a_backend_says_so() -> None:
    with pytest.raises(ValueError, match=r"logit_confidence cannot run on arrays on meta .*\.cpu\(\)"):
        mf.logit_confidence(torch.zeros(3, 2, device="meta"), torch.zeros(3, dtype=torch.int64, device="meta"))
    with mf.backend("triton"), pytest.raises(RuntimeError, match=r"'triton'.* on arrays on cpu .*nothing moves"):
        mf.logit_confidence(np.zeros((3, 2)), np.zeros(3, np.int64))


def test_backends_say_why_there_is_no_device() -> None:
    found = mf.backends()
    assert found["mlp_steps"]["triton"] == "no such twin"
    if not torch.cuda.is_available():
        assert found["logit_confidence"]["triton"].startswith("no CUDA device: torch ")


def test_contracts_see_shapes_and_dtypes_of_arrays_on_a_device() -> None:
    outline = dispatch._outline(torch.zeros(2**20, 2**20, dtype=torch.bfloat16, device="meta"))
    assert outline.shape == (2**20, 2**20)
    assert outline.dtype == dispatch.BFLOAT16
    assert isinstance(outline, dispatch.Outline)
    assert dispatch._outline(torch.zeros(3, dtype=torch.bool, device="meta")).dtype == np.bool_


@interpreted
def test_every_attack_scores_tensors_on_a_device_as_it_scores_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that attacks do to signals around their ops works on tensors; here ops are their device twins."""
    draw = np.random.default_rng(0)
    in_mask = draw.random((9, 40)).argsort(axis=0) < 5
    phi = draw.normal(size=(9, 40, 2)) + in_mask[:, :, None]
    loss, noisy, labels = np.log1p(np.exp(-phi)), draw.exponential(size=(9, 40, 6)), np.arange(40) % 3
    wanted = [
        (mf.LiRA(queries="multivariate"), {}), (mf.LiRA(queries="multivariate", mode="offline"), {}),
        (mf.LiRA.released_code(), {}), (mf.LiRA(), {}), (mf.RMIA(), {}), (mf.Threshold(), {}),
        (attacks.Watson(), {}), (attacks.Sablayrolles(), {}), (attacks.AttackP(), {}), (attacks.AttackR(), {}),
        (attacks.AttackR("linear"), {}), (attacks.AttackR("logit"), {}), (attacks.BASE(), {}), (attacks.RaMIA(), {}),
        (attacks.Confidence("class-wise"), {"labels": labels}), (attacks.Merlin(), {"noisy_loss": noisy}),
        (attacks.Morgan(fpr=0.2), {"noisy_loss": noisy}), (attacks.Long(), {"logits": draw.normal(size=(9, 40, 5))}),
    ]  # fmt: skip
    expected = [each.score_all(loss if "noisy_loss" in more else phi, in_mask, **more) for each, more in wanted]

    def on_device(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.contract is not None:
            self.contract(*map(_seen, args), **{name: _seen(value) for name, value in kwargs.items()})
        return twin_of(self.name)(*args, **kwargs)

    monkeypatch.setattr(dispatch.Op, "__call__", on_device)
    for (attack, more), scores in zip(wanted, expected, strict=True):
        signals = torch.from_numpy(loss if "noisy_loss" in more else phi)
        given = {name: torch.from_numpy(value) for name, value in more.items()}
        found = attack.score_all(signals, torch.from_numpy(in_mask), **given)
        np.testing.assert_allclose(found.numpy(), scores, rtol=1e-5, atol=1e-6, err_msg=attack.name)


def _seen(value: Any) -> Any:
    """What a contract sees of a tensor on a device."""
    if not isinstance(value, torch.Tensor):
        return value
    return np.broadcast_to(np.zeros((), value.numpy().dtype).view(dispatch.Outline), tuple(value.shape), subok=True)
