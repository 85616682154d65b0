"""Every attack on signals with nothing planted (AUC ½ with every mask) and with a leak planted. One line joins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import miafast as mf
from miafast import attacks
from miafast.measurements import kind_of
from miafast.ops.signals import signals
from tests.test_lira import MASKS, departure

ATTACKS = [
    attacks.LiRA(),
    attacks.LiRA("offline"),
    attacks.Threshold(),
    attacks.Gap(),
    attacks.Confidence(),
    attacks.Confidence("class-wise"),
    attacks.Entropy(),
    attacks.Entropy("class-wise"),
    attacks.ModifiedEntropy(),
    attacks.ModifiedEntropy("class-wise"),
    attacks.Sablayrolles(),
    attacks.Watson(),
    attacks.Long(radius=0.5),
    attacks.AttackP(),
    attacks.AttackR(),
    attacks.AttackR("linear"),
    attacks.AttackR("loss"),
    attacks.AttackD(),
    attacks.TunedRMIA(),
    attacks.AttackR("logit"),
    attacks.Merlin(),
    attacks.Morgan(fpr=0.1),
    attacks.Morgan(window=(0.01, 1.0)),
    attacks.NoiseRobustness(),
    attacks.AugmentationRobustness(),
    attacks.BoundaryDistance(),
    attacks.GradientNorm(),
]
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)

MODELS, RECORDS, CLASSES, COPIES = 10, 3000, 3, 6


def measured(rng: np.random.Generator, in_mask: np.ndarray, *, leak: float) -> dict[str, np.ndarray]:
    """Signals of models whose records have their own difficulty, and a label logit higher by ``leak`` when IN."""
    labels = np.arange(RECORDS) % CLASSES
    is_label = labels[:, None] == np.arange(CLASSES)
    level = rng.normal(size=(RECORDS, 1, CLASSES)) + 1.5 * is_label[:, None]
    logits = level + rng.normal(size=(MODELS, RECORDS, 2, CLASSES)) * 0.7
    logits += leak * in_mask[:, :, None, None] * is_label[:, None]
    noisy = logits[:, :, :1] + rng.normal(size=(MODELS, RECORDS, COPIES, CLASSES))
    noisy -= 0.3 * leak * in_mask[:, :, None, None] * is_label[:, None]
    found, around = (signals(np.moveaxis(each, 1, 2), labels) for each in (logits, noisy))
    arrays = {name: np.moveaxis(array, 1, 2).astype(np.float32) for name, array in found._asdict().items()}
    arrays["noisy_loss"], arrays["noisy_correct"] = (
        np.moveaxis(each, 1, 2).astype(np.float32) for each in (around.loss, around.correct)
    )
    step = np.exp(logits - logits.max(axis=-1, keepdims=True))
    step = step / step.sum(axis=-1, keepdims=True) - is_label[:, None]  # the loss's gradient by the logits
    arrays["gradient_norm"] = -np.log(np.linalg.norm(step, axis=-1)).astype(np.float32)
    arrays["boundary_distance"] = np.maximum(arrays["margin"][:, :, :1], 0)
    return {**arrays, "logits": logits, "labels": labels}


def score_all(attack: Any, arrays: dict[str, np.ndarray], in_mask: np.ndarray) -> np.ndarray:
    first, *further = map(kind_of, attack.signals)
    more = {name: arrays[name] for name in further}
    if getattr(attack, "labels", False):
        more["labels"] = arrays["labels"]
    return attack.score_all(arrays[first], in_mask, **more)


def score(attack: Any, arrays: dict[str, np.ndarray], in_mask: np.ndarray, target: int) -> np.ndarray:
    others = np.arange(len(in_mask)) != target
    first, *further = map(kind_of, attack.signals)
    more: dict[str, Any] = {name: (arrays[name][target], arrays[name][others]) for name in further}
    if getattr(attack, "labels", False):
        more["labels"] = arrays["labels"]
    return attack.score(arrays[first][target], arrays[first][others], in_mask[others], **more)


@pytest.mark.filterwarnings("ignore::miafast.attacks.UnscoredRecordsWarning")
@pytest.mark.parametrize("mask", list(MASKS))
@every_attack
def test_where_nothing_leaks_nothing_is_found(attack: Any, mask: str) -> None:
    rng = np.random.default_rng(11)
    in_mask = MASKS[mask](rng, MODELS, RECORDS)
    arrays = measured(rng, in_mask, leak=0.0)
    assert abs(departure(score_all(attack, arrays, in_mask), in_mask)) < 3
    is_member = rng.random(RECORDS) < 0.5  # of a target that the shadows' mask says nothing about
    assert abs(departure(score(attack, arrays, in_mask, 0)[None], is_member[None])) < 3


@pytest.mark.filterwarnings("ignore::miafast.attacks.UnscoredRecordsWarning")
@pytest.mark.parametrize("mask", ["balanced", "coins"])
@every_attack
def test_a_planted_leak_is_found(attack: Any, mask: str) -> None:
    rng = np.random.default_rng(12)
    in_mask = MASKS[mask](rng, MODELS, RECORDS)
    arrays = measured(rng, in_mask, leak=2.0)
    assert departure(score_all(attack, arrays, in_mask), in_mask) > 5
    assert mf.roc(np.nan_to_num(score(attack, arrays, in_mask, 0), nan=-9.0), in_mask[0]).auc > 0.52


@pytest.mark.filterwarnings("ignore::miafast.attacks.UnscoredRecordsWarning")
@every_attack
def test_score_all_is_score_on_the_others_for_independent_coins(attack: Any) -> None:
    rng = np.random.default_rng(13)
    in_mask = MASKS["coins"](rng, MODELS, RECORDS)
    in_mask[:3], in_mask[3:6] = True, False
    in_mask[:, 0] = np.arange(MODELS) < 7  # not the same count for every record
    arrays = measured(rng, in_mask, leak=1.0)
    everyone = score_all(attack, arrays, in_mask)
    for target in (0, 4):
        np.testing.assert_allclose(everyone[target], score(attack, arrays, in_mask, target), rtol=1e-4, atol=1e-4)
