"""Signals on disk: what is complete survives, what is not does not count, and another run's folder is refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from miafast.store import Store, StoreError, reopen, write_array

MASK = np.random.default_rng(0).random((4, 6)) < 0.5
LABELS = np.arange(6) % 3
IDENTITY = {"records": "toy", "seed": 3, "queries": ["identity", "mirror"], "recipe": {"epochs": 60}}
PHI = np.random.default_rng(1).normal(size=(4, 6, 2)).astype(np.float32)
FACTS = {"train_accuracy": 1.0, "test_accuracy": 0.5, "train_seconds": 2.0}
LAYOUT = {"phi": (2,), "logits": (2, 3)}
LOGITS = np.random.default_rng(1).normal(size=(4, 6, 2, 3)).astype(np.float32)


def rows(which: object) -> dict[str, np.ndarray]:
    return {"phi": PHI[which], "logits": LOGITS[which]}


def make(folder: Path | None, **changed: object) -> Store:
    return Store(folder, {**IDENTITY, **changed}, in_mask=MASK, labels=LABELS, layout=LAYOUT)


@pytest.mark.parametrize("on_disk", [False, True])
def test_rows_come_back_as_they_went_in(tmp_path: Path, on_disk: bool) -> None:
    with make(tmp_path / "run" if on_disk else None) as store:
        store.append([2, 3], rows(slice(2, None)), [FACTS, FACTS])
        with pytest.raises(StoreError, match="2 of 4 models are missing"):
            store.signals()
        store.append([0, 1], rows(slice(2)), [FACTS, FACTS])
        signals = store.signals()
        np.testing.assert_array_equal(signals.phi, PHI)
        np.testing.assert_array_equal(signals.named("logits"), LOGITS)
        np.testing.assert_array_equal(signals.test_accuracy, [0.5] * 4)
        assert store.seconds("train_seconds") == 8.0


def test_reopening_continues_where_it_stopped(tmp_path: Path) -> None:
    with make(tmp_path) as store:
        store.append([1], rows(slice(1, 2)), [FACTS])
    with make(tmp_path) as store:
        assert set(store.done) == {1}
        store.append([0, 2, 3], rows([0, 2, 3]), [FACTS] * 3)
    with reopen(tmp_path) as store:
        np.testing.assert_array_equal(store.signals().phi, PHI)
        np.testing.assert_array_equal(store.in_mask, MASK)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 4}, "seed: 3 there, 4 here"),
        ({"recipe": {"epochs": 30}}, "recipe.epochs: 60 there, 30 here"),
        ({"records": "other"}, "records: 'toy' there, 'other' here"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    make(tmp_path).close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StoreError, match=message):
        make(tmp_path, **changed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_split_is_refused(tmp_path: Path) -> None:
    make(tmp_path).close()
    with pytest.raises(StoreError, match=r"in_mask\.npy.*differs"):
        Store(tmp_path, IDENTITY, in_mask=~MASK, labels=LABELS, layout=LAYOUT)


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match=r"other files \(thesis\.tex\)"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with make(tmp_path), pytest.raises(StoreError, match="in use by another run"):
        make(tmp_path)
    make(tmp_path).close()


def test_a_damaged_row_is_found(tmp_path: Path) -> None:
    with make(tmp_path) as store:
        store.append([0], rows(slice(1)), [FACTS])
    phi = np.load(tmp_path / "phi.npy", mmap_mode="r+")
    phi[0, 3, 1] += 1
    phi.flush()
    with pytest.raises(StoreError, match=r"row of model 0 in phi\.npy is damaged"):
        make(tmp_path)


@pytest.mark.parametrize("name", ["phi.npy", "in_mask.npy", "run.json", "done.json"])
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    with make(tmp_path) as store:
        store.append([0], rows(slice(1)), [FACTS])
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoreError, match=name):
        make(tmp_path)


def test_a_row_without_its_mark_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill between writing the rows and counting them leaves."""
    store = make(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            store.append([0], rows(slice(1)), [FACTS])
    store.close()
    with make(tmp_path) as store:
        assert not store.done


def test_a_full_disk_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="no room for"):
        make(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".partial" or path.name == "phi.npy"]


def test_reopening_no_run_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no run"):
        reopen(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(StoreError, match="has format 99"):
        reopen(tmp_path)


def test_what_does_not_fit_on_the_disk_leaves_nothing_and_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    write_array(tmp_path / "a.npy", np.arange(3))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(StoreError, match=r"a\.npy' cannot be written .* free some space"):
            write_array(tmp_path / "a.npy", np.zeros(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2]
