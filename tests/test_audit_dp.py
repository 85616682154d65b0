"""DP-SGD of many models, canaries, and audits of a claim."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from miafast.canaries import make_canaries
from miafast.ops.dp_sgd_steps import gaussians, record_gradients
from miafast.shadow import PrivateRecipe, train_private
from miafast.shadow.private import GradientCanaries, start

TINY = PrivateRecipe(hidden=(), steps=3, batch_size=50)


@pytest.fixture(scope="module")
def pool() -> mf.Records:
    random = np.random.default_rng(0)
    y = np.arange(60) % 2
    return mf.Records(random.normal(size=(60, 4)) + y[:, None], y, classes=2, name="two clouds")


def test_gradients_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    x, y, weights = random.normal(size=(3, 5)), np.array([0, 2, 1]), random.normal(size=6 * 4 + 5 * 3)
    parts = [torch.tensor(part, requires_grad=True) for part in np.split(weights, [20, 24, 36])]
    found = record_gradients(weights, x, y, widths=(5, 4, 3), activation="tanh")
    for row in range(3):
        hidden = torch.tanh(parts[0].reshape(4, 5) @ torch.tensor(x[row]) + parts[1])
        logits = parts[2].reshape(3, 4) @ hidden + parts[3]
        slopes = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, torch.tensor(y[row])), parts)
        np.testing.assert_allclose(found[row], np.concatenate([each.numpy() for each in slopes]), atol=1e-12)


def test_noise_is_standard_normal() -> None:
    found = np.concatenate([gaussians(np.array([7, 8], np.uint32), step=step, count=20_000) for step in range(5)])
    assert abs(found.mean()) < 4 / np.sqrt(len(found))
    assert abs(found.std() - 1) < 4 / np.sqrt(2 * len(found))
    blocks = found.reshape(5, -1)
    assert np.abs(np.corrcoef(blocks) - np.eye(5)).max() < 4 / np.sqrt(20_000)


def test_a_model_is_the_same_in_any_company(pool: mf.Records) -> None:
    in_mask = np.random.default_rng(0).random((5, 60)) < 0.5
    together = train_private(TINY, pool, in_mask, models=range(5), seed=3)
    alone = train_private(TINY, pool, in_mask[3:4], models=[3], seed=3)
    np.testing.assert_array_equal(together[3:4], alone)
    first = train_private(TINY, pool, in_mask, models=range(5), seed=3, steps=slice(0, 2))
    rest = train_private(TINY, pool, in_mask, models=range(5), seed=3, steps=slice(2, None), weights=first)
    np.testing.assert_array_equal(together, rest)
    assert not np.array_equal(together, train_private(TINY, pool, in_mask, models=range(5), seed=4))


def test_a_gradient_canary_moves_its_parameter_by_the_clipping_norm(pool: mf.Records) -> None:
    recipe = replace(TINY, batch_size=60, steps=1, noise_multiplier=0.0, learning_rate=1.0)
    in_mask, places = np.zeros((2, 60), bool), np.array([1])
    canaries = GradientCanaries(places, np.array([[True], [False]]))
    moved = train_private(recipe, pool, in_mask, models=[0, 1], seed=0, canaries=canaries)
    moved = moved - start(recipe, pool, models=[0, 1], seed=0)
    np.testing.assert_allclose(moved[0, 1], 1 / 60, rtol=1e-5)
    assert np.abs(np.delete(moved[0], 1)).max() == np.abs(moved[1]).max() == 0


@pytest.mark.parametrize("mistake", ["noise over batch size", "clips after averaging"])
def test_mistakes_are_refuted_and_the_correct_one_is_not(pool: mf.Records, mistake: str) -> None:
    pytest.importorskip("dp_accounting")
    recipe = replace(TINY, noise_multiplier=12.0, batch_size=61, steps=5)
    far = mf.Records(np.full((1, 4), 50.0), np.array([0]), classes=2)
    correct = mf.audit_dp(pool, recipe, runs=400, canary=far, seed=1)
    assert not correct.refuted
    assert correct.upper == correct.claim
    assert len(correct.looks) == 4
    found = mf.audit_dp(pool, replace(recipe, mistake=mistake), runs=400, canary=far, seed=1)
    assert found.refuted
    assert found.looks[-1].epsilon > found.claim


def test_noise_forgotten_in_the_last_batch_shows_to_who_sees_it(pool: mf.Records) -> None:
    recipe = replace(TINY, noise_multiplier=8.0, batch_size=60, mistake="no noise in the last batch")
    wide = mf.Records(np.hstack([pool.x, np.zeros((60, 400))]), pool.y, classes=2)  # most parameters never move
    correct = replace(recipe, mistake="none")
    assert not mf.audit_dp(wide, correct, epsilon=1.5, runs=300, canary="gradient", sees="last-update").refuted
    assert mf.audit_dp(wide, recipe, epsilon=1.5, runs=300, canary="gradient", sees="last-update").refuted


@pytest.mark.parametrize("kind", ["mislabelled", "random", "blank"])
def test_one_run_with_canaries_in_input_space(pool: mf.Records, kind: str) -> None:
    found = mf.audit_dp(
        pool, replace(TINY, noise_multiplier=5.0), epsilon=2.0, mode="one-run", canaries=40, canary=kind
    )  # fmt: skip
    assert not found.refuted
    assert found.scores.shape == (40,)


def test_one_run_in_gradient_space_nears_the_gaussian_mechanism() -> None:
    random = np.random.default_rng(0)
    pool = mf.Records(random.normal(size=(20, 2000)), np.arange(20) % 2, classes=2)
    recipe = PrivateRecipe(hidden=(), steps=1, batch_size=20, noise_multiplier=0.5)
    options = {"mode": "one-run", "canary": "gradient", "canaries": 3000, "epsilon": 9.997256}  # mu = 2
    steinke, mahloujifar = (
        mf.audit_dp(pool, recipe, method=method, **options) for method in ("one-run", "f-dp one-run")
    )
    assert 0.5 < steinke.epsilon < mahloujifar.epsilon < 9.997256
    broken = replace(recipe, mistake="noise over batch size")
    assert mf.audit_dp(pool, broken, method="one-run", **(options | {"epsilon": 3.0})).refuted


def test_canaries_of_every_kind(pool: mf.Records) -> None:
    for kind in ("mislabelled", "blank", "random"):
        made = make_canaries(pool, 5, kind=kind, seed=0)
        assert made.x.shape == (5, 4)
        assert len(np.unique(made.x, axis=0)) == 5
    wrong = make_canaries(pool, 60, kind="mislabelled")
    rows = [np.flatnonzero((pool.x == each).all(axis=1))[0] for each in wrong.x]
    assert np.all(pool.y[rows] != wrong.y)


@pytest.mark.parametrize("mode", ["many-runs", "one-run"])
@pytest.mark.parametrize(("canary", "more"), [("gradient", 0), ("random", 1)])
def test_the_accountant_is_told_the_rate_that_training_samples_at(
    pool: mf.Records, mode: str, canary: str, more: int
) -> None:
    pytest.importorskip("dp_accounting")
    found = mf.audit_dp(pool, TINY, mode=mode, canary=canary, canaries=8, runs=8)
    trained_on = len(pool) + more * (1 if mode == "many-runs" else 8)
    rate = TINY.batch_size / trained_on
    assert found.claim == mf.epsilon_upper_bound(TINY.noise_multiplier, sample_rate=rate, steps=TINY.steps, delta=1e-5)


def test_a_train_function(pool: mf.Records) -> None:
    pytest.importorskip("torch")
    asked: list[int] = []

    def train(records: mf.Records, in_indices: np.ndarray, seed: int) -> object:
        asked.append(len(in_indices))
        shift = 5.0 * (60 in in_indices)  # the canary is the last record of the pool
        return lambda x: np.stack([np.full(len(x), shift), -np.full(len(x), shift)], axis=1)

    canary = mf.Records(np.ones((1, 4)), np.array([0]), classes=2)
    found = mf.audit_dp(pool, train, epsilon=0.1, delta=0.0, runs=64, threshold_runs=4, canary=canary)
    assert found.refuted
    assert set(asked) == {60, 61}


def test_a_claim_about_a_module_of_ones_own_trained_through_opacus(pool: mf.Records) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("opacus")
    from miafast.shadow import train_privately

    def from_zeros() -> object:
        model = torch.nn.Linear(4, 2)
        for each in model.parameters():
            torch.nn.init.zeros_(each)
        return model

    recipe = mf.Recipe(model=from_zeros, optimizer="sgd", learning_rate=2.0, epochs=4, batch_size=61)
    far = mf.Records(np.full((1, 4), 50.0), np.array([0]), classes=2)
    found = {
        noise: mf.audit_dp(
            pool, functools.partial(train_privately, recipe=recipe, noise_multiplier=noise, pool=61), epsilon=1.0,
            runs=64, canary=far,
        )
        for noise in (20.0, 0.1)
    }  # fmt: skip
    assert not found[20.0].refuted
    assert found[0.1].refuted
    with pytest.raises(ValueError, match="noise_multiplier=None"):
        train_privately(pool, np.arange(60), 0, recipe=recipe)


def test_report_files(pool: mf.Records, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = mf.audit_dp(pool, replace(TINY, mistake="noise over batch size"), epsilon=0.5, runs=100, canary="random")
    found.save(tmp_path)
    page, facts = (tmp_path / "dp.html").read_text(), json.loads((tmp_path / "dp.json").read_text())
    assert "is refuted" in page
    assert page.count('class="region"') == 2
    assert facts["refuted"] is True
    assert facts["epsilon"] == found.epsilon
    assert (tmp_path / "dp.png").stat().st_size > 10_000
    assert np.load(tmp_path / "dp-scores.npy").shape == (2, len(found.scores))


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("clopper-pearson", "is refuted: with 95 % confidence ε"),
        ("gdp", "is refuted, if its privacy is that of Gaussian noise: with 95 % confidence ε"),
        ("bayesian", "is refuted: with 95 % posterior probability ε"),
    ],
)
def test_the_headline_says_what_the_method_takes_for_granted(pool: mf.Records, method: str, says: str) -> None:
    broken = replace(TINY, mistake="noise over batch size")
    assert says in mf.audit_dp(pool, broken, epsilon=0.5, runs=100, canary="random", method=method).headline


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "several"}, "mode='several'"),
        ({"canary": "yellow"}, "canary='yellow'"),
        ({"method": "one-run"}, "method='one-run'"),
        ({"runs": 3}, "runs=3"),
        ({"sees": "all"}, "sees='all'"),
        ({"epsilon": -1.0}, "epsilon=-1"),
        ({"mode": "one-run", "canary": "gradient", "canaries": 99}, "canaries=99"),
    ],
)
def test_refusals(pool: mf.Records, options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mf.audit_dp(pool, TINY, **({"epsilon": 1.0} | options))
    with pytest.raises(ValueError, match="mistake='typo'"):
        PrivateRecipe(mistake="typo")


def test_command_line(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from typer.testing import CliRunner

    from miafast.cli import app

    asked = [
        "audit-dp",
        "--data",
        "digits",
        "--records",
        "100",
        "--hidden",
        "none",
        "--steps",
        "2",
        "--batch-size",
        "100",
    ]
    more = ["--epsilon", "0.5", "--runs", "64", "--mistake", "noise over batch size", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*asked, *more])
    assert done.exit_code == 0, done.output
    assert "The claim ε = 0.5 is refuted" in done.output
    assert (tmp_path / "out" / "dp.html").exists()
