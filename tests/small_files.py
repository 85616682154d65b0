"""Small files of the kinds that people have, for the tests of miafast.data."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import miafast as mf
from miafast.tables import Records

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
Y = np.arange(12) % 3


def tar(path: Path, content: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def lines(x: np.ndarray, labels: np.ndarray | None = None, quote: str = "") -> bytes:
    heads = [""] * len(x) if labels is None else [f"{quote}{each}{quote}," for each in labels]
    return "".join(head + ",".join(map(str, row)) + "\n" for head, row in zip(heads, x, strict=True)).encode()


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def quietly(name: str, folder: Path, **options: object) -> Records:
    """Load a small stand-in for a published data set, whose size is rightly remarked upon."""
    with pytest.warns(UserWarning, match="were published"):
        return mf.load(name, data_dir=folder, **options)


CSV = "age,colour,paid,kind\n" + "".join(
    f"{20 + row},{['red', 'green', 'blue'][row % 3]},{row % 2},{'cat' if row % 4 else 'dog'}\n" for row in range(12)
)


def as_csv(tmp_path: Path, content: str) -> Path:
    (tmp_path / "a.csv").write_text(content)
    return tmp_path / "a.csv"


def as_gzipped_csv(tmp_path: Path, content: str) -> Path:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content.encode()))
    return tmp_path / "a.csv.gz"


def as_parquet(tmp_path: Path, content: str) -> Path:
    from pyarrow import csv, parquet

    parquet.write_table(csv.read_csv(io.BytesIO(content.encode())), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def whole_files(folder: Path) -> dict[str, Callable[[], Records]]:
    """Small intact files by name, and how each is loaded."""
    rng = np.random.default_rng(3)
    bits, labels = rng.integers(0, 2, (40, 30), dtype=np.uint8), np.arange(40) % 30 + 1
    tar(folder / "dataset_location.tgz", {"bangkok": lines(bits, labels)})
    np.savez_compressed(folder / "a.npz", x=X, y=Y)
    as_csv(folder, CSV)
    as_gzipped_csv(folder, CSV)
    as_parquet(folder, CSV)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(
        gzip.compress(idx(RNG.integers(0, 9, (20, 5, 5)).astype(np.uint8)))
    )
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(20, dtype=np.uint8) % 10)))
    return {
        "a.npz": lambda: mf.load(folder / "a.npz"),
        "a.csv.gz": lambda: mf.load(folder / "a.csv.gz", label="kind"),
        "a.parquet": lambda: mf.load(folder / "a.parquet", label="kind"),
        "dataset_location.tgz": lambda: mf.load("location30", data_dir=folder),
        "t10k-images-idx3-ubyte.gz": lambda: mf.load("mnist", data_dir=folder, part="test"),
    }
