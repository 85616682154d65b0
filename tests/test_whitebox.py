"""White-box attacks: closed forms, planted leaks, planted nothing, and what they say to wrong input."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import miafast as mf
from miafast.shadow import train_modules
from miafast.shadow.modules import build
from miafast.whitebox import calibrate, called_members
from miafast.whitebox.deep import against
from miafast.whitebox.displacement import Evidence, learn
from miafast.whitebox.heads import cut_at, features_of, proxy_heads
from miafast.whitebox.linear import Linear, against as linear_against, halvings, linear_of
from miafast.whitebox.ratio import log_ratio, rates
from miafast.whitebox.slices import ReplacedOutput, cut

CLASSES, FEATURES = 5, 40
LOGISTIC = mf.Recipe(model="logistic", learning_rate=1e-2, epochs=30, batch_size=32)
MLP = mf.Recipe(hidden=(16,), epochs=30, batch_size=32, learning_rate=5e-3)


def naive_bayes(per_class: int, *, seed: int) -> tuple[mf.Records, np.ndarray, np.ndarray]:
    """Records of three equal parts that follow one another, the true means and the variances."""
    rng = np.random.default_rng(seed)
    means, variances = 0.15 * rng.normal(size=(CLASSES, FEATURES)), rng.uniform(0.5, 2.0, size=FEATURES)
    y = np.tile(np.arange(CLASSES), 3 * per_class)
    x = means[y] + rng.normal(size=(len(y), FEATURES)) * np.sqrt(variances)
    return mf.Records(x.astype(np.float32), y, classes=CLASSES), means, variances


def scene(per_class: int, recipe: mf.Recipe, *, seed: int = 0) -> tuple[nn.Module, mf.Records, mf.Records, np.ndarray]:
    """A target trained on the first part, the attacker's records, those asked about and who of them is a member."""
    records, _, _ = naive_bayes(per_class, seed=seed)
    third = len(records) // 3
    in_mask = np.arange(len(records))[None] < third
    (target,) = train_modules(recipe, records, in_mask, models=[0], seed=seed)
    asked = records.only(slice(2 * third))
    return target, records.only(slice(2 * third, None)), asked, np.arange(2 * third) < third


def accuracy(scores: np.ndarray, is_member: np.ndarray) -> float:
    return float(((scores > 0.5) == is_member).mean())


@pytest.mark.parametrize("per_class", [20, 50, 100])
def test_the_omniscient_attack_reaches_the_closed_form(per_class: int) -> None:
    found = []
    for seed in range(40):
        records, means, variances = naive_bayes(per_class, seed=seed)
        third = len(records) // 3
        train = records.only(slice(third))
        train_means = np.stack([train.x[train.y == each].mean(axis=0) for each in range(CLASSES)])
        asked, is_member = records.only(slice(2 * third)), np.arange(2 * third) < third
        scores = mf.whitebox.BayesOptimal(means, variances).score(asked.x, asked.y, train_means=train_means)
        found.append(accuracy(scores, is_member))
    assert np.mean(found) == pytest.approx(mf.whitebox.bayes_optimal_accuracy(FEATURES, per_class), abs=0.01)


def test_the_closed_form_by_hand() -> None:
    # sqrt(100 / 25) / 2 = 1, and the normal distribution function at 1 is .8413
    assert mf.whitebox.bayes_optimal_accuracy(100, 25) == pytest.approx(0.841344746)
    with pytest.raises(ValueError, match="records_per_class=0"):
        mf.whitebox.bayes_optimal_accuracy(10, 0)


def test_bayes_optimal_is_the_posterior_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)
    means, trained, variances = rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), rng.uniform(0.5, 2, size=3)
    x, y = rng.normal(size=(20, 3)), rng.integers(2, size=20)

    def density(centre: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * (np.square(x - centre[y]) / variances).sum(axis=1))

    expected = density(trained) / (density(trained) + density(means))
    scores = mf.whitebox.BayesOptimal(means, variances).score(x, y, train_means=trained)
    np.testing.assert_allclose(scores, expected, rtol=1e-10)


def test_linear_attacks_find_members_and_less_so_as_training_sets_grow() -> None:
    attacks = {
        "bayes": mf.whitebox.LinearBayes(LOGISTIC),
        "general": mf.whitebox.LinearGeneral(LOGISTIC, splits=4),
        "hidden": mf.whitebox.LinearGeneral(LOGISTIC, splits=4, hidden=16),
    }
    found: dict[str, list[float]] = {}
    for per_class in (40, 160):
        scenes = [scene(per_class, LOGISTIC, seed=seed) for seed in range(4)]
        for name, attack in attacks.items():
            each = [
                accuracy(attack.fit(target, mine, seed=1000 + seed).score(asked), is_member)
                for seed, (target, mine, asked, is_member) in enumerate(scenes)
            ]
            found.setdefault(name, []).append(float(np.mean(each)))
    for few, many in found.values():
        assert few > 0.58
        assert few > many > 0.5
        assert few < mf.whitebox.bayes_optimal_accuracy(FEATURES, 40)


@pytest.mark.parametrize(
    "attack",
    [
        mf.whitebox.LinearBayes(LOGISTIC), mf.whitebox.LinearGeneral(LOGISTIC, splits=2, hidden=4),
    ],
    ids=["bayes", "general"],
)  # fmt: skip
def test_linear_attacks_are_at_one_half_where_nothing_leaks(attack: object) -> None:
    records, _, _ = naive_bayes(100, seed=7)
    third = len(records) // 3
    somebody_else = records.only(slice(third))
    target, mine, _, _ = scene(100, LOGISTIC, seed=8)  # trained on none of the records asked about
    asked = records.only(slice(2 * third))
    scores = attack.fit(target, mine, seed=1).score(asked)  # type: ignore[attr-defined]
    n = len(somebody_else)
    auc = mf.roc(scores, np.arange(2 * third) < third).auc
    assert auc == pytest.approx(0.5, abs=3 * np.sqrt((2 * n + 1) / (12 * n * n)))


def test_deep_attacks_find_members_and_nothing_where_nothing_leaks() -> None:
    target, mine, asked, is_member = scene(40, MLP)
    stranger, _, _, _ = scene(40, MLP, seed=9)
    attacks = [
        mf.whitebox.DeepBayes("2", MLP),
        mf.whitebox.DeepGeneral("2", MLP, splits=2),
        mf.whitebox.DeepGeneral("1", MLP, splits=2, hidden=8),
        mf.whitebox.LayerMeta(("1", "2"), MLP, partitions=2),
        mf.whitebox.DeepRatio("1", MLP),
    ]
    n = int(is_member.sum())
    for attack in attacks:
        assert mf.roc(attack.fit(target, mine, seed=1).score(asked), is_member).auc > 0.6
        blind = mf.roc(attack.fit(stranger, mine, seed=1).score(asked), is_member).auc
        assert blind == pytest.approx(0.5, abs=3 * np.sqrt((2 * n + 1) / (12 * n * n)))


def test_the_meta_model_keeps_every_layers_own_attack() -> None:
    target, mine, asked, _ = scene(40, MLP)
    found = mf.whitebox.LayerMeta(("1", "2"), MLP, partitions=1).fit(target, mine, seed=1)
    alone = mf.whitebox.DeepBayes("2", MLP)
    assert list(found.layers) == ["1", "2"]
    assert found.layers["2"].score(asked).shape == alone.fit(target, mine, seed=1).score(asked).shape
    everything = np.ones((1, len(mine)), bool)
    (proxy,) = proxy_heads([cut_at(target, "2", mine)], mine, everything, recipe=MLP, seed=1)
    assert mf.roc(against(cut_at(target, "2", mine), proxy).score(asked), np.arange(400) < 200).auc > 0.5


def test_deep_bayes_on_the_last_layer_is_linear_bayes_on_its_features() -> None:
    target, mine, asked, _ = scene(40, MLP)
    cut_target = cut_at(target, "2", mine)

    def as_records(records: mf.Records) -> mf.Records:
        return mf.Records(features_of(cut_target, records).numpy(), records.y, classes=CLASSES)

    (proxy,) = proxy_heads([cut_target], mine, np.ones((1, len(mine)), bool), recipe=MLP, seed=3)
    linear = linear_against(linear_of(cut_target.linear), linear_of(proxy)).score(as_records(asked))
    for by in ("completeness", "influence"):
        deep = mf.whitebox.DeepBayes("2", MLP, by=by).fit(target, mine, seed=3).score(asked)
        np.testing.assert_allclose(deep, linear, atol=1e-5)


@pytest.mark.parametrize("layer", ["1", "2"])
def test_a_proxy_begins_as_the_target_of_its_seed_did(layer: str) -> None:
    records, _, _ = naive_bayes(10, seed=0)
    began = build(MLP, records.shape, CLASSES, seed=3, model=0)
    everything = np.ones((1, len(records)), bool)
    still = dataclasses.replace(MLP, learning_rate=1e-30)
    (proxy,) = proxy_heads([cut_at(began, layer, records)], records, everything, recipe=still, seed=3)
    z = features_of(cut_at(began, layer, records), records)
    assert torch.equal(proxy(z), cut_at(began, layer, records).head(z))


@pytest.mark.parametrize("layer", ["1", "2"])
def test_deep_bayes_by_influence_is_deep_bayes_by_completeness(layer: str) -> None:
    target, mine, asked, _ = scene(10, MLP)
    scores = [
        mf.whitebox.DeepBayes(layer, MLP, by=by).fit(target, mine, seed=3).score(asked)
        for by in ("completeness", "influence")
    ]
    np.testing.assert_allclose(*scores, atol=1e-3)


def test_a_weighted_sum_finds_the_difference_and_hidden_units_do_too() -> None:
    rng = np.random.default_rng(0)
    pairs, values = rng.normal(size=(4000, 6, 2)), rng.normal(size=(4000, 6))
    log_odds = 2.0 * ((pairs[..., 0] - pairs[..., 1]) * values).sum(axis=1)
    is_member = rng.random(4000) < 1 / (1 + np.exp(-log_odds))
    evidence = Evidence(pairs, values)
    plain = learn(evidence, is_member, hidden=0, seed=0)
    np.testing.assert_allclose(plain.module.weight.detach().numpy()[0], [2.0, -2.0], atol=0.3)
    np.testing.assert_allclose(plain.logit(evidence), plain.logit(evidence.summed()), rtol=1e-3, atol=1e-3)
    best = mf.roc(log_odds, is_member).auc
    assert mf.roc(learn(evidence, is_member, hidden=16, seed=0).logit(evidence), is_member).auc > best - 0.02


def test_what_all_records_share_is_a_constant_and_not_membership() -> None:
    """Targets that are surer than proxies of members and others alike: one half must stay the threshold."""
    rng = np.random.default_rng(0)
    is_member = rng.random(4000) < 0.5
    pairs = np.stack([3.0 + is_member + rng.normal(size=4000), np.zeros(4000)], axis=-1)[:, None]
    for hidden in (0, 4):
        evidence = Evidence(pairs, np.ones((4000, 1)))
        called = learn(evidence, is_member, hidden=hidden, seed=0).logit(evidence) > 0
        assert (called == is_member).mean() > 0.67  # Φ(½) = .69


def test_the_papers_table_is_measured() -> None:
    from benchmarks.papers_stolen_memories import run

    rows = {row["attack"]: row for row in run("breast_cancer", smoke=True)}
    gap = rows["target, members"]["accuracy"] - rows["target, non-members"]["accuracy"]
    assert rows["naive"]["accuracy"] == pytest.approx(0.5 + gap / 2)
    assert rows["bayes-wb"]["published"] == 0.514
    assert 0 < rows["general-wb"]["precision"] < 1


def test_halvings_are_halves_and_differ() -> None:
    halves = halvings(11, 6, seed=0)
    assert (halves.sum(axis=1) == 5).all()
    assert len(np.unique(halves, axis=0)) == 6


def test_thresholds_keep_false_alarms_rare_in_every_class() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=30_000)
    scores = rng.normal(size=30_000) * (1 + labels)
    mine, theirs = slice(15_000), slice(15_000, None)
    for alpha in (0.9, 0.99):
        thresholds = calibrate(scores[mine], labels[mine], classes=3, alpha=alpha)
        called = called_members(scores[theirs], labels[theirs], thresholds)
        for label in range(3):
            of_class = called[labels[theirs] == label]
            error = np.sqrt(2 * alpha * (1 - alpha) / len(of_class))
            assert of_class.mean() == pytest.approx(1 - alpha, abs=4 * error)


@pytest.mark.parametrize(
    ("attack", "recipe"),
    [
        (mf.whitebox.LinearBayes(LOGISTIC), LOGISTIC), (mf.whitebox.LinearGeneral(LOGISTIC, splits=2), LOGISTIC),
        (mf.whitebox.DeepBayes("1", MLP), MLP), (mf.whitebox.DeepGeneral("2", MLP, splits=2), MLP),
        (mf.whitebox.LayerMeta(("1", "2"), MLP, partitions=1), MLP),
    ],
)  # fmt: skip
def test_records_held_out_keep_false_alarms_rare_and_own_ones_do_not(attack: Any, recipe: mf.Recipe) -> None:
    target, mine, asked, is_member = scene(100, recipe)
    fitted = attack.fit(target, mine, seed=0)
    false = []
    for own in (fitted.held_out, fitted.logit(mine)):
        called = called_members(fitted.logit(asked), asked.y, calibrate(own, mine.y, classes=CLASSES, alpha=0.9))
        false.append(called[~is_member].mean())
    error = np.sqrt(2 * 0.1 * 0.9 / 500)  # of a share among 500, and of thresholds from as many
    assert abs(false[0] - 0.1) < 4 * error
    assert false[1] > false[0]


def test_calibrating_raises_precision() -> None:
    target, mine, asked, is_member = scene(40, LOGISTIC)
    third = len(mine) // 2
    found = mf.whitebox.LinearBayes(LOGISTIC).fit(target, mine.only(slice(third)), seed=1)
    held_out = mine.only(slice(third, None))
    thresholds = calibrate(found.score(held_out), held_out.y, classes=CLASSES, alpha=0.9)
    scores = found.score(asked)
    called = called_members(scores, asked.y, thresholds)
    assert is_member[called].mean() > is_member[scores > 0.5].mean() + 0.03


def test_the_ratio_is_that_of_two_gaussians_and_reads_its_rates_off_the_proxies() -> None:
    rng = np.random.default_rng(0)
    heads, records, beta, inflation = 400, 2000, 3.0, 2.0
    mean, spread = rng.normal(size=records), rng.uniform(0.2, 0.5, size=records)
    in_mask = halvings(records, heads // 2, seed=0)
    in_mask = np.vstack([in_mask, ~in_mask])
    shift = beta * np.square(spread) / (1 + np.exp(mean))
    proxies = mean + spread * rng.normal(size=(heads, records)) + 2 * shift * in_mask  # halves: twice the shift
    target = mean + np.sqrt(inflation) * spread * rng.normal(size=records)
    rate, scale = rates(target, proxies, in_mask)
    assert rate == pytest.approx(beta, rel=0.05)
    assert scale == pytest.approx(beta / inflation, rel=0.1)
    exact = (np.square(target - mean) - np.square(target - mean - shift)) / (2 * inflation * np.square(spread))
    found = scale * log_ratio(target, proxies, in_mask, rate=rate)
    assert np.corrcoef(found, exact)[0, 1] > 0.98
    assert found.std() == pytest.approx(exact.std(), rel=0.1)


def test_scores_of_strangers_are_those_of_the_attackers_own_records() -> None:
    """Nobody asked is a member: false alarms are as many as promised, and the two scores differ in nothing."""
    from scipy.stats import ks_2samp

    attack, false, p_values = mf.whitebox.DeepRatio("2", MLP, splits=3), [], []
    for seed in range(24):
        target, mine, asked, is_member = scene(24, MLP, seed=seed)
        others = asked.only(slice(int(is_member.sum()), None))
        fitted = attack.fit(target, mine, seed=seed)
        scores = fitted.logit(others)
        false.append(
            [called_members(scores, None, calibrate(fitted.held_out, alpha=alpha)).mean() for alpha in (0.5, 0.9, 0.99)]
        )
        p_values.append(ks_2samp(scores, fitted.held_out).pvalue)
    error = np.std(false, axis=0, ddof=1) / np.sqrt(len(false))
    assert (np.abs(np.mean(false, axis=0) - [0.5, 0.1, 1 / 121]) < 3 * error).all()  # 120 records: beyond the largest
    assert ks_2samp(p_values, np.linspace(0, 1, 1001)).pvalue > 0.01


def test_long_features_raise_bayes_and_not_the_ratio() -> None:
    """Every tenth record is ten times as long and easy: few of the ratio's alarms, most of bayes-wb's, are about it."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=1800)
    x = rng.normal(size=(1800, 30))
    long = np.arange(1800) % 10 == 0
    x[:, 0] += np.where(long, 3.0, 0.3) * (2 * y - 1)
    x[long] *= 5.0
    records = mf.Records(x.astype(np.float32), y, classes=2)
    (target,) = train_modules(MLP, records, np.arange(1800)[None] < 600, models=[0], seed=0)
    mine, asked, is_member = records.only(slice(1200, None)), records.only(slice(1200)), np.arange(1200) < 600
    share, precision = {}, {}
    for kind in (mf.whitebox.DeepBayes, mf.whitebox.DeepRatio):
        fitted = kind("2", MLP).fit(target, mine, seed=0)
        called = called_members(fitted.logit(asked), None, calibrate(fitted.held_out, alpha=0.95))
        share[kind], precision[kind] = long[:1200][called].mean(), is_member[called].mean()
    assert share[mf.whitebox.DeepBayes] > 0.5 > 0.2 > share[mf.whitebox.DeepRatio]
    assert precision[mf.whitebox.DeepRatio] > precision[mf.whitebox.DeepBayes] + 0.1


class Named(nn.Module):
    """Two ways that meet, and layers with names: what a user might bring."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3)
        self.fc1, self.fc2 = nn.Linear(6 * 3 * 3, 12), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv1(x))
        x = torch.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.fc2(torch.tanh(self.fc1(x.flatten(1))))


class Untraceable(Named):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.isnan().any()):
            raise ValueError
        return super().forward(x)


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.around, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x + self.around(x))


def small_images(records: int, *, seed: int = 0) -> mf.Records:
    rng = np.random.default_rng(seed)
    return mf.Records(rng.normal(size=(records, 1, 8, 8)).astype(np.float32), rng.integers(3, size=records), classes=3)


@pytest.mark.parametrize("kind", [Named, Untraceable])
@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc1"])
def test_a_cut_is_the_same_function_in_two_parts(kind: type[nn.Module], layer: str) -> None:
    model, x = kind().eval(), torch.randn(5, 1, 8, 8)
    parts = cut(model, layer, x[:2])
    assert isinstance(parts.head, ReplacedOutput) == (kind is Untraceable)
    torch.testing.assert_close(parts.head(parts.features(x)), model(x))


def test_a_users_own_module_is_attacked_by_naming_its_layers() -> None:
    records = small_images(90)
    recipe = mf.Recipe(model=Named, epochs=20, batch_size=16, learning_rate=5e-3)
    (target,) = train_modules(recipe, records, np.arange(90)[None] < 30, models=[0], seed=0)
    mine, asked = records.only(slice(60, None)), records.only(slice(60))
    for attack in (
        mf.whitebox.DeepBayes("fc1", recipe),
        mf.whitebox.LayerMeta(("conv2", "fc1"), recipe, partitions=1),
        mf.whitebox.DeepGeneral("conv2", recipe, splits=1, hidden=2),
    ):
        assert mf.roc(attack.fit(target, mine, seed=1).score(asked), np.arange(60) < 30).auc > 0.7
    with pytest.raises(ValueError, match="'conv3' is no layer of Named; its layers are conv1, conv2, fc1, fc2"):
        mf.whitebox.DeepBayes("conv3", recipe).fit(target, mine, seed=1)


def idiosyncratic() -> tuple[mf.Records, np.ndarray, mf.Recipe, nn.Module]:
    """Record 0 alone has the last feature; who is a member; the recipe; a target that was trained on it."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(120, 12)).astype(np.float32), rng.integers(2, size=120)
    x[:, 11] = np.where(np.arange(120) == 0, 3.0, 0.0)
    records, recipe = mf.Records(x, y, classes=2), mf.Recipe(hidden=(16,), epochs=60, batch_size=16)
    is_member = np.arange(120) < 60
    (target,) = train_modules(recipe, records, is_member[None], models=[0], seed=0)
    return records, is_member, recipe, target


def test_the_explanation_points_at_what_only_the_target_has_seen() -> None:
    records, is_member, recipe, target = idiosyncratic()
    asked = {"recipe": recipe, "layer": "0", "mine": ~is_member, "seed": 0}
    found = mf.whitebox.explain(target, records, 0, **asked)
    assert int(np.abs(found.excess).argmax()) == 11
    assert found.excess[11] > np.abs(found.proxies[:, 11]).max()
    assert found.score > 0.6
    with torch.inference_mode():
        both = target(torch.from_numpy(np.stack([records.x[0], np.zeros(12, np.float32)])))
    centred = (both - both.mean(dim=1, keepdim=True))[:, found.label]
    assert found.target.sum() == pytest.approx(float(centred[0] - centred[1]), abs=0.02)
    with pytest.raises(ValueError, match="record=120; there are records 0 … 119"):
        mf.whitebox.explain(target, records, 120, **asked)
    with pytest.raises(ValueError, match="without record 60"):
        mf.whitebox.explain(target, records, 60, **asked)


def test_an_explanation_of_an_image_is_a_page_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from miafast.report.explanation import draw, save_explanation

    records = dataclasses.replace(small_images(60), name="<pictures>")
    recipe = mf.Recipe(model=Named, epochs=5, batch_size=16)
    target, is_member = mf.whitebox.drawn_target(recipe, records, seed=0)
    record = int(np.flatnonzero(is_member)[0])
    found = mf.whitebox.explain(
        target, records, record, recipe=recipe, layer="conv2", mine=~is_member, seed=1, proxies=2
    )
    assert (found.target.shape, found.proxies.shape, found.units.shape) == ((1, 8, 8), (2, 1, 8, 8), (6,))
    page = save_explanation(found, records, tmp_path, is_member=True).read_text()
    assert f"Record {record} of &lt;pictures&gt;" in page
    assert "trained on · class" in page
    assert not {"<script", "http://", "https://", "<pictures>"} & set(re.findall(r"<\w+>?|https?://", page))
    assert draw(found) == draw(found)


def test_white_box_attacks_stand_in_the_audits_report() -> None:
    records = small_images(160)
    recipe = mf.Recipe(model=Named, epochs=20, batch_size=16, learning_rate=5e-3)
    target, is_member = mf.whitebox.drawn_target(recipe, records, seed=0, model=8)
    layers = ("conv2", "fc1")
    report = mf.audit(records, recipe, target=target, is_member=is_member, shadows=8, white_box=layers)
    names = [each.name for each in report.results]
    each_layer = [f"{kind}, {layer}" for kind in ("ratio-wb", "bayes-wb") for layer in layers]
    assert names[-5:] == [*each_layer, "meta-model over conv2, fc1"]
    rows = {each["attack"]: each for each in report.white_box}
    assert list(rows) == ["gap", "Shokri logistic", *names[-5:]]
    scored = ~np.isnan(report.results[-1].scores)
    assert (int(scored.sum()), int((scored & ~is_member).sum())) == (120, 40)
    gap = report.results[names.index("gap")].scores
    train, test = gap[is_member].mean(), gap[scored & ~is_member].mean()
    assert rows["gap"]["accuracy"] == pytest.approx(0.5 + (train - test) / 2)
    assert report.results[-1].roc.auc > 0.7
    assert f"{len(names)} attacks were tried" in " ".join(report.warnings)
    assert [each["attack"] for each in report.facts["white_box"]] == list(rows)


def test_an_audit_refuses_layers_before_it_trains() -> None:
    records, recipe = small_images(40), mf.Recipe(model=Named, epochs=1, batch_size=8)
    is_member = np.arange(40) < 20
    for target, says in ((Named(), "its layers are conv1, conv2, fc1, fc2"), (None, "give the target model")):
        with pytest.raises(ValueError, match=says):
            mf.audit(records, recipe, target=target, is_member=is_member, white_box=("fc7",))
    with pytest.raises(ValueError, match="leaves 12 non-members; half of them train proxies in batches of 8"):
        mf.audit(records, recipe, target=Named(), is_member=np.arange(40) < 28, white_box=("fc1",))
    with pytest.raises(TypeError, match=r"need the nn\.Module itself"):
        mf.audit(records, recipe, target=np.zeros((40, 3)), is_member=is_member, white_box=("fc1",))
    wider = Named()
    wider.fc1, wider.fc2 = nn.Linear(6 * 3 * 3, 20), nn.Linear(20, 3)
    with pytest.raises(ValueError, match=r"'fc1' answers \[20\] in the target, \[12\] in the recipe's model"):
        mf.audit(records, recipe, target=wider, is_member=is_member, white_box="fc1")
    with pytest.raises(TypeError, match=r"need a mf\.Recipe"):
        mf.audit(records, lambda *_: Named(), target=Named(), is_member=is_member, white_box=("fc1",))


def test_a_layer_that_is_bypassed_is_refused() -> None:
    with pytest.raises(ValueError, match="does not determine the output of Skip alone"):
        cut(Skip(), "around", torch.randn(2, 4))


def test_linear_of_reads_what_users_have() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.integers(2, size=50)
    model = LogisticRegression().fit(x, y)
    found = linear_of(model)
    logits = x @ found.weights.T + found.bias
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], model.decision_function(x))
    with pytest.raises(TypeError, match="not a linear model"):
        linear_of(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))


def test_what_all_classes_share_does_not_count() -> None:
    rng = np.random.default_rng(0)
    records = mf.Records(rng.normal(size=(9, 4)), rng.integers(3, size=9), classes=3)
    target, proxy = (Linear(rng.normal(size=(3, 4)), rng.normal(size=3)) for _ in range(2))
    shifted = Linear(target.weights + rng.normal(size=4), target.bias + 1.0)
    np.testing.assert_allclose(
        linear_against(shifted, proxy).score(records), linear_against(target, proxy).score(records), atol=1e-6
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: mf.whitebox.LinearBayes(MLP), "model='logistic'"),
        (lambda: mf.whitebox.LinearGeneral(splits=0), "splits=0"),
        (lambda: mf.whitebox.DeepGeneral("2", MLP, hidden=-1), "hidden=-1"),
        (lambda: mf.whitebox.DeepBayes("2", MLP, by="magic"), "by='magic'"),
        (lambda: mf.whitebox.LayerMeta((), MLP), "layers="),
        (lambda: mf.whitebox.DeepRatio("2", MLP, splits=1), "splits=1"),
        (lambda: calibrate(np.zeros(3), classes=2), "labels is None with 2 classes"),
        (lambda: mf.whitebox.LayerMeta(("1",), MLP, partitions=0), "partitions=0"),
        (lambda: mf.whitebox.BayesOptimal(np.zeros((2, 3)), np.zeros(3)), "must be positive"),
        (lambda: mf.whitebox.BayesOptimal(np.zeros((2, 3)), np.ones(2)), "shape"),
        (lambda: calibrate(np.zeros(3), np.zeros(3, int), classes=2, alpha=1.0), "alpha=1.0"),
        (lambda: calibrate(np.array([np.nan]), np.zeros(1, int), classes=2), "1 NaN"),
        (lambda: called_members(np.zeros(1), np.array([2]), np.zeros(2)), r"must lie in \[0, 2\)"),
    ],
)
def test_mistakes_are_named(make: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()  # type: ignore[operator]


def test_the_package_is_light_until_a_model_runs() -> None:
    code = "import sys, miafast as mf; mf.whitebox.BayesOptimal; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "False"


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    from miafast import cli

    records, _, _, _ = idiosyncratic()
    np.savez(tmp_path / "toy.npz", x=records.x, y=records.y)
    shared = ["--data", str(tmp_path / "toy.npz"), "--out", str(tmp_path), "--hidden", "16", "--batch-size", "16"]

    def run(*given: str) -> int:
        monkeypatch.setattr(sys, "argv", ["miafast", *given, *shared])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    assert run("explain", "0", "--layer", "0", "--epochs", "20") == 0
    assert "to be a member" in capsys.readouterr().out
    assert "feature 11" in (tmp_path / "explanation.html").read_text()
    for wrong, says in (
        (("explain", "0", "--layer", "fc"), "its layers are 0, 1, 2, 3"),
        (("explain", "999", "--layer", "0"), "0 … 119"),
    ):
        assert run(*wrong) == 2
        assert says in capsys.readouterr().err
    assert run("audit", "--white-box", "1,2", "--shadows", "8", "--epochs", "5", "--quiet") == 0
    assert "meta-model over 1, 2" in capsys.readouterr().out
    assert "From inside the model" in (tmp_path / "report.html").read_text()
    assert run("audit", "--white-box", "nine", "--shadows", "4", "--quiet") == 2
