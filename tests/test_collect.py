"""Collect: every model is asked every record once, reduced to phi at once, in fixed chunks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from miafast import collect as stage
from miafast.queries import ask
from miafast.store import Store

torch = pytest.importorskip("torch")

from miafast.ops.dispatch import recording  # noqa: E402
from miafast.ops.linear_confidence import Confidence  # noqa: E402
from miafast.shadow import Models, membership, train, train_modules  # noqa: E402
from miafast.shadow.answers import Answers  # noqa: E402

RECORDS = mf.Records(np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32), np.arange(50) % 3, classes=3)
WEIGHTS = np.random.default_rng(1).normal(size=(5, 4, 3)).astype(np.float32)
MASK = np.random.default_rng(2).random((5, 50)) < 0.5


def linear(models: Sequence[int], forward: object = None, fused: object = None) -> Models:
    """Models that were never trained: logits = x @ weights."""
    weights = torch.from_numpy(WEIGHTS[list(models)])
    names = tuple(f"model {model}" for model in models)
    return Models(len(models), "given", names, 3, forward or (lambda x: x @ weights), "cpu", fused)


def run(folder: Path | None, trained: list[int], *, fail_at: int | None = None) -> mf.Signals:
    def make(models: Sequence[int]) -> Models:
        if fail_at in models:
            raise KeyboardInterrupt
        trained.extend(models)
        return linear(models)

    identity = {"queries": ["identity", "halve"]}
    with Store(folder, identity, in_mask=MASK, labels=RECORDS.y, layout={"phi": (2,)}) as store:
        return stage.collect(make, RECORDS, store, chunk=2, queries=["identity", lambda x: x / 2])


def test_signals_are_phi_of_every_model_record_and_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stage.BATCH_NUMBERS, "cpu", 7 * 2 * 3)  # batches of 7 records: the last one is smaller
    signals = run(None, [])
    logits = RECORDS.inputs() @ WEIGHTS
    np.testing.assert_allclose(signals.phi[:, :, 0], mf.logit_confidence(logits, RECORDS.y), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(signals.phi[:, :, 1], mf.logit_confidence(logits / 2, RECORDS.y), rtol=1e-5, atol=1e-5)
    right = logits.argmax(axis=2) == RECORDS.y
    np.testing.assert_allclose(signals.train_accuracy, [r[m].mean() for r, m in zip(right, MASK, strict=True)])
    np.testing.assert_allclose(signals.test_accuracy, [r[~m].mean() for r, m in zip(right, MASK, strict=True)])


def test_an_interrupted_run_trains_only_what_is_missing(tmp_path: Path) -> None:
    first: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, first, fail_at=3)
    second: list[int] = []
    signals = run(tmp_path, second)
    assert (first, second) == ([0, 1], [2, 3, 4])
    np.testing.assert_array_equal(signals.phi, run(None, []).phi)


def test_diverged_models_are_named() -> None:
    def diverged(x: object) -> object:
        logits = linear([0, 1]).forward(x)
        logits[1, 9] = np.nan  # type: ignore[index]
        return logits

    with pytest.raises(ValueError, match="model 1 answered NaN or infinite logits"):
        stage.measure(linear([0, 1], diverged), RECORDS, ["identity"], layout={"phi": (1,)})


def test_phi_of_diverged_models_is_refused() -> None:
    def diverged(x: np.ndarray, labels: np.ndarray) -> Confidence:
        phi = np.zeros((2, len(x)), np.float32)
        phi[1, 9] = np.nan
        return Confidence(phi, phi == 0)

    with pytest.raises(ValueError, match=r"model 11 gives NaN .* record 9"):
        stage.measure(linear([0, 1], fused=diverged), RECORDS, ["identity"], layout={"phi": (1,)}, first=10)


@pytest.mark.parametrize(
    "recipe",
    [
        mf.Recipe(model="logistic", epochs=2, batch_size=8),
        mf.Recipe(hidden=(20,), epochs=2, batch_size=8),
        mf.Recipe(hidden=(17, 9), activation="tanh", dropout=0.3, epochs=2, batch_size=8),
    ],
    ids=["logistic", "one-hidden-layer", "two-hidden-layers"],
)
def test_perceptrons_are_measured_without_logits_and_alike(recipe: mf.Recipe) -> None:
    mask = membership(len(RECORDS), 6, seed=0)
    mask[0] = np.arange(50) < 5  # fewer records than a batch: another stack
    trained = train(recipe, RECORDS, mask, models=[3, 0, 5], seed=0)

    def forward(x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("asked for logits")

    queries = ["identity", lambda x: x / 2]
    only_phi = {"phi": (len(queries),)}
    found, correct = stage.measure(dataclasses.replace(trained, forward=forward), RECORDS, queries, layout=only_phi)
    plain = dataclasses.replace(trained, fused=None)
    answers, expected_correct = stage.measure(plain, RECORDS, queries, layout=only_phi)
    phi, expected = found["phi"], answers["phi"]
    np.testing.assert_allclose(phi, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(correct, expected_correct)


def test_further_signals_are_measured_in_the_same_pass() -> None:
    layout = {"phi": (2,), "entropy": (2,), "correct": (2,), "logits": (2, 3)}
    found, correct = stage.measure(linear([0, 1]), RECORDS, ["identity", lambda x: x / 2], layout=layout)
    logits = np.stack([RECORDS.inputs() @ WEIGHTS[:2], RECORDS.inputs() @ WEIGHTS[:2] / 2], axis=2)
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-5, atol=1e-5)
    for query in (0, 1):
        expected = mf.signals(logits[:, :, query], RECORDS.y)
        np.testing.assert_allclose(found["phi"][:, :, query], expected.phi, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found["entropy"][:, :, query], expected.entropy, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found["correct"][:, :, query], expected.correct)
    np.testing.assert_array_equal(correct, found["correct"][:, :, 0])


PICTURES = mf.Records(np.random.default_rng(3).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8), RECORDS.y, classes=3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_modules_in_turns_answer_as_they_do_alone(dtype: str) -> None:
    recipe = mf.Recipe(model="conv", epochs=1, batch_size=10, dtype=dtype)
    modules = train_modules(recipe, PICTURES, membership(50, 4, seed=0), models=[0, 2, 3], seed=0)
    answers = Answers(recipe, modules, names=("a", "b", "c"), classes=3)
    x = torch.from_numpy(PICTURES.inputs())
    with torch.inference_mode():
        for rows in (slice(0, 30), slice(30, 50), slice(0, 50)):  # a smaller batch, then a larger one
            expected = torch.stack([each(x[rows]) for each in modules])
            close = 1e-5 if dtype == "float32" else 5e-2
            torch.testing.assert_close(answers(x[rows]), expected, rtol=close, atol=close)


def test_modules_in_turns_are_refused_when_they_answer_probabilities() -> None:
    sure = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3), torch.nn.Softmax(dim=1))
    with pytest.raises(ValueError, match="model 0 gives probabilities"):
        Answers(mf.Recipe(), [sure], names=("model 0",), classes=3)(torch.from_numpy(PICTURES.inputs()))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_conv_nets_answer_in_their_recipe_s_precision(dtype: str) -> None:
    recipe = mf.Recipe(model="conv", epochs=1, batch_size=10, dtype=dtype)
    models = train(recipe, PICTURES, membership(50, 4, seed=0), models=[0, 2], seed=0)
    x = torch.from_numpy(PICTURES.inputs())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        halves = torch.stack([each(x).float() for each in models.modules()])
    assert torch.equal(models.logits(x), halves) == (dtype == "bfloat16")
    torch.testing.assert_close(models.logits(x), halves, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("query", ["identity", "mirror", "shift:2,-1", "mirror+shift:-3,4"])
def test_a_device_s_batches_are_the_processor_s(query: str) -> None:
    on_cpu = linear([0])
    inputs, labels = on_cpu.reader(PICTURES)(slice(10, 30))
    read = dataclasses.replace(on_cpu, device="cpu:0").reader(PICTURES)  # a device that is not called the processor
    tensors, found = read(slice(10, 30))
    torch.testing.assert_close(ask(query, tensors), torch.from_numpy(ask(query, inputs)))
    np.testing.assert_array_equal(found.numpy(), labels)


def test_signals_of_models_on_a_device_are_the_processor_s() -> None:
    layout = {"phi": (2,), "entropy": (2,), "logits": (2, 3)}
    for asked in (layout, {"phi": (2,)}):
        both = [
            stage.measure(models, RECORDS, ["identity", lambda x: x / 2], layout=asked)
            for models in (linear([0, 1]), dataclasses.replace(linear([0, 1]), device="cpu:0"))
        ]
        for name in asked:
            np.testing.assert_allclose(both[1][0][name], both[0][0][name], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(both[1][1], both[0][1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    "recipe",
    [
        mf.Recipe(model="conv", epochs=1, batch_size=10),
        mf.Recipe(hidden=(20,), epochs=2, batch_size=8),
        mf.Recipe(hidden=(17, 9), activation="tanh", epochs=2, batch_size=8),
    ],
    ids=["conv", "one-hidden-layer", "two-hidden-layers"],
)
def test_a_cuda_device_measures_what_its_models_answer(recipe: mf.Recipe) -> None:
    trained = train(recipe, PICTURES, membership(50, 6, seed=0), models=[3, 0, 5], seed=0, device="cuda")
    with recording() as ran:
        found, _ = stage.measure(trained, PICTURES, ["identity", "mirror"], layout={"phi": (2,)})
    for column, query in enumerate(("identity", "mirror")):
        logits = trained.logits(ask(query, PICTURES.inputs())).cpu().numpy()
        expected = mf.logit_confidence(logits, PICTURES.y)
        np.testing.assert_allclose(found["phi"][:, :, column], expected, rtol=1e-3, atol=1e-3)
    assert recipe.model != "conv" or ran["inference"] == "captured CUDA graph"
