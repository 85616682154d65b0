"""The papers' tables measure what they say: steps by hand, merged classes, verdicts on planted leaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from benchmarks import papers_lira, papers_shokri
from miafast.tables import Signals

pytest.importorskip("torch")


def test_thresholds_by_hand() -> None:
    """Balanced, 4 models: model 0 is IN; the next OUT model after it is left out with it."""
    signal = np.array([[5.0], [1.0], [3.0], [2.0]])
    mask = np.array([[True], [False], [True], [False]])
    middle = papers_lira.leave_one_out(signal, mask, lambda score, into, out: score - (into + out) / 2)
    assert middle[0, 0] == 5.0 - (3.0 + 2.0) / 2  # IN: 3 alone; OUT: 2, as 1 left with the target
    only_out = papers_lira.leave_one_out(signal, mask, lambda score, into, out: score - out)
    assert only_out[1, 0] == 1.0 - 2.0


def test_steps_find_a_leak_and_nothing_where_nothing_leaks() -> None:
    random = np.random.default_rng(0)
    mask = mf.membership(1500, 16, seed=0)
    hardness = random.normal(size=1500) * 3
    for leak in (0.0, 2.0):
        phi = random.normal(size=(16, 1500, 2)) + (hardness + leak * mask)[..., None]
        auc = {
            step: mf.roc(scores, mask).auc
            for step, scores in papers_lira.steps(Signals(phi, mask, np.zeros(1500, int))).items()
        }
        assert list(auc) == list(papers_lira.PUBLISHED)
        if leak:
            assert auc["IN & OUT + queries"] > auc["OUT + Gaussian"] > auc["loss"] + 0.1
        else:  # the 24,000 scores of a record hang together, at most 16-fold
            assert all(abs(each - 0.5) < 3 * np.sqrt(1 / 6 / 1500) for each in auc.values()), auc


def test_classes_are_merged_to_as_many_and_alike_ones_together() -> None:
    x = np.repeat([[0.0, 0], [0.1, 0], [5, 5], [5.1, 5]], 5, axis=0)
    merged = papers_shokri.merged(mf.Records(x, np.repeat(np.arange(4), 5), classes=4), 2)
    assert (merged.classes, set(merged.y[:10]), set(merged.y[10:])) == (2, {merged.y[0]}, {1 - merged.y[0]})


def test_verdicts_find_members_of_a_planted_leak_only(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    records = mf.Records(random.normal(size=(400, 2)), np.arange(400) % 2, classes=2)
    mask = mf.membership(400, 6, seed=0)
    for leak, low, high in ((3.0, 0.85, 1.0), (0.0, 0.45, 0.55)):
        z = random.normal(size=(6, 400, 2))
        z[:, np.arange(400), records.y] += leak * 2 * mask
        vectors = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
        verdicts = papers_shokri.attacked(vectors, mask, records)
        assert low <= mask[: papers_shokri.TARGETS][verdicts].mean() <= high
        members, others = papers_shokri.entropies(vectors, mask)
        rows = papers_shokri.histogram_rows("toy", members, others)
        assert sum(rows[0][f"bin{place}"] for place in range(papers_shokri.BINS)) == pytest.approx(100)
        assert (rows[0]["distance"] > 0.3) == (leak > 0)


def test_predictions_are_kept_for_their_own_run_only(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    records = mf.Records(random.normal(size=(60, 3)), np.arange(60) % 2, classes=2)
    mask = mf.membership(60, 2, seed=0)
    cases = [papers_shokri.Case("toy", 60, mf.Recipe(hidden=(4,), epochs=epochs, batch_size=8), 2) for epochs in (1, 9)]
    first, again, other = (
        np.array(papers_shokri.predictions(case, records, mask, tmp_path / "p.npy"))
        for case in (cases[0], cases[0], cases[1])
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    np.testing.assert_allclose(first.sum(axis=-1), 1, rtol=1e-5)
