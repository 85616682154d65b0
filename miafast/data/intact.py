"""Bytes out of files that may be damaged, cut off, foreign or hostile. Nothing is unpickled or unpacked to disk."""

from __future__ import annotations

import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from miafast.tables import Array

#: No file of a known data set unpacks to more; what does is damaged or hostile.
MOST_BYTES = 4 << 30
MOST_MEMBERS = 10_000

DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile, struct.error)


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn what the standard library raises for a broken file into one ValueError that names the file."""
    try:
        yield
    except DAMAGE as error:
        raise broken(path, kind, str(error) or type(error).__name__) from error


def broken(path: Path, kind: str, reason: str) -> ValueError:
    return ValueError(
        f"{path} cannot be read as {kind}: {reason}. It is damaged, cut off or something else; get it anew."
    )


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The plain bytes of a file, whether it is packed (.gz, .xz) or not."""
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            yield cast(IO[bytes], stream)
    elif path.suffix == ".xz":
        with lzma.open(path) as stream:
            yield stream
    else:
        with path.open("rb") as stream:
            yield stream


def text(path: Path) -> str:
    """The text of a small file, packed or not."""
    with reading(path, "text"), opened(path) as stream:
        content = stream.read(MOST_BYTES // 16 + 1)
    if len(content) > MOST_BYTES // 16:
        raise broken(path, "text", f"it unpacks to more than {MOST_BYTES >> 24} MiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise broken(path, "text", str(error)) from error


def members(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size in bytes and content of every plain file in a tar archive, in one pass and in memory only.

    Links, devices and directories are passed over; names are for looking at and never become paths.
    """
    with reading(path, "a tar archive"), tarfile.open(path, "r|*") as archive:
        for count, info in enumerate(archive):
            if count >= MOST_MEMBERS or info.size > MOST_BYTES:
                raise broken(path, "a tar archive", f"{info.name!r} is member {count} with {info.size} bytes, too much")
            content = archive.extractfile(info) if info.isreg() else None
            if content is not None:
                yield info.name, info.size, content


def npz(path: Path) -> dict[str, Array]:
    """Every array of an .npz file. Refuses objects (pickles), twice the same key, and headers that lie about sizes."""
    with reading(path, ".npz"):
        try:
            with zipfile.ZipFile(path) as archive:
                keys = [each.removesuffix(".npy") for each in archive.namelist()]
                if twice := sorted({each for each in keys if keys.count(each) > 1}):
                    raise broken(path, ".npz", f"the key {twice[0]!r} is there twice")
                return {key: _npy(path, archive, info) for key, info in zip(keys, archive.infolist(), strict=True)}
        except RuntimeError as error:  # encrypted, or packed in a way that zipfile does not know
            raise broken(path, ".npz", str(error)) from error


def _npy(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    try:
        with archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in header:
                raise ValueError(f"version {version} of the .npy format")
            shape, _, dtype = header[version](stream)
            start = stream.tell()
    except ValueError as error:
        raise broken(path, ".npz", f"{info.filename} is no .npy array ({error})") from error
    if dtype.hasobject:
        raise ValueError(
            f"{path} holds Python objects in {info.filename}; reading them would run code from the file. "
            "Save plain numbers or text: np.savez(path, x=x.astype('float32'), y=y.astype('int64'))."
        )
    if start + int(np.prod(shape, dtype=object)) * dtype.itemsize != info.file_size:
        raise broken(path, ".npz", f"{info.filename} says {shape} of {dtype} but holds {info.file_size - start} bytes")
    with archive.open(info) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
