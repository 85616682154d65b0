"""How each form in which a data set is kept becomes inputs and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from miafast.data import binary_tables, cifar, idx, uci
from miafast.data.intact import broken, npz
from miafast.tables import Array

Table = tuple[Array, Array]  # x [records, ...], y [records]
Read = Callable[[Sequence[Path], Sequence[str]], Table]
PARTS = ("train", "test")


@dataclass(frozen=True)
class Form:
    """One set of files that holds a data set. `read` gets the files of the wanted parts and the wanted parts."""

    files: Mapping[str, tuple[str, ...]]  # part -> file names; "all" where the files are not split into parts
    read: Read
    packed: tuple[str, ...] = ("",)  # what may follow a file's name

    def names(self, parts: Sequence[str] = PARTS) -> list[str]:
        return [each for part in ("all", *parts) for each in self.files.get(part, ())]

    def find(self, folder: Path, parts: Sequence[str]) -> list[Path] | None:
        """The files in this folder, or None unless all of them are there."""
        found = []
        for name in self.names(parts):
            hits = [folder / (name + suffix) for suffix in self.packed if (folder / (name + suffix)).is_file()]
            if not hits:
                return None
            found.append(hits[0])
        return found

    def __str__(self) -> str:
        more = [each for each in self.packed if each]
        return ", ".join(self.names()) + (f" (or with {' or '.join(more)})" if more else "")


def one_file(name: str, read: Callable[[Path], Table]) -> Form:
    return Form({"all": (name,)}, lambda paths, parts: read(paths[0]))


def arrays_in_npz(name: str, classes: int) -> Form:
    """x, y (or features, labels) of an .npz; labels from 0, from 1, or one-hot."""

    def read(path: Path) -> Table:
        x, y = pair(npz(path), path)
        if y.ndim == 2 and y.shape[1] > 1:
            if not ((y.sum(axis=1) == 1) & (y.max(axis=1) == 1)).all():
                raise broken(path, ".npz of this data set", f"labels of shape {y.shape} are not one-hot")
            y = y.argmax(axis=1)
        return x, y - 1 if y.size and y.max() == classes and y.min() >= 1 else y

    return one_file(name, read)


def pair(content: Mapping[str, Array], path: Path) -> Table:
    """The inputs and labels among the arrays of an .npz file."""
    for keys in (("x", "y"), ("features", "labels")):
        if set(keys) <= set(content):
            return content[keys[0]], content[keys[1]]
    raise ValueError(
        f"{path} holds the keys {', '.join(content) or '(none)'}; it needs x and y (or features and labels): "
        "np.savez_compressed(path, x=inputs, y=labels)."
    )


def joined(tables: Sequence[Table]) -> Table:
    return np.concatenate([x for x, _ in tables]), np.concatenate([y for _, y in tables])


def zeros_and_ones(name: str, member: str) -> Form:
    return one_file(name, lambda path: binary_tables.labelled(path, member))


def texas() -> tuple[Form, ...]:
    unpacked = Form(
        {"all": ("feats", "labels")}, lambda paths, parts: binary_tables.features_and_labels(paths[0].parent)
    )
    return one_file("dataset_texas.tgz", binary_tables.features_and_labels), unpacked


def mnist() -> Form:
    def read(paths: Sequence[Path], parts: Sequence[str]) -> Table:
        tables = []
        for images, labels in zip(paths[::2], paths[1::2], strict=True):
            x, y = idx.read_idx(images, 3), idx.read_idx(labels, 1)
            if len(x) != len(y):
                raise broken(labels, "labels of MNIST", f"{len(y)} labels for {len(x)} images in {images.name}")
            tables.append((x, y))
        return joined(tables)

    train = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    test = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    return Form({"train": train, "test": test}, read, packed=("", ".gz"))


def adult() -> Form:
    """Both files are always read, so that columns mean the same whatever the part."""

    def read(paths: Sequence[Path], parts: Sequence[str]) -> Table:
        tables = dict(zip(PARTS, uci.adult(paths), strict=True))
        return joined([tables[part] for part in parts])

    return Form({"all": ("adult.data", "adult.test")}, read, packed=("", ".xz", ".gz"))


def lfw(name: str) -> Form:
    def read(path: Path) -> Table:
        content = npz(path)
        if "x_sum_rgb" in content and "y" in content:  # R + G + B, 0 … 765
            return content["x_sum_rgb"].astype(np.float32) / np.float32(765), content["y"]
        return pair(content, path)

    return one_file(name, read)


def cifar_forms(
    archive: str, train: Sequence[str], test: Sequence[str], shards: Sequence[str], layout: cifar.Layout
) -> tuple[Form, ...]:
    """The binary version unpacked, in its archive, and as JPEG XL shards (of train; test has one file)."""
    files = {"train": tuple(f"{each}.bin" for each in train), "test": tuple(f"{each}.bin" for each in test)}
    mosaics = {"train": tuple(f"{each}.npz" for each in shards), "test": tuple(f"{each}.npz" for each in test)}

    def unpack(paths: Sequence[Path], parts: Sequence[str]) -> Table:
        return cifar.binary_archive(paths[0], [file for part in parts for file in files[part]], layout)

    return (
        Form(files, lambda paths, parts: joined([cifar.binary(path, layout) for path in paths])),
        Form({"all": (archive,)}, unpack),
        Form(mosaics, lambda paths, parts: cifar.shards(paths, layout)),
    )
