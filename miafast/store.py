"""Signals of one run, appended model by model; on disk when a folder is given, and then resumable after any kill.

A folder holds ``run.json`` (what the run is; never rewritten), ``in_mask.npy``, ``labels.npy``, one
``.npy`` per signal (memory-mapped, its space reserved at the start) and ``done.json`` (which models are complete, with
checksums; replaced in one step after their rows are on disk). A row that is not in ``done.json`` does not count.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from miafast.measurements import Layout
from miafast.tables import Array, Signals

FORMAT = 2
Facts = dict[str, float]  # of one model: train_accuracy, test_accuracy, train_seconds, query_seconds


class StoreError(ValueError):
    """A work folder that cannot be used: it belongs to another run, is in use, damaged or not ours."""


class Store:
    """The signals of a run, with room for every model. Use as a context manager: it holds the folder's lock.

    Raises StoreError, before anything is written, for a folder that holds another run, other files or damaged rows.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, Any], *, in_mask: Array, labels: Array,
                 layout: Layout, has_target: bool = False) -> None:  # fmt: skip
        self.folder = folder
        self.layout = dict(layout)
        self.identity = json.loads(
            json.dumps({"format": FORMAT, "has_target": has_target, "signals": layout, **identity})
        )
        self.in_mask, self.labels = in_mask, labels
        self.done: dict[int, Facts] = {}
        self._checksums: dict[int, dict[str, int]] = {}
        self._lock: IO[str] | None = None
        shapes = {name: (*in_mask.shape, *axes) for name, axes in layout.items()}
        if folder is None:
            self._arrays: dict[str, Array] = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"workdir={str(folder)!r} cannot be a folder: {error.strerror}; choose another."
            ) from error
        _check_ours(folder, {f"{name}.npy" for name in layout})
        self._lock = _lock(folder)
        try:
            self._claim(folder)
            _write_once(folder / "in_mask.npy", in_mask)
            _write_once(folder / "labels.npy", labels)
            for name, shape in shapes.items():
                _reserve(folder / f"{name}.npy", shape)
            self._arrays = {
                name: _open(folder / f"{name}.npy", shape, np.float32, mode="r+") for name, shape in shapes.items()
            }
            self._read_done(folder)
        except BaseException:
            self.close()
            raise

    def append(self, models: Sequence[int], signals: Mapping[str, Array], facts: Sequence[Facts]) -> None:
        """Write the rows of complete models, [len(models), records, ...] per signal; then, in one step, count them."""
        for place, (model, fact) in enumerate(zip(models, facts, strict=True)):
            self._checksums[model] = {}
            for name, array in self._arrays.items():
                array[model] = signals[name][place]
                self._checksums[model][name] = zlib.crc32(array[model].data)
            self.done[model] = dict(fact)
        if self.folder is not None:
            for array in self._arrays.values():
                array.flush()  # type: ignore[attr-defined]
            rows = [{"model": m, "crc32": self._checksums[m], **self.done[m]} for m in sorted(self.done)]
            write_text(self.folder / "done.json", json.dumps({"models": rows}, indent=1))

    def signals(self) -> Signals:
        """Everything measured so far as one table; raises StoreError while models are missing."""
        if missing := sorted(set(range(len(self.in_mask))) - set(self.done)):
            raise StoreError(f"{len(missing)} of {len(self.in_mask)} models are missing (first: {missing[0]}); resume.")
        return Signals(
            phi=self._arrays["phi"], arrays={name: array for name, array in self._arrays.items() if name != "phi"},
            in_mask=self.in_mask, labels=self.labels, has_target=self.identity["has_target"],
            train_accuracy=self._column("train_accuracy"), test_accuracy=self._column("test_accuracy"),
            identity=self.identity,
        )  # fmt: skip

    def seconds(self, name: str) -> float:
        """The sum of a time over all models, earlier sessions of the run included."""
        return float(sum(fact.get(name, 0.0) for fact in self.done.values()))

    def _column(self, name: str) -> Array:
        return np.array([self.done[model].get(name, np.nan) for model in sorted(self.done)])

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _claim(self, folder: Path) -> None:
        """Write what this run is, or compare with the run that the folder holds."""
        path = folder / "run.json"
        if not path.exists():
            write_text(path, json.dumps(self.identity, indent=1))
            return
        there, here = _flat(_read_json(path)), _flat(self.identity)
        names = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
        told = [name for name in names if not name.endswith("_fingerprint")] or names  # digests say nothing to a reader
        differences = [f"{name}: {there.get(name)!r} there, {here.get(name)!r} here" for name in told]
        if differences:
            raise StoreError(
                f"workdir={str(folder)!r} holds another run ({'; '.join(differences)}). "
                "Choose a new folder, or repeat that run's settings to resume it."
            )

    def _read_done(self, folder: Path) -> None:
        if not (folder / "done.json").exists():
            return
        for row in _read_json(folder / "done.json")["models"]:
            model = int(row.pop("model"))
            self._checksums[model] = row.pop("crc32")
            for name, array in self._arrays.items():
                if zlib.crc32(array[model].data) != self._checksums[model][name]:
                    raise StoreError(
                        f"workdir={str(folder)!r}: the row of model {model} in {name}.npy is damaged (wrong checksum). "
                        "Delete done.json there to measure all models again, or use a new folder."
                    )
            self.done[model] = row


def reopen(folder: str | Path) -> Store:
    """The store that a folder holds, whatever run it is: for rebuilding a report."""
    folder = Path(folder)
    if not (folder / "run.json").exists():
        raise StoreError(f"{str(folder)!r} holds no run (no run.json); give the workdir of an earlier audit.")
    identity = _read_json(folder / "run.json")
    if identity.get("format") != FORMAT:
        raise StoreError(
            f"{str(folder)!r} has format {identity.get('format')!r}; this version reads format {FORMAT}. "
            "Run the audit again, or use the version that wrote it."
        )
    in_mask, labels = _open(folder / "in_mask.npy"), _open(folder / "labels.npy")
    layout = {name: tuple(axes) for name, axes in identity.pop("signals").items()}
    has_target = bool(identity.pop("has_target"))
    return Store(folder, identity, in_mask=in_mask, labels=labels, layout=layout, has_target=has_target)


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: a kill leaves the old or the new text, never half."""
    with _replacing(path) as file:
        file.write(text.encode())


def write_array(path: Path, array: Array) -> None:
    """Replace a .npy file in one step."""
    with _replacing(path) as file:
        np.save(file, array, allow_pickle=False)


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(
            f"{str(path)!r} cannot be written ({error}); free some space or choose another folder."
        ) from error


def _check_ours(folder: Path, signals: set[str]) -> None:
    if (folder / "run.json").exists():
        return  # a run: `_claim` says whether it is this one
    names = {entry.name.removesuffix(".partial") for entry in folder.iterdir()}
    foreign = sorted(names - {"run.json", "done.json", "in_mask.npy", "labels.npy", "lock"} - signals)
    if foreign:
        raise StoreError(f"workdir={str(folder)!r} holds other files ({foreign[0]}); give a new or empty folder.")


def _lock(folder: Path) -> IO[str]:
    file = open(folder / "lock", "w")  # noqa: SIM115 (open as long as the store)
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # no advisory locks on this system: two runs in one folder are the user's to avoid
        pass
    except OSError as error:
        file.close()
        raise StoreError(f"workdir={str(folder)!r} is in use by another run; wait for it or choose another.") from error
    return file


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StoreError(f"{str(path)!r} is not readable JSON ({error}); use a new folder.") from error


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Facts with those inside them named "outer.inner".

    >>> _flat({"seed": 0, "recipe": {"epochs": 60}})
    {'seed': 0, 'recipe.epochs': 60}
    """
    found: dict[str, Any] = {}
    for name, value in facts.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return found


def _write_once(path: Path, array: Array) -> None:
    if path.exists():
        if not np.array_equal(_open(path), array):
            raise StoreError(f"{str(path)!r} differs from this run's; use a new folder.")
        return
    write_array(path, array)


def _reserve(path: Path, shape: tuple[int, ...]) -> None:
    """Make the file at its full size, so that a full disk is refused now and not after hours of training."""
    if path.exists():
        return
    partial = path.with_name(path.name + ".partial")
    size = int(np.prod(shape)) * 4
    try:
        with open(partial, "wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": tuple(int(n) for n in shape)}
            )
            start = file.tell()
            file.flush()
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, start + size)
            else:
                file.truncate(start + size)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise StoreError(
                f"workdir={str(path.parent)!r} has no room for {size / 2**20:,.0f} MiB of signals; "
                "free some space or choose another folder."
            ) from error
        raise
    os.replace(partial, path)


def _open(path: Path, shape: tuple[int, ...] | None = None, dtype: Any = None, *, mode: Any = "r") -> Array:
    try:
        array: Array = np.load(path, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"{str(path)!r} cannot be read ({error}); the folder is damaged: use a new one.") from error
    if shape is not None and (array.shape != shape or array.dtype != dtype):
        raise StoreError(f"{str(path)!r} holds {array.dtype}{array.shape}, not {dtype}{shape}; use a new folder.")
    return array
