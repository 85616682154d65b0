"""Training on a device: the same path on the processor's tensors, and on a CUDA device where there is one."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import miafast as mf  # noqa: E402
from miafast.shadow import (  # noqa: E402
    Recipe,
    capture,
    membership,
    mlp_gradient,
    optimiser,
    order,
    recipe_for,
    resident,
    stack_size,
    stacked,
    steps,
    train,
)
from miafast.shadow.augment import Augment  # noqa: E402
from miafast.shadow.batches import Batches  # noqa: E402
from miafast.shadow.capture import Captured  # noqa: E402
from miafast.shadow.mlp import train_mlps  # noqa: E402
from miafast.shadow.modules import build  # noqa: E402
from miafast.shadow.optimiser import Leaf, corrections, plain_update  # noqa: E402
from miafast.shadow.order import Order, raw_draws  # noqa: E402
from miafast.shadow.random import stream  # noqa: E402
from miafast.shadow.resident import Resident  # noqa: E402
from miafast.shadow.single import Place, fresh  # noqa: E402
from miafast.shadow.stacked import Stack, train_stack  # noqa: E402
from tests.interpreter import interpreted  # noqa: E402
from tests.test_shadow import RECIPES, Branching, Count, Normalised, blobs, pictures, unequal_mask  # noqa: E402

CPU = torch.device("cpu")
PERCEPTRONS = ("logistic", "plain", "dropout", "smoothed", "momentum", "nesterov", "adamw", "bfloat16")
gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # the interpreter is NumPy
]


def bits(records: int = 200) -> mf.Records:
    """Bits, 13 to a record: no whole number of words."""
    draw = np.random.default_rng(0)
    return mf.Records(draw.random((records, 13)) < 0.5, draw.integers(0, 3, records), classes=3)


def test_draws_are_numpys() -> None:
    keys = np.stack([stream(3, model, "batches").state["state"]["key"] for model in range(3)])
    begin = torch.tensor([[0], [5], [1_000_002]])
    found = raw_draws(torch.as_tensor(keys.view(np.int64)), begin, 37).numpy().view(np.uint64)
    for model, start in enumerate(begin[:, 0].tolist()):
        np.testing.assert_array_equal(found[model], stream(3, model, "batches").random_raw(start + 37)[start:])


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside, our kernels run on the processor's tensors, in Triton's interpreter."""
    for module in (resident, mlp_gradient, optimiser, order, stacked):
        monkeypatch.setattr(module, "kernels_run_on", lambda device: True)


@pytest.mark.parametrize("fused", [False, pytest.param(True, marks=interpreted)], ids=["plain", "kernel"])
def test_batches_are_those_of_the_processor(fused: bool, request: pytest.FixtureRequest) -> None:
    if fused:
        request.getfixturevalue("kernels")
    recipe, rows = Recipe(batch_size=7, epochs=5), [np.arange(3, 3 + count) for count in (40, 23, 7)]
    drawn = [Batches(recipe, each, seed=1, model=model) for model, each in enumerate(rows)]
    order = Order(rows, size=7, seed=1, models=[0, 1, 2], device=CPU)
    for begin, count in ((0, 5), (5, 11), (16, 3)):  # blocks that cut epochs anywhere
        expected = np.stack([each.draw(count) for each in drawn], axis=1)
        np.testing.assert_array_equal(order.at(begin, count).numpy(), expected)


KINDS = pytest.mark.parametrize(
    "records", [bits(), dataclasses.replace(bits(), scale=3.0, shift=-1.0), blobs(), pictures()],
    ids=["bits", "scaled bits", "floats", "images"],
)  # fmt: skip


@KINDS
def test_inputs_are_those_of_the_records(records: mf.Records) -> None:
    which = torch.tensor([[3, 0, 3], [7, 9, 1]])
    found = Resident(records, "cpu").inputs(which)
    assert found.shape == (2, 3, *records.shape)
    torch.testing.assert_close(found.flatten(0, 1), torch.from_numpy(records.inputs(which.flatten().numpy())))
    halves = Resident(records, "cpu").inputs(which[0], torch.bfloat16)
    torch.testing.assert_close(halves, found[0].bfloat16())


def test_bits_are_eight_to_a_byte_and_train_the_models_that_numbers_train() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.random((200, 1000)) < 0.5, draw.integers(0, 3, 200)
    recipe, rows = Recipe(epochs=2, batch_size=16), [np.arange(150), np.arange(50, 200)]
    weights, sizes = [], []
    for inputs in (x, x.astype(np.uint8), x.astype(np.float32)):
        records = mf.Records(inputs, y, classes=3)
        data = Resident(records, "cpu")
        stack = Stack([fresh(recipe, records, seed=0, model=model) for model in (0, 1)], "cpu")
        train_stack(recipe, data, rows, stack, seed=0, models=[0, 1], progress=Count())
        weights.append(stack.weights)
        sizes.append(data.nbytes)
    assert sizes == [200 * 128, 200 * 128, 200 * 4000]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", PERCEPTRONS)
@pytest.mark.parametrize("records", [bits(), blobs()], ids=["bits", "floats"])
def test_the_device_s_path_trains_the_models_of_the_processor_s(name: str, records: mf.Records) -> None:
    recipe, mask, models = RECIPES[name], unequal_mask(records), [6, 4, 0]
    rows = [np.flatnonzero(mask[model]) for model in models]
    stack = Stack([fresh(recipe, records, seed=3, model=model) for model in models], "cpu")
    native = train_mlps(recipe, records, rows, stack.weights, seed=3, models=models, progress=Count())
    how = train_stack(recipe, Resident(records, "cpu"), rows, stack, seed=3, models=models, progress=Count())
    assert how == "eager"
    assert float((native - Stack([build(recipe, records.shape, 3, seed=3, model=m) for m in models], "cpu").weights)
                 .abs().max()) > 1e-2  # fmt: skip
    tolerance = 3e-2 if name == "bfloat16" else 1e-4
    torch.testing.assert_close(stack.weights, native, rtol=tolerance, atol=tolerance)


def test_finished_models_wait_for_the_others_unchanged() -> None:
    records, recipe = blobs(), RECIPES["nesterov"]
    rows = [np.arange(150), np.arange(40)]
    both = Stack([fresh(recipe, records, seed=0, model=model) for model in (0, 1)], "cpu")
    alone = Stack([fresh(recipe, records, seed=0, model=1)], "cpu")
    data = Resident(records, "cpu")
    train_stack(recipe, data, rows, both, seed=0, models=[0, 1], progress=Count())
    train_stack(recipe, data, rows[1:], alone, seed=0, models=[1], progress=Count())
    torch.testing.assert_close(both.weights[1], alone.weights[0], rtol=1e-5, atol=1e-5)


def test_a_place_that_served_other_models_trains_as_a_new_one() -> None:
    records = pictures()
    mask = membership(len(records), 4, seed=0)
    recipe = Recipe(
        model="conv", optimizer="sgd", learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4,
        epochs=2, batch_size=10, augment=("mirror", "shift"), dropout=0.1, schedule="triangle",
    )  # fmt: skip
    together = train(recipe, records, mask, models=[2, 0, 3], seed=0).logits(records.inputs())
    alone = train(recipe, records, mask, models=[3], seed=0).logits(records.inputs())
    assert torch.equal(together[2], alone[0])


@pytest.mark.parametrize("model", ["conv", "resnet9"])
def test_places_agree_with_a_plain_pytorch_loop(model: str) -> None:
    records, rows = pictures(40), np.arange(24)
    recipe = dataclasses.replace(
        recipe_for(records, model=model), batch_size=8, epochs=1, dtype="float32", schedule="linear", learning_rate=0.02
    )
    module = build(recipe, records.shape, records.classes, seed=4, model=1)
    optimizer = torch.optim.SGD(module.parameters(), 0.02, 0.9, weight_decay=5e-4, nesterov=True)
    batches, augment = Batches(recipe, rows, seed=4, model=1), Augment(recipe.augment, seed=4, model=1)
    for rate, which in zip(batches.rates, batches.draw(batches.steps), strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        optimizer.zero_grad()
        logits, y = module(augment(torch.from_numpy(records.inputs(which)))), torch.from_numpy(records.y[which])
        nn.functional.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing).backward()
        optimizer.step()
    mask = np.arange(40) < np.array([[12], [24]])
    models = train(recipe, records, mask, models=[0, 1], seed=4)
    assert models.how == "one at a time"
    expected = module.eval()(torch.from_numpy(records.inputs())).detach()
    torch.testing.assert_close(models.logits(records.inputs())[1], expected, rtol=1e-3, atol=1e-3)


def test_calls_before_a_capture_leave_no_trace_however_few_steps_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """They run on: a model with fewer steps than calls must have tensors for all of them."""
    records, mask = blobs(), np.arange(200) < 5 + np.arange(2)[:, None]
    recipes = [dataclasses.replace(RECIPES[name], epochs=1) for name in ("module", "alone")]

    def logits() -> list[Any]:
        made = [train(recipe, records, mask, models=[0, 1], seed=0) for recipe in recipes]
        return [each.logits(records.inputs()) for each in made]

    def called(function: Any, device: Any) -> Captured:
        for _ in range(capture.WARM_UPS):
            function()
        return Captured(function, str(device), False)

    expected = logits()
    monkeypatch.setattr(steps, "captured", called)
    for found, wanted in zip(logits(), expected, strict=True):
        assert torch.equal(found, wanted)


def test_resnet9_has_the_parameters_of_its_source() -> None:
    module = build(Recipe(model="resnet9"), (3, 32, 32), 10, seed=0, model=0)
    assert sum(each.numel() for each in module.parameters()) == 6_573_120


class TestOnMeta:
    """Steps on PyTorch's meta device: tensors without values, so whatever reads one back or mixes devices raises."""

    @pytest.fixture(autouse=True)
    def meta(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def called_twice(function: Any, device: Any) -> Captured:
            function()
            function()
            return Captured(function, str(device), False)

        monkeypatch.setattr(steps, "captured", called_twice)
        monkeypatch.setitem(steps._BLOCK_NUMBERS, "meta", 1 << 12)
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # has no meta

    @pytest.mark.parametrize("name", ["dropout", "bfloat16", "module"])
    def test_steps_of_stacks_stay_on_the_device(self, name: str) -> None:
        records, recipe = bits(), RECIPES[name]
        stack = Stack([fresh(recipe, records, seed=3, model=model) for model in (0, 1)], "meta")
        rows = [np.arange(60), np.arange(40)]
        how = train_stack(recipe, Resident(records, "meta"), rows, stack, seed=3, models=[0, 1], progress=Count())
        assert (how, stack.weights.device.type) == ("meta", "meta")

    def test_steps_of_modules_stay_on_the_device(self) -> None:
        records = pictures()
        recipe = dataclasses.replace(recipe_for(records), batch_size=10, augment=("mirror", "shift"))
        place = self.place(recipe, records)
        place.put(fresh(recipe, records, seed=0, model=1))
        assert list(place.taken(np.arange(30), seed=0, model=1))[:2] == [1, 1]
        trained = place.take(fresh(recipe, records, seed=0, model=1))
        assert {each.device.type for each in trained.parameters()} == {"meta"}

    def test_a_module_that_reads_back_is_caught(self) -> None:
        with pytest.raises(RuntimeError, match="meta"):
            self.place(Recipe(model=Branching, batch_size=10), blobs())

    def place(self, recipe: Recipe, records: mf.Records) -> Place:
        data = Resident(records, "meta")
        return Place(recipe, data, fresh(recipe, records, seed=0, model=0), batch=10, steps=3)


KERNEL = """
import torch
from miafast.shadow.mlp_kernel import mlp_step
from miafast.shadow.optimiser import Leaf
from miafast.shadow.optimiser_kernel import update
from miafast.shadow.order_kernel import sortable
from miafast.shadow.recipe import Recipe
from miafast.shadow.resident import Packed
from miafast.shadow.resident_kernel import taken
from tests.sm90 import compile_only
with compile_only() as found:
    y, packed = torch.zeros(2, 30, dtype=torch.int64), torch.zeros(9, 24, dtype=torch.uint8)
    shapes = (2, 128, 190), (2, 128), (2, 100, 128), (2, 100)
    leaves = [Leaf.at(torch.zeros(shape), torch.bfloat16) for shape in shapes]
    for x in (torch.zeros(2, 30, 190, dtype=torch.bfloat16), Packed(packed, y, 0.0, 1.0)):
        for recipe in (Recipe(), Recipe(activation="tanh", dropout=0.1, optimizer="sgd", momentum=0.9)):
            mlp_step(recipe, leaves, x, y, torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2), torch.ones(2))
    sortable(torch.zeros(3, 2, dtype=torch.int64), *torch.ones(2, 3, 1, dtype=torch.int64), epochs=2, width=900)
    for rows, bits in ((torch.zeros(9, 8, dtype=torch.uint8), True), (torch.zeros(9, 64), False)):
        for dtype in (torch.float32, torch.bfloat16):
            taken(rows, torch.zeros(5, dtype=torch.int64), features=60, bits=bits, scale=2.0, shift=1.0, dtype=dtype)
    for kind in ("sgd", "adam", "adamw"):
        for dtype in (torch.float32, torch.bfloat16):
            leaf = Leaf.at(torch.zeros(2, 40, 50), dtype)
            update(Recipe(optimizer=kind), leaf, torch.zeros(2, 40, 50, dtype=dtype), torch.zeros(2), torch.ones(2))
print(*sorted(found))
"""


def test_training_s_kernels_compile_for_hopper() -> None:
    pytest.importorskip("triton")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", KERNEL], env=environment, capture_output=True, text=True)
    expected = "mlp_kernel._back mlp_kernel._layer mlp_kernel._learn mlp_kernel._loss_slope optimiser_kernel._step "
    expected += "order_kernel._sortable resident_kernel._take"
    assert done.stdout.strip() == expected, done.stderr


@interpreted
@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.usefixtures("kernels")
def test_a_batch_s_kernel_gives_the_inputs_of_pytorch_s_operations(records: mf.Records, dtype: Any) -> None:
    which = torch.tensor([[3, 0, 3], [7, 9, 1]])
    found = Resident(records, "cpu").inputs(which, dtype)
    expected = torch.from_numpy(records.inputs(which.flatten().numpy())).to(dtype).unflatten(0, (2, 3))
    torch.testing.assert_close(found, expected, rtol=1e-6 if dtype == torch.float32 else 1e-2, atol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("fused", [False, pytest.param(True, marks=interpreted)], ids=["plain", "kernel"])
@pytest.mark.parametrize("classes", [1, 2, 37, 3000])
def test_the_loss_s_slope_is_autograd_s(classes: int, fused: bool, smoothing: float) -> None:
    if fused:
        from miafast.shadow.mlp_kernel import loss_slope
    else:
        from miafast.shadow.mlp_gradient import loss_slope
    draw = torch.Generator().manual_seed(0)
    logits = (20.0 * torch.randn(3, 7, classes, generator=draw)).requires_grad_()
    y = torch.randint(classes, (3, 7), generator=draw)
    loss = nn.functional.cross_entropy(
        logits.double().flatten(0, 1), y.flatten(), label_smoothing=smoothing, reduction="sum"
    )
    (expected,) = torch.autograd.grad(loss / 7, logits)
    torch.testing.assert_close(loss_slope(logits.detach(), y, smoothing), expected, rtol=1e-5, atol=1e-7)
    halves = logits.detach().bfloat16()
    found = loss_slope(halves, y, smoothing)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, loss_slope(halves.float(), y, smoothing).bfloat16())


@interpreted
@pytest.mark.parametrize(("name", "packed"), [
    *((name, False) for name in ("logistic", "dropout", "tanh", "wide", "smoothed", "momentum", "nesterov", "adamw")),
    *((name, True) for name in ("logistic", "tanh", "wide", "momentum", "nesterov")),  # more train on bits below
])  # fmt: skip
def test_a_perceptron_s_step_in_kernels_is_the_gradient_and_the_optimiser_s(name: str, packed: bool) -> None:
    from miafast.shadow.mlp_kernel import mlp_step

    more = {"tanh": Recipe(activation="tanh", dropout=0.3, hidden=(9, 20)), "wide": Recipe(hidden=(140,))}
    recipe = (RECIPES | more)[name]
    data = resident.Resident(dataclasses.replace(bits(), scale=2.0, shift=-0.5), "cpu")
    draw = torch.Generator().manual_seed(0)
    module = build(recipe, (13,), 3, seed=0, model=0)
    start = [0.3 * torch.randn(2, *each.shape, generator=draw) for each in module.parameters()]
    plain, fused = ([Leaf.at(each.clone()) for each in start] for _ in range(2))
    rates, keys = torch.tensor([0.1, 0.03]), torch.randint(2**32, (2, 2), generator=draw)
    for correction in torch.from_numpy(corrections(0, 2)):
        which, y = torch.randint(200, (2, 70), generator=draw), torch.randint(3, (2, 70), generator=draw)
        x = data.inputs(which)
        gradients = mlp_gradient.mlp_gradient(recipe, [leaf.weights for leaf in plain], x, y, keys)
        for leaf, gradient in zip(plain, gradients, strict=True):
            plain_update(recipe, leaf, gradient, rates, correction)
        mlp_step(recipe, fused, data.packed(which) if packed else x, y, keys, rates, correction)
    for one, other, before in zip(plain, fused, start, strict=True):
        assert float((one.weights - before).abs().max()) > 1e-3
        torch.testing.assert_close(other.weights, one.weights, rtol=1e-4, atol=1e-4)


@interpreted
def test_a_step_in_kernels_does_not_hide_what_is_no_number() -> None:
    """A model that diverged is told about."""
    from miafast.shadow.mlp_kernel import mlp_step

    recipe, module = RECIPES["plain"], build(RECIPES["plain"], (13,), 3, seed=0, model=0)
    x, y, keys = torch.randn(2, 9, 13), torch.zeros(2, 9, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.int64)
    x[1, 4, 2] = torch.nan
    leaves = [Leaf.at(each.detach().repeat(2, *[1] * each.ndim)) for each in module.parameters()]
    mlp_step(recipe, leaves, x, y, keys, torch.full((2,), 0.1), torch.ones(2))
    for leaf in leaves:
        assert leaf.weights[0].isfinite().all()
        assert leaf.weights[1].isnan().all()


@interpreted
@pytest.mark.parametrize("name", ["smoothed", "dropout", "adamw", "bfloat16"])
def test_kernels_train_the_models_of_pytorch_s_operations(name: str, request: pytest.FixtureRequest) -> None:
    records, recipe = bits(), dataclasses.replace(RECIPES[name], epochs=2)
    rows, found = [np.arange(70), np.arange(60, 110)], []
    for with_kernels in (False, True):
        if with_kernels:
            request.getfixturevalue("kernels")
        stack = Stack([fresh(recipe, records, seed=3, model=model) for model in (0, 1)], "cpu")
        train_stack(recipe, Resident(records, "cpu"), rows, stack, seed=3, models=[0, 1], progress=Count())
        found.append(stack.weights)
    tolerance = 6e-2 if name == "bfloat16" else 1e-5  # the interpreter cuts bfloat16 off where a device rounds
    torch.testing.assert_close(*found, rtol=tolerance, atol=tolerance)


@interpreted
@pytest.mark.parametrize("name", ["logistic", "momentum", "nesterov", "plain", "smoothed", "adamw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_optimiser_s_kernel_agrees_with_pytorch_s_operations(name: str, dtype: Any) -> None:
    from miafast.shadow.optimiser_kernel import update

    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 7, 171, generator=generator)
    plain, fused = (Leaf.at(start.clone(), dtype) for _ in range(2))
    rates = torch.tensor([0.1, 0.0, 0.02])
    for correction in torch.from_numpy(corrections(0, 4)):
        gradient = torch.randn(start.shape, generator=generator).to(dtype)
        plain_update(RECIPES[name], plain, gradient, rates, correction)
        update(RECIPES[name], fused, gradient, rates, correction)
    for one, other in zip(plain[:3], fused[:3], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fused.rounded.float(), fused.weights, rtol=2**-7, atol=0)  # the interpreter cuts off
    assert torch.equal(fused.weights[1], start[1])


def test_stacks_on_a_device_depend_on_recipe_and_records_alone() -> None:
    narrow, wide = Recipe(hidden=(128,)), Recipe(hidden=(8192, 8192))
    sizes = [stack_size(recipe, bits(), device="cuda") for recipe in (narrow, wide)]
    assert sizes == [256, 16]
    assert stack_size(recipe_for(pictures()), pictures(), device="cuda") == 16


class Noisy(nn.Module):
    """Draws from torch's global generator."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(shape[0]), nn.Linear(shape[0], classes)

    def forward(self, x: Any) -> Any:
        return self.layer(nn.functional.dropout(self.norm(x), 0.2, self.training))


@pytest.mark.parametrize("name", [pytest.param(name, marks=gpu) for name in (*PERCEPTRONS, "module", "alone")])
@pytest.mark.parametrize("records", [bits(), blobs()], ids=["bits", "floats"])
def test_a_cuda_device_trains_the_models_of_the_processor(name: str, records: mf.Records) -> None:
    mask = unequal_mask(records)
    on_cpu, on_gpu = (train(RECIPES[name], records, mask, models=range(7), seed=3, device=d) for d in ("cpu", "cuda"))
    assert "captured CUDA graph" in on_gpu.how
    found, expected = on_gpu.logits(records.inputs()).cpu(), on_cpu.logits(records.inputs())
    # Noise of 1e-6 in bits moves the logits of "alone" by 5e-3 on the processor itself.
    tolerance = {"bfloat16": 0.1, "alone": 2e-2}.get(name, 1e-3)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("recipe", [
    pytest.param(Recipe(model="conv", epochs=2, batch_size=10, augment=("mirror", "shift"), dropout=0.1), marks=gpu),
    pytest.param(Recipe(model="resnet9", optimizer="sgd", learning_rate=0.01, epochs=1, batch_size=10), marks=gpu),
], ids=["conv", "resnet9"])  # fmt: skip
def test_places_on_a_cuda_device_are_captured_and_do_not_mix(recipe: Recipe) -> None:
    records, mask = pictures(), membership(60, 6, seed=0)
    together = train(recipe, records, mask, models=range(5), seed=0, device="cuda")
    assert together.how == "one at a time, captured CUDA graph, 2 side by side"
    for model in (0, 4):
        alone = train(recipe, records, mask, models=[model], seed=0, device="cuda").logits(records.inputs())[0]
        torch.testing.assert_close(together.logits(records.inputs())[model], alone, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("module", "how"), [
    pytest.param(Branching, "one at a time, eager (", marks=gpu),
    pytest.param(Noisy, "one at a time, captured CUDA graph, 1 side by side", marks=gpu),
    pytest.param(Normalised, "stacked (3 at once), captured CUDA graph", marks=gpu),
], ids=["waits", "draws", "stacks"])  # fmt: skip
def test_what_runs_on_a_cuda_device_is_said(module: Any, how: str) -> None:
    records, mask = blobs(), membership(200, 4, seed=0)
    recipe = Recipe(model=module, epochs=1, batch_size=16)
    models = train(recipe, records, mask, models=range(3), seed=0, device="cuda")
    assert models.how.startswith(how)
    again = train(recipe, records, mask, models=[2], seed=0, device="cuda").logits(records.inputs())[0]
    torch.testing.assert_close(models.logits(records.inputs())[2], again, rtol=1e-3, atol=1e-3)
