"""What several commands of the command line share: options, and checks of what they were given."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.markup import escape

import miafast as mf
from miafast.tables import Records


def option(help: str) -> Any:
    return typer.Option(help=escape(help))


def recipe_option(help: str) -> Any:
    return typer.Option(help=escape(f"{help} [default: fits the data]".strip()), rich_help_panel="Recipe")


Text: TypeAlias = str | None
File: TypeAlias = Path | None

Out = Annotated[Path, option("Folder for the report and the numbers behind it.")]
Data = Annotated[str, option("A built-in name (digits, location30, cifar10 …) or FILE.npz, .csv or .parquet.")]
DataDir = Annotated[File, option("Where built-in data sets that are files lie.")]
Label = Annotated[Text, option("Name of the label column of a CSV or Parquet file.")]
Part = Annotated[str, option("all, train or test, where a data set has parts.")]
First = Annotated[int | None, option("Use the first so many records. [default: all]")]
Seed = Annotated[int, option("All randomness follows from it.")]


def numbers(given: str | None, name: str) -> tuple[int, ...] | None:
    """Whole numbers with commas between, of the option that is called so."""
    if given is None:
        return None
    try:
        return tuple(int(part) for part in given.split(",") if part)
    except ValueError:
        raise ValueError(f"{name} {given!r} is not whole numbers with commas between, such as 256,128.") from None


def load(data: str, *, data_dir: Path | None, label: str | None, part: str, records: int | None) -> Records:
    """The records that the options name."""
    pool = mf.load(data, data_dir=data_dir, label=label, part=part)
    return pool if records is None else replace(pool, x=pool.x[:records], y=pool.y[:records])


def check_out(out: Path, scores: str = "csv", *, report: bool = True) -> None:
    """Refuse before long work what would fail when the report is saved."""
    if scores not in ("csv", "parquet"):
        raise ValueError(f"--scores {scores!r} is not known; choose csv or parquet.")
    needed = (["matplotlib", "jinja2"] if report else []) + (["pyarrow"] if scores == "parquet" else [])
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{' and '.join(missing)} not installed, needed for the report: pip install 'miafast[report,data]'."
        )
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise PermissionError(f"--out {str(out)!r} cannot be written to; choose another folder.")
