"""MI-Face follows its algorithm, class by class, and what it finds shows the class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import miafast as mf

torch = pytest.importorskip("torch")

from miafast.inversion import Inversion, class_means, judge, smoothed, within  # noqa: E402
from miafast.report.reconstructions import draw  # noqa: E402
from miafast.shadow import train  # noqa: E402

WEIGHT = torch.as_tensor(np.random.default_rng(0).normal(size=(6, 3)), dtype=torch.float32)


def linear(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1) @ WEIGHT


def mi_face(label: int, *, rate: float, momentum: float, steps: int, patience: int, enough: float):  # type: ignore[no-untyped-def]
    """Algorithm 1 as it is printed, one class, with the softmax's gradient by hand."""
    weight = WEIGHT.double().numpy()

    def cost(x):  # type: ignore[no-untyped-def]
        p = np.exp(x @ weight)
        p /= p.sum()
        return 1 - p[label], -p[label] * (weight[:, label] - weight @ p)

    x, velocity = np.zeros(6), np.zeros(6)
    costs, inputs = [cost(x)[0]], [x]
    for step in range(1, steps + 1):
        velocity = momentum * velocity - rate * cost(x)[1]
        x = np.clip(x + velocity, -0.6, 0.6)
        costs.append(cost(x)[0])
        inputs.append(x)
        if costs[-1] <= enough:
            break
        if step >= patience and costs[-1] >= max(costs[-1 - patience : -1]):
            break
    best = int(np.argmin(costs))
    return inputs[best], costs[best], step


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("enough", [0.0, 0.3])
def test_the_batch_is_the_printed_algorithm_class_by_class(momentum: float, enough: float) -> None:
    options = {"rate": 0.2, "momentum": momentum, "steps": 300, "patience": 5, "enough": enough}
    found = mf.invert(linear, (6,), classes=3, process=within(-0.6, 0.6), **options)
    for label in range(3):
        x, cost, steps = mi_face(label, **options)
        np.testing.assert_allclose(found.x[label], x, atol=0.02)  # float32 sees the last progress end a little earlier
        assert found.cost[label] == pytest.approx(cost, abs=1e-4)
        if found.stopped[label] == "cost reached":
            assert found.steps[label] == steps
    assert ("cost reached" in found.stopped) == (enough > 0)


def test_classes_do_not_depend_on_the_batch() -> None:
    together = mf.invert(linear, (6,), classes=3, rate=0.3, momentum=0.5, steps=50)
    alone = mf.invert(linear, (6,), classes=np.array([2]), rate=0.3, momentum=0.5, steps=50)
    np.testing.assert_allclose(together.x[2:], alone.x, atol=1e-6)
    assert (alone.labels == [2]).all()


def test_why_a_class_stopped() -> None:
    assert mf.invert(linear, (6,), classes=3, rate=1.0, enough=0.05).stopped == ("cost reached",) * 3
    assert mf.invert(linear, (6,), classes=3, steps=2).stopped == ("out of steps",) * 3
    frozen = mf.invert(linear, (6,), classes=3, process=torch.zeros_like, patience=4)
    assert frozen.stopped == ("no progress",) * 3
    assert (frozen.steps == 4).all()


def test_aux_pulls_towards_what_is_known() -> None:
    known = torch.full((6,), 0.3)
    found = mf.invert(linear, (6,), classes=3, aux=lambda x: 100 * ((x - known) ** 2).sum(1), rate=1e-3, steps=500)
    np.testing.assert_allclose(found.x, 0.3, atol=0.05)


def test_smoothing_blurs_towards_the_mean_of_neighbours() -> None:
    dot = torch.zeros(1, 1, 5, 5)
    dot[..., 2, 2] = 9.0
    np.testing.assert_allclose(smoothed(1.0)(dot)[0, 0, 1:4, 1:4], 1.0, rtol=1e-6)
    np.testing.assert_array_equal(smoothed(0.0)(dot), dot)


def test_digits_are_recognised_by_a_classifier_that_saw_other_records(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    digits = mf.load("digits")
    records = mf.Records(digits.inputs().reshape(-1, 1, 8, 8) / 16, digits.y, classes=10)
    halves = np.stack([np.arange(len(records)) % 2 == side for side in (0, 1)])
    recipe = mf.Recipe(hidden=(64,), epochs=20, batch_size=32)
    models = train(recipe, records, halves, models=[0, 1], seed=0)
    found = mf.invert(lambda x: models.forward(x)[0], (1, 8, 8), classes=10, process=within(0, 1), momentum=0.9)
    others = mf.Records(records.x[halves[1]], records.y[halves[1]], classes=10)
    success = judge(found, lambda x: models.forward(x)[1], others)
    assert success.accuracy >= 0.8
    assert success.nearest >= 0.5
    assert success.feature_distance < 0.95
    picture = found.save_picture(tmp_path / "digits.png", others).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert found.section(others, success).count("<img") == 1
    blank = Inversion(np.zeros_like(found.x), found.labels, found.cost, found.steps, found.stopped)
    assert judge(blank, lambda x: models.forward(x)[1], others).accuracy <= 0.2, "the measure can fail"


def test_features_are_what_enters_the_last_linear_layer() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    records = mf.Records(np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]]), np.array([0, 1, 1]), classes=2)
    found = Inversion(
        class_means(records), np.arange(2), np.zeros(2, np.float32), np.zeros(2, np.int64), ("out of steps",) * 2
    )
    hidden = torch.nn.Sequential(*list(model)[:2])
    assert judge(found, model, records) == judge(found, model, records, features=hidden)
    assert judge(found, model, records) != judge(found, model, records, features=model)


def test_names_in_a_section_are_escaped_and_colour_is_drawn() -> None:
    from miafast.report.reconstructions import section

    pytest.importorskip("matplotlib")
    x = np.random.default_rng(0).random((2, 3, 4, 4))
    page = section(x, x, ("<b>", "$x$"), facts={"<i>": "&"})
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "&lt;i&gt;" in page
    with pytest.raises(ValueError, match="no image"):
        draw(np.zeros((1, 7)), np.zeros((1, 7)), ("a",))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 0.0}, "rate=0.0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"steps": 0}, "steps=0"),
        ({"patience": 0}, "patience=0"),
        ({"classes": 0}, "classes=0"),
        ({"start": np.zeros(5)}, "start has shape"),
        ({"classes": 4}, "give logits"),
    ],
)
def test_mistakes_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mf.invert(linear, (6,), **{"classes": 3, **options})  # type: ignore[arg-type]


def test_a_model_without_gradients_is_refused() -> None:
    with pytest.raises(ValueError, match="no gradient"):
        mf.invert(lambda x: linear(x).detach(), (6,), classes=3)
