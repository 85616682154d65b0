"""Every form in which a named data set comes, in small: what is read, and that it is read strictly."""

from __future__ import annotations

import gzip
import lzma
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from tests.small_files import idx, lines, quietly, tar

RNG = np.random.default_rng(1)


@pytest.fixture
def bits() -> tuple[np.ndarray, np.ndarray]:
    return RNG.integers(0, 2, (40, 9), dtype=np.uint8), np.arange(40) % 25 + 1


@pytest.mark.parametrize("form", ["tgz", "unpacked", "npz", "npz from 1", "npz one-hot", "in a folder of its name"])
def test_purchase100_reads_every_form(tmp_path: Path, bits: tuple[np.ndarray, np.ndarray], form: str) -> None:
    x, y = bits
    if form == "tgz":
        tar(tmp_path / "dataset_purchase.tgz", {"dataset_purchase": lines(x, y)})
    elif form == "unpacked":
        (tmp_path / "dataset_purchase").write_bytes(lines(x, y).replace(b"\n", b"\r\n"))
    elif form == "in a folder of its name":
        (tmp_path / "purchase100").mkdir()
        tar(tmp_path / "purchase100" / "dataset_purchase.tgz", {"./dataset_purchase": lines(x, y, '"').rstrip()})
    elif form == "npz":
        np.savez(tmp_path / "purchase100.npz", x=x, y=y - 1)
    elif form == "npz from 1":
        y[0] = 100
        np.savez(tmp_path / "purchase100.npz", features=x.astype(float), labels=y)
    else:
        np.savez_compressed(tmp_path / "purchase100.npz", features=x, labels=np.eye(100)[y - 1])
    records = quietly("purchase100", tmp_path)
    np.testing.assert_array_equal(records.x, x)
    np.testing.assert_array_equal(records.y, y - 1)
    assert (records.classes, records.x.dtype, records.scale) == (100, np.uint8, 1.0)


@pytest.mark.parametrize("order", [("feats", "labels"), ("labels", "feats")])
def test_texas100_reads_the_archive_and_the_folder(
    tmp_path: Path, bits: tuple[np.ndarray, np.ndarray], order: tuple[str, str]
) -> None:
    x, y = bits
    content = {"feats": lines(x), "labels": "".join(f"{each}\n" for each in y).encode()}
    other = {"texas/10/feats": b"1,1\n", "texas/10/labels": b"7\n"}
    archive = {f"texas/100/{name}": content[name] for name in order}
    tar(tmp_path / "dataset_texas.tgz", other | archive)
    from_archive = quietly("texas100", tmp_path)
    folder = tmp_path / "unpacked" / "texas" / "100"
    folder.mkdir(parents=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    from_folder = quietly("texas100", tmp_path / "unpacked")
    assert from_archive.fingerprint == from_folder.fingerprint
    np.testing.assert_array_equal(from_archive.x, x)
    np.testing.assert_array_equal(from_archive.y, y - 1)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"3,0,1,1\n4,0,2,1\n", "line 2"),
        (b"3,0,1,1\n4,0,1\n", "line 2"),
        (b"3,0,1,1\n4;0,1,1\n", "line 2"),
        (b"3,0,1,1\nx,0,1,1\n", "line 2"),
        (b"0,0,1,1\n", "count from 1"),
        (b"", "empty"),
    ],
)
def test_tables_of_zeros_and_ones_are_read_strictly(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "bangkok").write_bytes(content)
    with pytest.raises(ValueError, match=f"bangkok cannot be read.*{complaint}"):
        mf.load("location30", data_dir=tmp_path)


def test_blocks_do_not_change_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from miafast.data import binary_tables

    x, y = RNG.integers(0, 2, (300, 7), dtype=np.uint8), RNG.integers(1, 31, 300)
    (tmp_path / "bangkok").write_bytes(lines(x, y))
    for block in (20, 64, 1000):
        monkeypatch.setattr(binary_tables, "BLOCK", block)
        records = quietly("location30", tmp_path)
        np.testing.assert_array_equal(records.x, x)
        np.testing.assert_array_equal(records.y, y - 1)


@pytest.fixture
def cifar() -> tuple[np.ndarray, np.ndarray]:
    return RNG.integers(0, 256, (24, 3, 32, 32), dtype=np.uint8), (np.arange(24) % 10).astype(np.uint8)


def cifar10_files(x: np.ndarray, y: np.ndarray) -> dict[str, bytes]:
    names = [*(f"data_batch_{each}.bin" for each in range(1, 6)), "test_batch.bin"]
    rows = np.concatenate([y[:, None], x.reshape(len(x), -1)], axis=1)
    return {name: rows[at * 4 : at * 4 + 4].tobytes() for at, name in enumerate(names)}


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_cifar10_reads_the_binary_version(tmp_path: Path, cifar: tuple[np.ndarray, np.ndarray], form: str) -> None:
    x, y = cifar
    files = cifar10_files(x, y)
    if form == "folder":
        (tmp_path / "cifar-10-batches-bin").mkdir()
        for name, data in files.items():
            (tmp_path / "cifar-10-batches-bin" / name).write_bytes(data)
    else:  # members in another order than the records
        content = {f"cifar-10-batches-bin/{name}": files[name] for name in sorted(files, reverse=True)}
        tar(tmp_path / "cifar-10-binary.tar.gz", content)
    records = quietly("cifar10", tmp_path)
    np.testing.assert_array_equal(records.x, x)
    np.testing.assert_array_equal(records.y, y)
    np.testing.assert_allclose(records.inputs(), (x / 255 - 0.5) / 0.25, atol=1e-6)
    np.testing.assert_array_equal(quietly("cifar10", tmp_path, part="test").x, x[20:])


def test_cifar100_has_fine_and_coarse_labels(tmp_path: Path, cifar: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = cifar
    rows = np.concatenate([y[:, None] // 2, y[:, None] * 9, x.reshape(len(x), -1)], axis=1)
    (tmp_path / "train.bin").write_bytes(rows[:20].tobytes())
    (tmp_path / "test.bin").write_bytes(rows[20:].tobytes())
    fine, coarse = quietly("cifar100", tmp_path), quietly("cifar100", tmp_path, label="coarse")
    np.testing.assert_array_equal(fine.y, y * 9)
    np.testing.assert_array_equal(coarse.y, y // 2)
    assert (fine.classes, coarse.classes) == (100, 20)
    with pytest.raises(ValueError, match="'fine' or 'coarse'"):
        mf.load("cifar100", data_dir=tmp_path, label="medium")


def shard(path: Path, x: np.ndarray, **labels: np.ndarray) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    perm = np.random.default_rng(len(x)).permutation(len(x)).astype(np.uint16)
    streams = []
    for start in range(0, len(x), 512):
        tiles = x[perm[start : start + 512]].transpose(0, 2, 3, 1)
        mosaic = tiles.reshape(-1, 8, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 256, 3)
        streams.append(imagecodecs.jpegxl_encode(np.ascontiguousarray(mosaic), lossless=True, effort=1))
    jxl = np.frombuffer(b"".join(streams), np.uint8)
    np.savez(path, jxl=jxl, sizes=np.array([len(each) for each in streams], np.uint32), perm=perm, **labels)


def test_cifar_shards_are_put_back_in_order(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (528, 3, 32, 32), dtype=np.uint8)
    y = (np.arange(528) % 100).astype(np.uint8)
    shard(tmp_path / "test.npz", x, fine_labels=y, coarse_labels=y // 5)
    records = quietly("cifar100", tmp_path, part="test")
    np.testing.assert_array_equal(records.x, x)
    np.testing.assert_array_equal(records.y, y)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("perm", np.zeros(16, np.uint16), "no permutation"),
        ("sizes", np.array([5], np.uint32), "does not add up"),
        ("fine_labels", np.zeros(3, np.uint8), "16 images but"),
        ("jxl", None, "JPEG XL"),
    ],
)
def test_broken_cifar_shards_are_refused(tmp_path: Path, key: str, value: np.ndarray | None, complaint: str) -> None:
    x = RNG.integers(0, 256, (16, 3, 32, 32), dtype=np.uint8)
    shard(tmp_path / "test.npz", x, fine_labels=np.arange(16, dtype=np.uint8))
    with np.load(tmp_path / "test.npz") as opened:
        content = dict(opened)
    content[key] = np.zeros_like(content[key]) if value is None else value
    np.savez(tmp_path / "test.npz", **content)
    with pytest.raises(ValueError, match=complaint):
        mf.load("cifar100", data_dir=tmp_path, part="test")


def test_shards_without_a_decoder_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "test.npz", jxl=np.zeros(1, np.uint8))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImportError, match=r"pip install 'miafast\[data\]' for imagecodecs"):
        mf.load("cifar100", data_dir=tmp_path, part="test")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cifar10", "data_batch_1"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar10", "cifar-10-batches-py/test_batch"),
        ("cifar100", "cifar-100-python/train"),
    ],
)
def test_the_pickled_version_of_cifar_is_refused_unread(tmp_path: Path, name: str, file: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return (open, (str(tmp_path / "sprung"), "w"))

    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"a pickle.*-binary\.tar\.gz, the binary version"):
        mf.load(name, data_dir=tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", ["", "MNIST/raw", "mnist"])
def test_mnist_reads_idx_files(tmp_path: Path, packed: bool, below: str) -> None:
    x, y = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8), np.arange(30, dtype=np.uint8) % 10
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    for stem, part in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        for name, data in ((f"{stem}-images-idx3-ubyte", idx(x[part])), (f"{stem}-labels-idx1-ubyte", idx(y[part]))):
            path = tmp_path / below / (name + ".gz" * packed)
            path.write_bytes(gzip.compress(data) if packed else data)
    records = quietly("mnist", tmp_path)
    np.testing.assert_array_equal(records.x, x[:, None])
    np.testing.assert_array_equal(quietly("mnist", tmp_path, part="train").y, y[:20])


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (idx(np.zeros((20,), np.uint8)), "starts with 00000801, not 00000803"),
        (b"\x89PNG\r\n\x1a\n", "starts with 89504e47"),
        (b"", "starts with nothing"),
        (idx(np.zeros((20, 28, 28), np.uint8))[:-1], "holds fewer"),
        (idx(np.zeros((20, 28, 28), np.uint8)) + b"0", "holds more"),
        (b"\0\0\x08\x03\0\0", "unpack requires"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "more than 4 GiB"),
        (idx(np.zeros((19, 28, 28), np.uint8)), "20 labels for 19 images"),
    ],
)
def test_wrong_idx_files_are_refused(tmp_path: Path, images: bytes, complaint: str) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(20, dtype=np.uint8) % 10))
    with pytest.raises(ValueError, match=complaint):
        mf.load("mnist", data_dir=tmp_path, part="train")


ADULT = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Own-child, White, Male, 2174, 0, 40, Cuba, <=50K"
)


def test_adult_is_encoded_over_both_files(tmp_path: Path) -> None:
    rich = ADULT.replace("<=50K", ">50K.").replace("State-gov", "?").replace("39", "41")
    (tmp_path / "adult.data.xz").write_bytes(lzma.compress(f"{ADULT}\n{ADULT}\n\n".encode()))
    (tmp_path / "adult.test").write_text(f"|1x3 Cross validator\n{rich}\n{ADULT}.\n")
    records = quietly("adult", tmp_path)
    assert records.y.tolist() == [0, 0, 1, 0]
    assert records.x.shape == (4, 6 + 9)  # workclass has two values, the other seven categories one
    np.testing.assert_allclose(records.x[:, 0], [-(3**-0.5)] * 2 + [3**0.5, -(3**-0.5)], rtol=1e-6)
    np.testing.assert_array_equal(records.x[:, 1:3], [[0, 1], [0, 1], [1, 0], [0, 1]])
    (tmp_path / "adult.test").write_text(ADULT.replace("<=50K", "poor"))
    with pytest.raises(ValueError, match="row 3 has the label 'poor'"):
        mf.load("adult", data_dir=tmp_path)
    (tmp_path / "adult.test").write_text(ADULT.replace("39", "old"))
    with pytest.raises(ValueError, match="'old' where a number belongs"):
        mf.load("adult", data_dir=tmp_path)
    (tmp_path / "adult.test").write_text("1,2,3")
    with pytest.raises(ValueError, match="row 1 has 3 fields, not 15"):
        mf.load("adult", data_dir=tmp_path)


def test_hepatitis_fills_in_lower_medians(tmp_path: Path) -> None:
    columns = [[1, 2, 2, 1, 2], ["30", "?", "50", "40", "60"], *[[1, 2, 1, "?", 2]] * 18]
    (tmp_path / "hepatitis.data").write_text(
        "".join(",".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))
    )
    records = quietly("hepatitis", tmp_path)
    assert records.y.tolist() == [0, 1, 1, 0, 1]
    ages = np.array([30, 40, 50, 40, 60])  # of 30 40 50 60 the lower middle
    np.testing.assert_allclose(records.x[:, 0], (ages - ages.mean()) / ages.std(), rtol=1e-6)
    assert records.x[3, 1] == records.x[0, 1]


def test_german_credit_reads_both_published_files(tmp_path: Path) -> None:
    row = "A11 6 A34 A43 1169 A65 A75 4 A93 A101 4 A121 67 A143 A152 2 A173 1 A192 A201"
    (tmp_path / "german.data").write_text(f"{row} 1\n{row.replace('A11', 'A12')} 2\n")
    assert quietly("german_credit", tmp_path).x.shape == (2, 7 + 14)
    (tmp_path / "german.data").unlink()
    (tmp_path / "german.data-numeric").write_text("".join("  " + "  ".join(["1"] * 24 + [each, "\n"]) for each in "12"))
    assert quietly("german_credit", tmp_path).x.shape == (2, 24)


@pytest.mark.parametrize("header", ["", "Pregnancies,Glucose,BP,Skin,Insulin,BMI,Pedigree,Age,Outcome\n"])
def test_pima_may_have_a_header(tmp_path: Path, header: str) -> None:
    (tmp_path / "diabetes.csv").write_text(header + "6,148,72,35,0,33.6,0.627,50,1\n1,85,66,29,0,26.6,0.351,31,0\n")
    records = quietly("pima", tmp_path)
    assert records.y.tolist() == [1, 0]
    assert records.x[:, 4].tolist() == [0, 0]


def test_lfw_becomes_grey_images(tmp_path: Path) -> None:
    x = RNG.integers(0, 766, (14, 5, 4)).astype(np.uint16)
    np.savez(tmp_path / "lfw_people_min70.npz", x_sum_rgb=x, y=np.arange(14) % 7)
    records = quietly("lfw", tmp_path)
    np.testing.assert_allclose(records.inputs()[:, 0], (x / 765 - 0.5) / 0.25, atol=1e-6)
