"""Attack-D: mimics learn the target's answers, a memorising target is found, one that never saw the pool is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import miafast as mf
from miafast.attacks import AttackD, AttackR
from miafast.shadow import distilled, fingerprint_of, is_distilled, train, train_modules

RECIPE = mf.Recipe(hidden=(32,), epochs=40, batch_size=50, learning_rate=1e-2)


def pool(seed: int, records: int = 300) -> mf.Records:
    """Labels that only memory can tell, in part."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(records, 20)).astype(np.float32)
    y = np.where(rng.random(records) < 0.5, x[:, 0] > 0, rng.random(records) < 0.5).astype(int)
    return mf.Records(x, y, classes=2)


def target_on(records: mf.Records, is_member: np.ndarray) -> torch.nn.Module:
    return train_modules(RECIPE, records, is_member[None], models=[0], seed=5)[0]


def audited(records: mf.Records, target: torch.nn.Module, is_member: np.ndarray) -> mf.Roc:
    report = mf.audit(
        records, distilled(RECIPE, target), attack=AttackD("logit"), target=target, is_member=is_member, shadows=8
    )
    return report.results[0].roc


def test_a_target_that_memorises_is_found() -> None:
    records, is_member = pool(0), np.random.default_rng(1).random(300) < 0.5
    assert audited(records, target_on(records, is_member), is_member).auc > 0.7


def test_a_target_that_never_saw_the_pool_is_at_auc_one_half() -> None:
    elsewhere = pool(2)
    target = target_on(elsewhere, np.ones(300, bool))
    is_member = np.random.default_rng(3).random(300) < 0.5
    found = audited(pool(4), target, is_member)
    assert abs(found.auc - 0.5) < 3 * np.sqrt(1 / (12 * 150) * 2)


def test_mimics_agree_with_the_target_more_than_the_labels_do() -> None:
    records = pool(6)
    target = target_on(records, np.arange(300) < 150)
    mask = np.ones((1, 300), bool)
    answers = target(torch.from_numpy(records.x)).softmax(-1).detach()
    mimic, usual = (
        train(how, records, mask, models=[0], seed=0).logits(records.x)[0].softmax(-1)
        for how in (distilled(RECIPE, target), RECIPE)
    )
    assert (mimic - answers).abs().mean() < 0.5 * (usual - answers).abs().mean()


def test_scores_by_hand() -> None:
    losses = np.array([[1.0], [2.0], [4.0], [0.1]])
    mimics, in_mask = -np.log(np.expm1(losses)), np.array([[False], [False], [False], [True]])
    target = -np.log(np.expm1([1.5]))
    assert AttackD().score(target, mimics, in_mask) == pytest.approx(2 / 3)
    assert AttackD("linear").score(target, mimics, in_mask) == pytest.approx(1 - 1.5 / 4)
    assert AttackR("linear").score(mimics[1], mimics, in_mask) == pytest.approx(1 - 2 / 4)  # a tie: its own place
    far = np.array([-502.0])  # phi: the loss is 502, halfway from 4 to 1000
    assert AttackR("linear").score(far, mimics, in_mask) == pytest.approx(1 - 3.5 / 4)
    assert (AttackD().name, AttackD("linear").name) == ("Attack-D", "Attack-D, linear")


def test_what_is_no_mimic_is_refused() -> None:
    records, is_member = pool(0), np.arange(300) < 150
    target = target_on(records, is_member)
    with pytest.raises(ValueError, match=r"Attack-D needs models distilled"):
        mf.audit(records, RECIPE, attack=AttackD(), target=target, is_member=is_member, shadows=8)
    with pytest.raises(TypeError, match=r"give the miafast\.Recipe"):
        distilled(lambda *_: None, target)  # type: ignore[arg-type]
    assert is_distilled(distilled(RECIPE, target))
    assert not is_distilled(RECIPE)
    assert fingerprint_of(distilled(RECIPE, target)) != fingerprint_of(distilled(mf.Recipe(), target))
