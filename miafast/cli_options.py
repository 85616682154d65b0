"""What several commands of the command line share: options, and what is made of and checked in their values."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.markup import escape

import miafast as mf
from miafast.report.scores import KINDS
from miafast.shadow.recipe import AUGMENTATIONS, CHOICES, MODELS
from miafast.tables import Records


def option(help: str) -> Any:
    return typer.Option(help=escape(help))


def recipe_option(help: str = "") -> Any:
    return typer.Option(help=escape(f"{help} [default: fits the data]".strip()), rich_help_panel="Recipe")


def one_of(names: Iterable[str]) -> str:
    """
    >>> one_of(["sgd", "adam", "adamw"])
    'sgd, adam or adamw'
    """
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


Text: TypeAlias = str | None
File: TypeAlias = Path | None

Out = Annotated[Path, option("Folder for what is found.")]
Data = Annotated[str, option("A built-in name (digits, location30, cifar10 …) or FILE.npz, .csv or .parquet.")]
DataDir = Annotated[File, option("Where built-in data sets that are files lie.")]
Label = Annotated[Text, option("Name of the label column of a CSV or Parquet file.")]
Part = Annotated[str, option("all, train or test, where a data set has parts.")]
Standardise = Annotated[bool, typer.Option(help="Scale a file's columns to mean 0, deviation 1.")]
First = Annotated[int | None, option("Use the first so many records. [default: all]")]
Seed = Annotated[int, option("All randomness follows from it.")]
Workdir = Annotated[File, option("Folder in which a run is kept and resumed. [default: OUT/run]")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]

Model = Annotated[Text, recipe_option(f"{one_of(MODELS)}.")]
Hidden = Annotated[Text, recipe_option("Hidden layers of an mlp: 128 or 256,128.")]
Activation = Annotated[Text, recipe_option(f"{one_of(CHOICES['activation'])}.")]
Optimizer = Annotated[Text, recipe_option(f"{one_of(CHOICES['optimizer'])}.")]
LearningRate = Annotated[float | None, recipe_option()]
Momentum = Annotated[float | None, recipe_option("For sgd.")]
Nesterov = Annotated[bool | None, recipe_option("For sgd with momentum.")]
WeightDecay = Annotated[float | None, recipe_option()]
Epochs = Annotated[float | None, recipe_option()]
BatchSize = Annotated[int | None, recipe_option()]
Schedule = Annotated[Text, recipe_option(f"{one_of(CHOICES['schedule'])}.")]
Dropout = Annotated[float | None, recipe_option()]
LabelSmoothing = Annotated[float | None, recipe_option()]
Augment = Annotated[Text, recipe_option(f"{one_of(AUGMENTATIONS)}, commas for several, or none.")]
Dtype = Annotated[Text, recipe_option(f"{one_of(CHOICES['dtype'])}.")]


def numbers(given: str | None, name: str) -> tuple[int, ...] | None:
    """Whole numbers with commas between, of the option that is called so."""
    if given is None:
        return None
    try:
        return tuple(int(part) for part in given.split(",") if part)
    except ValueError:
        raise ValueError(f"{name} {given!r} is not whole numbers with commas between, such as 256,128.") from None


def names(given: str | None) -> tuple[str, ...] | None:
    """Names with commas between; none of them is written none."""
    return None if given is None else () if given == "none" else tuple(map(str.strip, given.split(",")))


def load(
    data: str, *, data_dir: Path | None, label: str | None, part: str, standardise: bool = False,
    records: int | None = None,
) -> Records:  # fmt: skip
    """The records that the options name."""
    if records is not None and records < 2:
        raise ValueError(f"--records {records}; give at least 2.")
    pool = mf.load(data, data_dir=data_dir, label=label, part=part, standardise=standardise or None)
    return pool if records is None else pool.only(slice(records))


def recipe(records: Records, given: dict[str, Any]) -> mf.Recipe:
    """The recipe that fits the records, changed by the options given by name (those that are None were not)."""
    from miafast.shadow import recipe_for

    read = {**given, "hidden": numbers(given.get("hidden"), "--hidden"), "augment": names(given.get("augment"))}
    fitting = recipe_for(records, model=read.pop("model", None))
    return replace(fitting, **{name: value for name, value in read.items() if value is not None})


def check_out(out: Path, scores: str = "csv", *, report: bool = True) -> None:
    """Refuse before long work what would fail when the report is saved."""
    if scores not in KINDS:
        raise ValueError(f"--scores {scores!r} is not known; choose {one_of(KINDS)}.")
    needed = (["matplotlib", "jinja2"] if report else []) + (["pyarrow"] if scores == "parquet" else [])
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{' and '.join(missing)} not installed, needed for the report: pip install 'miafast[report,data]'."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {str(out)!r} cannot be a folder: {error.strerror}; choose another.") from error
    if not os.access(out, os.W_OK):
        raise PermissionError(f"--out {str(out)!r} cannot be written to; choose another folder.")


@contextmanager
def resumable(workdir: Path) -> Iterator[None]:
    """On Ctrl-C, say where what is complete is kept and how to go on, and exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        again = shlex.join(["miafast", *sys.argv[1:]])
        print(f"\nStopped. Complete models are kept in {workdir}. To resume, repeat:\n  {again}", file=sys.stderr)
        raise typer.Exit(130) from None
