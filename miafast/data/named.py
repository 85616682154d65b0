"""Data sets by name: finding their files, reading them, and saying what to do when they are not there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

from miafast.data.arrays import from_arrays, standardised
from miafast.data.catalogue import SETS, DataSet
from miafast.data.forms import PARTS, Form, Table
from miafast.tables import Records


class Availability(NamedTuple):
    """Whether a named data set can be loaded, from which file, and where it comes from."""

    found: bool
    where: str
    about: str
    source: str
    terms: str


class Catalogue(dict[str, Availability]):
    """name -> Availability. Prints as a list for people."""

    def __str__(self) -> str:
        lines = []
        for name, each in self.items():
            lines.append(f"{name:<14} {'yes' if each.found else 'no ':<4} {each.about}")
            lines.append(f"{'':<19} {each.where if each.found else f'get it from {each.source} ({each.terms})'}")
        return "\n".join(lines)


def available(data_dir: str | Path | None = None) -> Catalogue:
    """Every name that `load` knows, whether its files are in `data_dir`, and where to get them. Reads nothing.

    >>> available()["digits"].found
    True
    """
    folder = None if data_dir is None else _existing(data_dir)
    return Catalogue({name: _availability(name, each, folder) for name, each in SETS.items()})


def _availability(name: str, wanted: DataSet, folder: Path | None) -> Availability:
    if not wanted.forms:
        where = "ships with scikit-learn"
        return Availability(_has_sklearn(), where, wanted.about, wanted.source, wanted.terms)
    hit = _find(name, wanted, folder, PARTS) if folder else None
    return Availability(hit is not None, str(hit[1][0]) if hit else "", wanted.about, wanted.source, wanted.terms)


def load_named(name: str, data_dir: str | Path | None, *, label: str | None, part: str) -> Records:
    """The records of a named data set; see `load`."""
    wanted = _with_labels(name, label)
    if part != "all" and part not in wanted.records:
        raise ValueError(f"part={part!r} of {name}: it comes in {' or '.join(wanted.records)}.")
    parts = PARTS if part == "all" else (part,)
    x, y = _read(name, wanted, data_dir, parts) if wanted.forms else _from_sklearn(name)
    if len(x) != wanted.records[part]:
        warnings.warn(f"{name} has {len(x)} records here; {wanted.records[part]} were published.", stacklevel=4)
    return from_arrays(
        x,
        y,
        classes=wanted.classes,
        class_names=wanted.class_names,
        standardise=False,
        scale=wanted.scale,
        shift=wanted.shift,
        name=name,
    )


def _with_labels(name: str, label: str | None) -> DataSet:
    wanted = SETS[name]
    if label in (None, "fine" if wanted.coarse else None):
        return wanted
    if label == "coarse" and wanted.coarse:
        return wanted.coarse
    choice = "'fine' or 'coarse'" if wanted.coarse else "none"
    raise ValueError(f"label={label!r}: {name} has labels of its own, to choose: {choice}.")


def _read(name: str, wanted: DataSet, data_dir: str | Path | None, parts: tuple[str, ...]) -> Table:
    if data_dir is None:
        raise FileNotFoundError(f"{name} is not built in: give the folder of its files as data_dir. {_where(wanted)}")
    folder = _existing(data_dir)
    hit = _find(name, wanted, folder, parts)
    if hit is not None:
        form, paths = hit
        return form.read(paths, parts)
    for below in _folders(name, wanted, folder):
        for file, instead in wanted.refused.items():
            if (below / file).is_file():
                raise ValueError(
                    f"{below / file} is the Python version of {name}, a pickle: reading it would run its code. "
                    f"Put {instead}, the binary version, into {folder} instead ({wanted.source})."
                )
    looked_in = ", ".join(dict.fromkeys(each for each in (name, *wanted.folders) if "/" not in each))
    choices = "; or ".join(str(form) for form in wanted.forms)
    raise FileNotFoundError(
        f"{name} is not in {folder} (nor in {looked_in} below it). Looked for {choices}. {_where(wanted)}"
    )


def _where(wanted: DataSet) -> str:
    return f"Get it from {wanted.source}. Terms: {wanted.terms}."


def _existing(data_dir: str | Path) -> Path:
    folder = Path(data_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"data_dir={str(data_dir)!r} is not a folder; give the one that holds the data files.")
    return folder


def _folders(name: str, wanted: DataSet, folder: Path) -> list[Path]:
    return [folder, *(folder / each for each in (name, *wanted.folders))]


def _find(name: str, wanted: DataSet, folder: Path, parts: tuple[str, ...]) -> tuple[Form, list[Path]] | None:
    for form in wanted.forms:
        for each in _folders(name, wanted, folder):
            paths = form.find(each, parts)
            if paths is not None:
                return form, paths
    return None


def _has_sklearn() -> bool:
    from importlib.util import find_spec

    return find_spec("sklearn") is not None


def _from_sklearn(name: str) -> Table:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(f"{name} ships with scikit-learn: pip install scikit-learn.") from error
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return (x if name == "digits" else standardised(x)), y
