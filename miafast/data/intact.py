"""Bytes out of files that may be damaged, cut off, foreign or hostile. Nothing is unpickled or unpacked to disk."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import struct
import tarfile
import tokenize
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
MOST_PACKED = 1100  # deflate cannot shrink by more than 1032

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


def members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every plain file in a .tar or .tgz archive, in one pass and in memory only.

    Links, devices and directories are passed over; names are for looking at and never become paths. Iterate to the end:
    only there does the archive's check sum tell whether what was read is right.
    """
    with reading(path, "a tar archive"), _unpacked(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 20) as archive:
            for count, info in enumerate(archive):
                if count >= MOST_MEMBERS or info.size > MOST_BYTES:
                    raise broken(path, "a tar archive", f"member {count} of {info.size} bytes is too much")
                content = archive.extractfile(info) if info.isreg() else None
                if content is not None:
                    yield info.name, content
        for _ in range(MOST_BYTES >> 20):
            if not stream.read(1 << 20):
                return
        raise broken(path, "a tar archive", "there is no end to it")


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as packed:
        is_gzip = packed.read(2) == b"\x1f\x8b"
        packed.seek(0)
        if is_gzip:
            with gzip.GzipFile(fileobj=packed) as stream:
                yield cast(IO[bytes], stream)
        else:
            yield packed


def npz(path: Path) -> dict[str, Array]:
    """Every array of an .npz file. Refuses objects (pickles), twice the same key, and headers that lie about sizes."""
    with path.open("rb") as packed, reading(path, ".npz"):
        try:
            with zipfile.ZipFile(packed) as archive:
                keys = [each.removesuffix(".npy") for each in archive.namelist()]
                if twice := sorted({each for each in keys if keys.count(each) > 1}):
                    raise broken(path, ".npz", f"the key {twice[0]!r} is there twice")
                return {
                    key: _npy(path, info.filename, _content(path, archive, info))
                    for key, info in zip(keys, archive.infolist(), strict=True)
                }
        except (RuntimeError, OSError) as error:  # encrypted, packed in an unknown way, or pointing outside the file
            raise broken(path, ".npz", str(error)) from error


def _content(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytearray:
    """The bytes of one member, its check sum verified, without believing sizes that cannot be."""
    if info.compress_size > path.stat().st_size or info.file_size > MOST_PACKED * info.compress_size + 64:
        raise broken(path, ".npz", f"{info.filename} claims {info.file_size} bytes in {info.compress_size} packed ones")
    content = bytearray(info.file_size)
    view, at = memoryview(content), 0
    with archive.open(info) as stream:
        while at < len(view) and (piece := stream.read(min(len(view) - at, 1 << 24))):
            view[at : at + len(piece)] = piece
            at += len(piece)
        if at < len(view) or stream.read(1):
            raise broken(path, ".npz", f"{info.filename} holds another number of bytes than it says")
    return content


def _npy(path: Path, name: str, content: bytearray) -> Array:
    """The array in the bytes of an .npy file, over these bytes."""
    stream = io.BytesIO(content[: 1 << 16])
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        if version not in headers:
            raise ValueError(f"version {version} of the format")
        shape, by_column, dtype = headers[version](stream)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise broken(path, ".npz", f"{name} is no .npy array ({error})") from error
    if dtype.hasobject:
        raise ValueError(
            f"{path} holds Python objects in {name}; reading them would run code from the file. "
            "Save plain numbers or text: np.savez(path, x=x.astype('float32'), y=y.astype('int64'))."
        )
    size = math.prod(shape) * dtype.itemsize
    if stream.tell() + size != len(content):
        raise broken(path, ".npz", f"{name} says {shape} of {dtype} but holds {len(content) - stream.tell()} bytes")
    if size == 0:
        return np.empty(shape, dtype)
    array = np.frombuffer(content, dtype, offset=stream.tell())
    return array.reshape(shape[::-1]).T if by_column else array.reshape(shape)
