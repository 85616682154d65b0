"""CIFAR-10 and CIFAR-100: the official binary version, and shards of lossless JPEG XL mosaics.

Binary: records of one label byte (CIFAR-100: coarse, then fine) and 3 x 32 x 32 bytes, channels-first.
Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, and the data set's page.

A shard is an .npz of `jxl` (JPEG XL streams one after another), `sizes` (their lengths), `perm` (mosaic place k holds
image perm[k]) and the labels. Each stream is a mosaic 8 images wide.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from miafast.data.intact import broken, members, npz, reading
from miafast.tables import Array

SIDE = 32
PIXELS = 3 * SIDE * SIDE
ACROSS = 8


class Layout(NamedTuple):
    """Where a label is kept."""

    label_bytes: int  # before the pixels of a binary record
    label_byte: int  # which of them is wanted
    key: str  # in a shard


def binary(path: Path, layout: Layout) -> tuple[Array, Array]:
    """x uint8 [records, 3, 32, 32], y [records] of one .bin file."""
    return _split(path.read_bytes(), path, layout)


def binary_archive(path: Path, files: Sequence[str], layout: Layout) -> tuple[Array, Array]:
    """The same for several .bin files inside a tar archive, in the order of `files`."""
    found: dict[str, tuple[Array, Array]] = {}
    with reading(path, "a tar archive"):
        for name, content in members(path):
            if (file := name.split("/")[-1]) in files:
                found[file] = _split(content.read(), path, layout)
    if missing := [file for file in files if file not in found]:
        raise broken(path, "the binary version of CIFAR", f"it lacks {', '.join(missing)}")
    return np.concatenate([found[file][0] for file in files]), np.concatenate([found[file][1] for file in files])


def _split(content: bytes, path: Path, layout: Layout) -> tuple[Array, Array]:
    size = layout.label_bytes + PIXELS
    if not content or len(content) % size:
        raise broken(path, "the binary version of CIFAR", f"{len(content)} bytes are no multiple of {size}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, size)
    return rows[:, layout.label_bytes :].reshape(-1, 3, SIDE, SIDE), rows[:, layout.label_byte]


def shards(paths: Sequence[Path], layout: Layout) -> tuple[Array, Array]:
    """x uint8 [records, 3, 32, 32], y [records] of JPEG XL shards, decoded on every core. Needs imagecodecs."""
    try:
        import imagecodecs
    except ImportError as error:
        raise ImportError(f"{paths[0]} holds JPEG XL images: pip install 'miafast[data]' for imagecodecs.") from error
    contents = [_shard(path, layout.key) for path in paths]
    sizes = [len(each["perm"]) for each in contents]
    x = np.empty((sum(sizes), 3, SIDE, SIDE), np.uint8)
    offset = 0
    jobs: list[tuple[Path, bytes, Array]] = []
    for path, content, size in zip(paths, contents, sizes, strict=True):
        jobs += [(path, stream, place + offset) for stream, place in _streams(path, content)]
        offset += size

    def decode(job: tuple[Path, bytes, Array]) -> None:
        path, stream, place = job
        try:
            mosaic = imagecodecs.jpegxl_decode(stream, numthreads=1)
        except imagecodecs.JpegxlError as error:
            raise broken(path, "JPEG XL", str(error)) from error
        tiles = _tiles(mosaic, path)
        if len(tiles) != len(place):
            raise broken(path, "JPEG XL", f"a mosaic of {len(tiles)} images where {len(place)} belong")
        x[place] = tiles

    with ThreadPoolExecutor(
        max_workers=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    ) as pool:
        for _ in pool.map(decode, jobs):
            pass
    return x, np.concatenate([each[layout.key] for each in contents])


def _shard(path: Path, label_key: str) -> dict[str, Array]:
    content = npz(path)
    if missing := [key for key in ("jxl", "sizes", "perm", label_key) if key not in content]:
        raise broken(path, "a CIFAR shard", f"it lacks {', '.join(missing)} (keys: {', '.join(content)})")
    perm = content["perm"]
    if content["jxl"].dtype != np.uint8 or int(content["sizes"].sum()) != content["jxl"].size:
        raise broken(path, "a CIFAR shard", "`sizes` does not add up to the length of `jxl`")
    if perm.ndim != 1 or not np.array_equal(np.sort(perm), np.arange(len(perm))):
        raise broken(path, "a CIFAR shard", "`perm` is no permutation")
    if content[label_key].shape != perm.shape:
        raise broken(path, "a CIFAR shard", f"{len(perm)} images but {content[label_key].shape} labels")
    return content


def _streams(path: Path, content: dict[str, Array]) -> list[tuple[bytes, Array]]:
    """Every JPEG XL stream with the places its images go to. All mosaics but the last are 64 images high, 8 wide."""
    ends = np.cumsum(content["sizes"].astype(np.int64))
    starts = ends - content["sizes"]
    places = np.array_split(content["perm"].astype(np.int64), np.arange(1, len(ends)) * (ACROSS * 64))
    if len(ends) == 0 or len(places[-1]) == 0:
        raise broken(path, "a CIFAR shard", f"{len(ends)} mosaics for {len(content['perm'])} images")
    return [(content["jxl"][start:end].tobytes(), each) for start, end, each in zip(starts, ends, places, strict=True)]


def _tiles(mosaic: Any, path: Path) -> Array:
    height, width, *channels = mosaic.shape
    if height % SIDE or width != ACROSS * SIDE or channels != [3]:
        raise broken(path, "JPEG XL", f"a mosaic of {mosaic.shape}, not a multiple of 32 by 256 by 3")
    tiles = mosaic.reshape(height // SIDE, SIDE, ACROSS, SIDE, 3).transpose(0, 2, 4, 1, 3)
    return np.asarray(tiles.reshape(-1, 3, SIDE, SIDE))
