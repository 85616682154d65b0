"""Data sets by name: the published counts of real copies, every form in small, and what a missing one says."""

from __future__ import annotations

import gzip
import re
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from miafast.data import available
from miafast.data.catalogue import SETS
from tests.small_files import X, Y, quietly, tar

RNG = np.random.default_rng(1)


# ---------------------------------------------------------------------------------------------------- built-in names


def test_digits_are_sklearns_in_zero_to_one() -> None:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    records = mf.load("digits")
    np.testing.assert_array_equal(records.inputs(), (x / 16).astype(np.float32))
    np.testing.assert_array_equal(records.y, y)
    assert (len(records), records.shape, records.classes, records.name) == (1797, (64,), 10, "digits")


@pytest.mark.parametrize(("name", "shape", "classes"), [("breast_cancer", (569, 30), 2), ("wine", (178, 13), 3)])
def test_tables_of_sklearn_are_standardised(name: str, shape: tuple[int, int], classes: int) -> None:
    records = mf.load(name)
    assert (records.x.shape, records.classes, len(records.class_names or ())) == (shape, classes, classes)
    np.testing.assert_allclose(records.x.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(records.x.std(axis=0, dtype=np.float64), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("location30", (5010, 446), None),
        ("mnist", (70000, 1, 28, 28), [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]),
        ("adult", (48842, 108), [37155, 11687]),
        ("pima", (768, 8), [500, 268]),
        ("hepatitis", (155, 19), [32, 123]),
        ("german_credit", (1000, 61), [700, 300]),
        ("lfw", (1288, 1, 50, 37), [77, 236, 121, 530, 109, 71, 144]),
    ],
)
def test_real_data_has_its_published_counts(
    real_data: Path, name: str, shape: tuple[int, ...], counts: list[int] | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = mf.load(name, data_dir=real_data)
    assert records.x.shape == shape
    assert records.classes == SETS[name].classes == len(np.unique(records.y))
    if counts:
        assert np.bincount(records.y).tolist() == counts
    assert np.abs(records.inputs(slice(0, 1000))).max() < 20
    assert available(real_data)[name].found


def test_location30_is_the_same_from_its_two_files(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "dataset_location.tgz").write_bytes((real_data / "location30" / "dataset_location.tgz").read_bytes())
    one, two = mf.load("location30", data_dir=real_data), mf.load("location30", data_dir=tmp_path)
    assert one.fingerprint == two.fingerprint
    assert one.x.dtype == np.uint8


def test_parts_of_adult_keep_the_columns_of_all(real_data: Path) -> None:
    everything, train, test = (mf.load("adult", data_dir=real_data, part=part) for part in ("all", "train", "test"))
    assert (len(train), len(test)) == (32561, 16281)
    np.testing.assert_array_equal(np.concatenate([train.x, test.x]), everything.x)


@pytest.mark.slow
def test_cifar10_test_shard_is_the_published_one(real_data: Path) -> None:
    pytest.importorskip("imagecodecs")
    records = mf.load("cifar10", data_dir=real_data, part="test")
    assert (records.x.shape, records.x.dtype) == ((10000, 3, 32, 32), np.uint8)
    assert np.bincount(records.y).tolist() == [1000] * 10
    means = records.x.mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(means, [0.4942, 0.4851, 0.4504], atol=5e-5)


@pytest.mark.slow
def test_cifar100_test_shard_has_a_hundred_images_per_class(real_data: Path) -> None:
    pytest.importorskip("imagecodecs")
    fine = mf.load("cifar100", data_dir=real_data, part="test")
    assert np.bincount(fine.y).tolist() == [100] * 100
    assert len(fine.class_names or ()) == 100


# ------------------------------------------------------------------------------------------------ names and finding


@pytest.mark.parametrize("name", [name for name, each in SETS.items() if each.forms])
def test_a_missing_set_says_what_where_and_on_what_terms(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        mf.load(name, data_dir=tmp_path)
    message = str(caught.value)
    for part in (name, str(tmp_path), SETS[name].source, SETS[name].terms, *map(str, SETS[name].forms)):
        assert part in message
    with pytest.raises(FileNotFoundError, match="data_dir"):
        mf.load(name)
    assert not available(tmp_path)[name].found
    assert SETS[name].source in str(available(tmp_path))


def test_options_that_do_not_apply_are_refused(tmp_path: Path) -> None:
    for options, complaint in [
        ({"part": "train"}, "part='train' of digits"),
        ({"part": "valid"}, "choose all, train or test"),
        ({"label": "y"}, "label='y': digits has labels of its own"),
        ({"classes": 3}, "classes=3 is for files"),
        ({"standardise": False}, "standardise=False is for files"),
    ]:
        with pytest.raises(ValueError, match=re.escape(complaint)):
            mf.load("digits", **options)
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    with pytest.raises(ValueError, match="label='z' names a column"):
        mf.load(tmp_path / "a.npz", label="z")
    with pytest.raises(ValueError, match="has no parts"):
        mf.load(tmp_path / "a.npz", part="test")


def test_unknown_names_and_paths(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="did you mean 'purchase100'"):
        mf.load("purchase")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz' does not exist"):
        mf.load(tmp_path / "nowhere.npz")
    with pytest.raises(ValueError, match="is a folder; give a file"):
        mf.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        mf.load("mnist", data_dir=tmp_path / "nowhere")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"ends in \.xlsx; files may be \.npz"):
        mf.load(tmp_path / "a.xlsx")


def test_archives_cannot_reach_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with tarfile.open(folder / "dataset_location.tgz", "w:gz") as archive:
        link = tarfile.TarInfo("bangkok")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ValueError, match="no file 'bangkok'"):
        mf.load("location30", data_dir=folder)
    tar(folder / "dataset_location.tgz", {"../../evil": b"", "../bangkok": b"1,0\n2,1\n"})
    assert len(quietly("location30", folder)) == 2
    assert [each.name for each in tmp_path.rglob("*")] == ["data", "dataset_location.tgz"]
    huge = tarfile.TarInfo("bangkok")
    huge.size = 5 << 30
    (folder / "dataset_location.tgz").write_bytes(gzip.compress(huge.tobuf()))
    with pytest.raises(ValueError, match="too much"):
        mf.load("location30", data_dir=folder)
