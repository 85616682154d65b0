"""Location-30, Purchase-100 and Texas-100 as Shokri et al. published them: text of zeros and ones in a .tgz.

Every line is a class from 1 on and then the features; Texas-100 has the classes in a file of their own. Since every
feature is one character, whole blocks of lines are decoded at once, 100 times faster than number by number.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from miafast.data.intact import MOST_BYTES, broken, members, opened, reading
from miafast.tables import Array

BLOCK = 1 << 24
NEWLINE, COMMA, ZERO = 10, 44, 48


def labelled(path: Path, member: str) -> tuple[Array, Array]:
    """x uint8 [records, features] of 0 and 1, y int64 [records] from 0; `path` is a .tgz, or its member unpacked."""
    found: tuple[Array, Array] | None = None
    with reading(path, "a table of zeros and ones"):
        for name, content in _files(path):
            if name.split("/")[-1] == member:
                found = decode(content, path, has_label=True)
    if found is None:
        raise broken(path, "a table of zeros and ones", f"the archive has no file {member!r}")
    return found


def features_and_labels(path: Path) -> tuple[Array, Array]:
    """The same for Texas-100: `path` is dataset_texas.tgz, or the folder that has the files feats and labels."""
    found: dict[str, tuple[Array, Array]] = {}
    with reading(path, "tables of zeros and ones"):
        for name, content in _files(path):
            parts = name.split("/")
            if parts[-1] in ("feats", "labels") and parts[-2:-1] in (["100"], [path.name]):
                found[parts[-1]] = decode(content, path, has_label=parts[-1] == "labels")
    if set(found) != {"feats", "labels"}:
        raise broken(path, "tables of zeros and ones", "it needs texas/100/feats and texas/100/labels")
    x, y = found["feats"][0], found["labels"][1]
    if len(x) != len(y):
        raise broken(path, "tables of zeros and ones", f"{len(x)} lines of features but {len(y)} labels")
    return x, y


def _files(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    if path.is_dir():
        for name in ("feats", "labels"):
            if (path / name).is_file():
                with opened(path / name) as stream:
                    yield f"{path.name}/{name}", stream
    elif path.suffix in (".tgz", ".gz", ".tar"):
        yield from members(path)
    else:
        with opened(path) as stream:
            yield path.name, stream


def decode(stream: IO[bytes], path: Path, *, has_label: bool) -> tuple[Array, Array]:
    """x uint8 [lines, features], y int64 [lines] from 0 (empty without labels); lines may be labels alone."""
    tables: list[Array] = []
    labels: list[int] = []
    features: int | None = None
    lines = 0
    for block in _whole_lines(stream, path):
        if features is None:
            features = block[: block.index(b"\n")].count(b",") + (not has_label)
        table, found = _decode_block(block, features, has_label, path, lines)
        tables.append(table)
        labels += found
        lines += len(table)
    if not tables:
        raise broken(path, "a table of zeros and ones", "it is empty")
    if labels and min(labels) < 1:
        raise broken(path, "a table of zeros and ones", f"class {min(labels)}; classes count from 1")
    return np.concatenate(tables), np.array(labels, np.int64) - 1


def _whole_lines(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    rest = b""
    total = 0
    while piece := stream.read(BLOCK):
        total += len(piece)
        if total > MOST_BYTES or len(rest) > BLOCK:
            raise broken(path, "a table of zeros and ones", f"a line or all of it is too long (> {total >> 20} MiB)")
        block, newline, rest = (rest + piece).rpartition(b"\n")
        if newline:
            yield block.replace(b"\r", b"") + b"\n"
    if rest.strip():
        yield rest.replace(b"\r", b"") + b"\n"


def _decode_block(
    block: bytes, features: int, has_label: bool, path: Path, lines_before: int
) -> tuple[Array, list[int]]:
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    starts, ends = starts[ends > starts], ends[ends > starts]  # blank lines hold nothing
    width = max(2 * features - 1, 0)
    heads = ends - starts - width - (1 if has_label and features else 0)  # length of the label, quotes included
    fits = (heads >= 1) & (heads <= 8) if has_label else heads == 0
    _refuse_line(fits, path, lines_before, features)
    table = np.empty((len(ends), features), np.uint8)
    if features:
        rows = np.lib.stride_tricks.sliding_window_view(data, width)[ends - width]
        np.subtract(rows[:, ::2], ZERO, out=table)
        commas = rows[:, 1::2] == COMMA
        before = data[ends - width - 1] == COMMA if has_label else True
        _refuse_line((table <= 1).all(axis=1) & commas.all(axis=1) & before, path, lines_before, features)
    if not has_label:
        return table, []
    texts = [block[start : start + head].strip(b'"') for start, head in zip(starts, heads, strict=True)]
    _refuse_line(np.array([text.isdigit() for text in texts]), path, lines_before, features)
    return table, [int(text) for text in texts]


def _refuse_line(fits: Array, path: Path, lines_before: int, features: int) -> None:
    if not fits.all():
        line = lines_before + int(np.argmin(fits)) + 1
        raise broken(path, "a table of zeros and ones", f"line {line} is not a class and {features} times 0 or 1")
