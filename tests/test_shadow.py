"""Shadow training: a model is a function of (recipe, its IN records, seed, model index), however it is trained."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import miafast as mf  # noqa: E402
from miafast import _native  # noqa: E402
from miafast.ops.mlp_steps import kept  # noqa: E402
from miafast.shadow import Recipe, membership, stack_size, train, work, wrap  # noqa: E402
from miafast.shadow.batches import Batches, learning_rates  # noqa: E402
from miafast.shadow.modules import Dropout, build  # noqa: E402
from miafast.shadow.optimiser import Leaf, Optimiser, corrections  # noqa: E402
from miafast.tables import Records  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def blobs(records: int = 200, features: int = 12, classes: int = 3, spread: float = 1.0) -> Records:
    draw = np.random.default_rng(0)
    y = draw.integers(0, classes, records)
    x = 3 * np.eye(classes, features)[y] + spread * draw.normal(size=(records, features))
    return Records(x.astype(np.float32), y, classes=classes)


def pictures(records: int = 60) -> Records:
    draw = np.random.default_rng(1)
    x = draw.integers(0, 256, (records, 3, 8, 8), dtype=np.uint8)
    y = draw.integers(0, 2, records)
    x[y == 1] //= 2
    return Records(x, y, classes=2, scale=1 / 128, shift=-1.0)


class Normalised(nn.Module):
    """A module of a user's own that stacks: residual, layer norm, dropout."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(shape[0], 16), nn.Linear(16, 16)
        self.norm, self.drop, self.last = nn.LayerNorm(16), nn.Dropout(0.2), nn.Linear(16, classes)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.first(x))
        return self.last(self.drop(self.norm(x + torch.tanh(self.second(x)))))


class WithBatchNorm(nn.Module):
    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(shape[0], 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, x: Any) -> Any:
        return self.layers(x)


class Branching(nn.Module):
    """Data-dependent control flow: vmap cannot run it."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(shape[0], classes)

    def forward(self, x: Any) -> Any:
        out = self.layer(x)
        return out * 2.0 if out.sum().item() > 0 else out


RECIPES = {
    "logistic": Recipe(model="logistic", optimizer="sgd", learning_rate=0.1, epochs=4, batch_size=16),
    "plain": Recipe(hidden=(20,), epochs=4, batch_size=16),
    "dropout": Recipe(hidden=(20, 9), epochs=4, batch_size=16, dropout=0.3, schedule="cosine"),
    "smoothed": Recipe(hidden=(20,), activation="tanh", epochs=4, batch_size=10, label_smoothing=0.2, weight_decay=0.01,
                       schedule="linear"),
    "momentum": Recipe(hidden=(20,), optimizer="sgd", learning_rate=0.05, momentum=0.9, epochs=4, batch_size=16,
                       schedule="step"),
    "nesterov": Recipe(hidden=(20,), optimizer="sgd", learning_rate=0.05, momentum=0.9, nesterov=True, epochs=4,
                       batch_size=16, weight_decay=0.01),
    "adamw": Recipe(hidden=(20,), optimizer="adamw", weight_decay=0.1, epochs=4, batch_size=16),
    "bfloat16": Recipe(hidden=(20,), epochs=4, batch_size=16, dtype="bfloat16"),
    "module": Recipe(model=Normalised, epochs=3, batch_size=16),
    "module sgd": Recipe(model=Normalised, optimizer="sgd", learning_rate=0.05, momentum=0.9, epochs=3, batch_size=16,
                         weight_decay=0.01, label_smoothing=0.1, schedule="cosine"),
    "alone": Recipe(model=WithBatchNorm, epochs=2, batch_size=16),
}  # fmt: skip


def unequal_mask(records: Records, models: int = 7) -> np.ndarray:
    """Models with different numbers of IN records, one with fewer than a batch."""
    draws = np.random.default_rng(5).random((models, len(records)))
    mask = draws < np.linspace(0.2, 0.8, models)[:, None]
    mask[2] = np.arange(len(records)) < 5
    return mask


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_model_alone_is_the_same_model_in_a_stack_of_seven(recipe: Recipe) -> None:
    records = blobs()
    mask = unequal_mask(records)
    together = train(recipe, records, mask, models=range(7), seed=3).logits(records.inputs())
    assert together.shape == (7, len(records), records.classes)
    assert together.dtype == torch.float32
    for model in (0, 2, 6):
        alone = train(recipe, records, mask, models=[model], seed=3).logits(records.inputs())[0]
        torch.testing.assert_close(alone, together[model], rtol=1e-4, atol=1e-4 * float(alone.abs().max()))
    pair = train(recipe, records, mask, models=[6, 2], seed=3).logits(records.inputs())
    torch.testing.assert_close(pair, together[[6, 2]], rtol=1e-4, atol=1e-4 * float(pair.abs().max()))


@pytest.mark.parametrize("name", ["dropout", "bfloat16", "module", "alone"])
def test_the_same_seed_repeats_bit_for_bit_and_another_does_not(name: str) -> None:
    records = blobs()
    mask = membership(len(records), 2, seed=0)
    first, again, other = (
        train(RECIPES[name], records, mask, models=[0, 1], seed=seed).logits(records.inputs()) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert float((first - other).abs().min(dim=-1).values.median()) > 1e-3
    assert float((first[0] - first[1]).abs().max()) > 1e-2


@pytest.mark.parametrize("name", ["plain", "module", "alone"])
def test_training_leaves_the_callers_random_state_alone(name: str) -> None:
    records = blobs()
    torch.manual_seed(0)
    before = torch.rand(3)
    torch.manual_seed(0)
    train(RECIPES[name], records, membership(len(records), 2, seed=0), models=[0], seed=1)
    assert torch.equal(torch.rand(3), before)


@pytest.mark.parametrize("name", ["dropout", "module", "alone"])
def test_only_in_records_influence_a_model(name: str) -> None:
    records = blobs()
    mask = membership(len(records), 2, seed=0)
    x = records.x.copy()
    x[~mask[0]] += 100.0
    changed = dataclasses.replace(records, x=x, y=np.where(mask[0], records.y, 0))
    asked = records.inputs()
    plain = train(RECIPES[name], records, mask, models=[0], seed=1).logits(asked)
    assert torch.equal(plain, train(RECIPES[name], changed, mask, models=[0], seed=1).logits(asked))
    x[np.flatnonzero(mask[0])[0]] += 5.0
    touched = dataclasses.replace(changed, x=x)
    assert not torch.equal(plain, train(RECIPES[name], touched, mask, models=[0], seed=1).logits(asked))


@pytest.mark.parametrize("name", ["logistic", "plain", "dropout", "smoothed", "momentum", "bfloat16", "module"])
def test_separable_records_are_learnt(name: str) -> None:
    records = blobs(spread=0.3)
    mask = membership(len(records), 4, seed=0)
    recipe = dataclasses.replace(RECIPES[name], epochs=12, learning_rate=0.05)
    predicted = train(recipe, records, mask, models=range(4), seed=0).logits(records.inputs()).argmax(-1)
    assert (predicted.numpy() == records.y).mean() > 0.97


@pytest.mark.parametrize("name", ["logistic", "plain", "dropout", "smoothed", "momentum", "nesterov", "adamw"])
def test_native_training_agrees_with_a_plain_pytorch_loop(name: str) -> None:
    recipe, records, model, seed = RECIPES[name], blobs(), 1, 4
    mask = membership(len(records), 2, seed=0)
    module = build(recipe, records.shape, records.classes, seed=seed, model=model)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    extra = {"momentum": recipe.momentum, "nesterov": recipe.nesterov} if recipe.optimizer == "sgd" else {}
    optimizer = kinds[recipe.optimizer](
        module.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, **extra
    )
    batches = Batches(recipe, np.flatnonzero(mask[model]), seed=seed, model=model)
    from miafast.shadow.modules import DropoutKeys

    keys = DropoutKeys(module, seed=seed, models=[model])
    for step, which in enumerate(batches.draw(batches.steps)):
        for buffer, key in zip(keys.names, keys.at(step)[0], strict=True):
            module.get_buffer(buffer).fill_(int(key))
        optimizer.param_groups[0]["lr"] = float(batches.rates[step])
        loss = nn.functional.cross_entropy(
            module(torch.from_numpy(records.inputs(which))), torch.from_numpy(records.y[which]),
            label_smoothing=recipe.label_smoothing,
        )  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    expected = module.eval()(torch.from_numpy(records.inputs())).detach()
    got = train(recipe, records, mask, models=[model], seed=seed).logits(records.inputs())[0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("isa", _native.isas())
@pytest.mark.parametrize("name", ["dropout", "smoothed", "nesterov", "bfloat16"])
def test_every_instruction_set_trains_the_same_models(name: str, isa: str) -> None:
    records = blobs(records=80)
    mask = membership(len(records), 2, seed=0)
    best = train(RECIPES[name], records, mask, models=[0, 1], seed=1).logits(records.inputs())
    _native.limit_isa(isa)
    try:
        limited = train(RECIPES[name], records, mask, models=[0, 1], seed=1).logits(records.inputs())
    finally:
        _native.limit_isa(_native.isas()[-1])
    torch.testing.assert_close(limited, best, rtol=1e-4, atol=1e-2 if name == "bfloat16" else 1e-4)


def test_the_numpy_truth_trains_the_same_models() -> None:
    records = blobs(records=80)
    mask = membership(len(records), 2, seed=0)
    native = train(RECIPES["dropout"], records, mask, models=[0, 1], seed=1).logits(records.inputs())
    with mf.backend("numpy"):
        plain = train(RECIPES["dropout"], records, mask, models=[0, 1], seed=1).logits(records.inputs())
    torch.testing.assert_close(native, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["plain", "module", "alone"])
def test_how_says_how(name: str) -> None:
    records = blobs()
    models = train(RECIPES[name], records, membership(len(records), 4, seed=0), models=range(3), seed=0)
    assert models.how == ("one at a time" if name == "alone" else "stacked (3 at once)")
    assert stack_size(RECIPES[name], records) == 1 if name == "alone" else stack_size(RECIPES[name], records) > 1


def test_what_vmap_cannot_run_is_trained_alone() -> None:
    records = blobs()
    models = train(Recipe(model=Branching, epochs=1), records, membership(200, 2, seed=0), models=[0], seed=0)
    assert models.how == "one at a time"


def test_images_train_with_augmentation_and_batch_normalisation() -> None:
    records = pictures()
    mask = membership(len(records), 2, seed=0)
    recipe = Recipe(model="conv", epochs=20, batch_size=10, augment=("mirror", "shift"), dropout=0.1)
    models = train(recipe, records, mask, models=[1, 0], seed=0)
    flipped = Recipe(model="mlp", hidden=(8,), epochs=1, batch_size=10, augment=("mirror",))
    assert train(flipped, records, mask, models=[0, 1], seed=0).how == "stacked (2 at once)"
    right = models.logits(records.inputs()).argmax(-1).numpy() == records.y
    assert right[0, mask[1]].mean() > 0.8
    assert right[1, mask[0]].mean() > 0.8


def test_asking_does_not_depend_on_the_batch() -> None:
    records = blobs()
    models = train(RECIPES["alone"], records, membership(200, 2, seed=0), models=[0], seed=0)
    whole = models.logits(records.inputs())
    torch.testing.assert_close(models.logits(torch.from_numpy(records.inputs([3]))), whole[:, 3:4])
    assert not whole.requires_grad


class Count:
    total = 0

    def advance(self, n: int) -> None:
        self.total += n


@pytest.mark.parametrize("name", ["plain", "module", "alone"])
def test_progress_counts_all_the_work(name: str) -> None:
    records, count = blobs(), Count()
    mask = unequal_mask(records)
    train(RECIPES[name], records, mask, models=[1, 2, 5], seed=0, progress=count)
    assert count.total == work(RECIPES[name], mask, [1, 2, 5])


def test_batches_are_whole_epochs_in_a_row() -> None:
    rows = np.array([3, 5, 8, 9, 11, 20, 21])
    batches = Batches(Recipe(batch_size=3, epochs=6), rows, seed=0, model=2)
    assert batches.steps == 14
    drawn = np.concatenate([batches.draw(5), batches.draw(9)]).reshape(6, 7)
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.tile(rows, (6, 1)))
    assert len(np.unique(drawn, axis=0)) == 6


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, 0.853553, 0.5, 0.146447]),
        ("step", [1, 1, 0.1, 0.01]),
        ("triangle", [0, 0.9375, 0.625, 0.3125]),
    ],
)
def test_schedules(schedule: str, expected: list[float]) -> None:
    rates = learning_rates(Recipe(schedule=schedule, learning_rate=0.5), 4)
    np.testing.assert_allclose(rates, 0.5 * np.array(expected), rtol=1e-5)


def test_dropout_keeps_its_share_in_both_forms_alike() -> None:
    drop = Dropout(0.3)
    drop.key.fill_(123456789)
    out = drop(torch.ones(100, 70))
    np.testing.assert_array_equal(out.numpy() > 0, kept(np.uint32(123456789), 100, 70, 0.3))
    assert abs(float((out > 0).float().mean()) - 0.7) < 0.02
    torch.testing.assert_close(out.max(), torch.tensor(1 / 0.7))
    assert torch.equal(drop.eval()(torch.ones(3)), torch.ones(3))


@pytest.mark.parametrize("name", ["plain", "nesterov", "momentum", "adamw", "smoothed"])
def test_stacked_optimisers_are_pytorchs(name: str) -> None:
    recipe = RECIPES[name]
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    extra = {"momentum": recipe.momentum, "nesterov": recipe.nesterov} if recipe.optimizer == "sgd" else {}
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    theirs = weights.clone().requires_grad_()
    optimizer = kinds[recipe.optimizer]([theirs], 0.01, weight_decay=recipe.weight_decay, **extra)
    ours = Optimiser(recipe, [Leaf.at(weights, weights.dtype)])
    for correction in torch.from_numpy(corrections(0, 5)).double():
        theirs.grad = torch.randn(3, 5, generator=generator, dtype=torch.float64)
        ours.step([theirs.grad.clone()], torch.full((3,), 0.01, dtype=torch.float64), correction)
        optimizer.step()
    torch.testing.assert_close(weights, theirs.detach(), rtol=1e-5, atol=1e-6)  # corrections are float32


def test_a_train_function_gets_its_records_and_a_seed_of_its_own() -> None:
    records = blobs()
    mask = membership(len(records), 4, seed=0)
    seen = []

    def nearest_mean(given: Records, in_indices: np.ndarray, seed: int) -> Any:
        seen.append((in_indices, seed))
        x, y = given.inputs(in_indices), given.y[in_indices]
        means = torch.from_numpy(np.stack([x[y == label].mean(axis=0) for label in range(given.classes)]))
        return lambda asked: -torch.cdist(asked, means)

    models = train(nearest_mean, records, mask, models=[2, 0], seed=9)
    assert models.how == "one at a time, by a train function"
    assert (models.logits(records.inputs()).argmax(-1).numpy() == records.y).mean() > 0.8
    np.testing.assert_array_equal(seen[0][0], np.flatnonzero(mask[2]))
    assert seen[0][1] != seen[1][1]
    assert (stack_size(nearest_mean, records), work(nearest_mean, mask, [0, 2])) == (1, 2)


class Prober:
    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return np.stack([np.full(len(x), 0.0), np.full(len(x), 1.0)], axis=1)


def test_probabilities_become_finite_logits() -> None:
    logits = wrap(Prober()).logits(np.zeros((2, 3), np.float32))
    np.testing.assert_allclose(logits[0, 0], [np.log(1e-12), 0.0], rtol=1e-6)


def test_classes_that_a_model_has_not_seen_have_no_probability() -> None:
    from sklearn.linear_model import LogisticRegression

    records = blobs()
    some = records.y != 1
    model = LogisticRegression().fit(records.inputs()[some], records.y[some])
    logits = wrap(model, classes=3).logits(records.inputs())[0].numpy()
    np.testing.assert_allclose(logits[:, 1], np.log(1e-12), rtol=1e-6)
    np.testing.assert_allclose(logits[:, [0, 2]], model.predict_log_proba(records.inputs()), rtol=1e-5, atol=1e-6)
    named = LogisticRegression().fit(records.inputs(), np.array(["a", "b", "c"])[records.y])
    assert wrap(named, classes=3).logits(records.inputs()).shape == (1, 200, 3)


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (lambda x: x[:, 0], ValueError, r"model 3 .*logits of shape \[5\]"),
        (lambda x: x[:, :4], ValueError, r"model 3 .*\[5, 4\]; they must be \[batch, classes\] = \[5, 3\]"),
        (lambda x: x[:, :3] * float("nan"), ValueError, "model 3 .*NaN or infinite"),
        (lambda x: x[:, :3] + float("inf"), ValueError, "model 3 .*NaN or infinite"),
        (lambda x: "yes", TypeError, "model 3 .*answered str"),
        (42, TypeError, "model 3 .*is int; give an nn.Module"),
    ],
)
def test_bad_models_are_named(made: Any, error: type[Exception], message: str) -> None:
    records = blobs()
    mask = membership(len(records), 4, seed=0)
    with pytest.raises(error, match=message):
        train(lambda records, in_indices, seed: made, records, mask, models=[3], seed=0).logits(records.inputs()[:5])


@pytest.mark.parametrize("name", ["momentum", "module sgd", "alone"])
def test_diverged_training_names_the_model(name: str) -> None:
    records = blobs()
    recipe = dataclasses.replace(RECIPES[name], learning_rate=1e30, optimizer="sgd", momentum=0.9, epochs=10)
    with pytest.raises(ValueError, match=r"model 1 .*(diverged|NaN)"):
        train(recipe, records, membership(200, 2, seed=0), models=[1], seed=0).logits(records.inputs())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"in_mask": np.ones((4, 200), int)}, TypeError, "in_mask has dtype int64"),
        ({"in_mask": np.ones((4, 9), bool)}, ValueError, r"in_mask has shape \(4, 9\)"),
        ({"in_mask": np.zeros((4, 200), bool)}, ValueError, "model 0 no IN record"),
        ({"models": [4]}, ValueError, r"models=\[4\]"),
        ({"models": [0, 0]}, ValueError, r"models=\[0, 0\]"),
        ({"models": []}, ValueError, r"models=\[\]"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"recipe": Recipe(batch_size=201)}, ValueError, "batch_size=201"),
        ({"recipe": "mlp"}, TypeError, "recipe is str"),
        ({"recipe": Recipe(model=lambda: 3)}, TypeError, "factory returned int"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"recipe": Recipe(), "in_mask": np.ones((4, 200), bool), "models": [0], "seed": 0}
    arguments |= change
    with pytest.raises(error, match=message):
        train(arguments.pop("recipe"), blobs(), arguments.pop("in_mask"), **arguments)
