"""Collect: every model is asked every record once, reduced to phi at once, in fixed chunks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from miafast import collect as stage
from miafast.store import Store

torch = pytest.importorskip("torch")

RECORDS = mf.Records(np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32), np.arange(50) % 3, classes=3)
WEIGHTS = np.random.default_rng(1).normal(size=(5, 4, 3)).astype(np.float32)
MASK = np.random.default_rng(2).random((5, 50)) < 0.5


class Linear:
    """Models that were never trained: logits = x @ weights."""

    def __init__(self, models: Sequence[int]) -> None:
        self.count, self.weights = len(models), torch.from_numpy(WEIGHTS[list(models)])

    def logits(self, x: np.ndarray) -> object:
        return torch.from_numpy(x) @ self.weights


def run(folder: Path | None, trained: list[int], *, fail_at: int | None = None) -> mf.Signals:
    def train(models: Sequence[int]) -> Linear:
        if fail_at in models:
            raise KeyboardInterrupt
        trained.extend(models)
        return Linear(models)

    identity = {"queries": ["identity", "halve"]}
    with Store(folder, identity, in_mask=MASK, labels=RECORDS.y, queries=2) as store:
        return stage.collect(train, RECORDS, store, chunk=2, queries=["identity", lambda x: x / 2])


def test_signals_are_phi_of_every_model_record_and_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "BATCH_LOGITS", 7 * 2 * 3)  # batches of 7 records: the last one is smaller
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
    class Diverged(Linear):
        def logits(self, x: np.ndarray) -> object:
            logits = super().logits(x)
            logits[1, 9] = np.nan  # type: ignore[index]
            return logits

    with pytest.raises(ValueError, match=r"model 11 gives NaN .* record 9"):
        stage.measure(Diverged([0, 1]), RECORDS, ["identity"], first=10)


def test_wrong_shapes_are_named() -> None:
    class TwoClasses(Linear):
        def logits(self, x: np.ndarray) -> object:
            return super().logits(x)[..., :2]  # type: ignore[index]

    with pytest.raises(ValueError, match=r"logits have shape .*\[batch, classes\] = \(50, 3\)"):
        stage.measure(TwoClasses([0]), RECORDS, ["identity"])
