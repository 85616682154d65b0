"""Records from a name or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from miafast.data.arrays import from_arrays
from miafast.data.catalogue import SETS
from miafast.data.forms import PARTS, Table, joined, pair
from miafast.data.intact import npz
from miafast.data.named import load_named
from miafast.spelling import did_you_mean
from miafast.tables import Array, Records

TABLES = (".csv", ".csv.gz", ".parquet", ".pq")


def load(
    name_or_path: str | Path,
    *,
    data_dir: str | Path | None = None,
    label: str | None = None,
    part: str = "all",
    classes: int | None = None,
    class_names: Sequence[str] | None = None,
    standardise: bool | None = None,
) -> Records:
    """Records of a data set known by name, or out of a file.

    By name (`available()` lists them): digits, breast_cancer and wine ship with scikit-learn; location30, purchase100,
    texas100, mnist, cifar10, cifar100, adult, pima, hepatitis, german_credit and lfw are read from `data_dir`, in the
    forms in which they are published (packed or not). They come ready for training: numbers standardised, categories
    one-hot, pixels in [-2, 2]. The pool is all records, train and test together; `part="train"` or `"test"` takes one
    of them (mnist, cifar10, cifar100, adult). `label="coarse"` takes cifar100's 20 classes. A name wins over a file
    called like it.

    From a file:

    - .npz with x and y (or features and labels), or x_train, y_train, x_test, y_test, where `part` counts again;
    - .csv (or .csv.gz) with a header, .parquet: `label` names the column of labels (by default "label"); numeric
      columns are features as they are, text columns one-hot. Missing values are refused. Needs pyarrow (extra "data").

    `classes`, `class_names` and `standardise` are for files and mean what they mean in `from_arrays`.

    Raises FileNotFoundError (what was looked for, where to get it, on what terms); ValueError for a file that is
    damaged, foreign or holds pickles, and for whatever `from_arrays` refuses; ImportError when an extra is needed.

    >>> records = load("digits")
    >>> len(records), records.shape, records.classes
    (1797, (64,), 10)
    """
    if part not in ("all", *PARTS):
        raise ValueError(f"part={part!r} is not known; choose all, train or test.")
    if isinstance(name_or_path, str) and name_or_path in SETS:
        given = {"classes": classes, "class_names": class_names, "standardise": standardise}
        if extra := [f"{key}={value!r}" for key, value in given.items() if value is not None]:
            raise ValueError(f"{extra[0]} is for files; {name_or_path} comes with its own, ready for training.")
        return load_named(name_or_path, data_dir, label=label, part=part)
    path = _existing_file(name_or_path, data_dir)
    x, y = _read(path, label, part)
    return from_arrays(x, y, classes=classes, class_names=class_names, standardise=standardise, name=path.name)


def _existing_file(name_or_path: str | Path, data_dir: str | Path | None) -> Path:
    path = Path(name_or_path)
    if data_dir is not None and not path.is_absolute() and not path.exists():
        path = Path(data_dir) / path
    if path.is_file():
        return path
    got = str(name_or_path)
    if path.exists():
        raise ValueError(f"data={got!r} is a folder; give a file, or a name together with data_dir={got!r}.")
    if path.suffix:
        raise FileNotFoundError(f"data={got!r} does not exist; give an .npz, .csv or .parquet file, or a name.")
    raise FileNotFoundError(
        f"data={got!r} is neither a name nor a file; {did_you_mean(got, SETS)}the names are {', '.join(SETS)}; files "
        f"end in .npz, {', '.join(TABLES)}."
    )


def _read(path: Path, label: str | None, part: str) -> tuple[Any, Array]:
    name = path.name.lower()
    if name.endswith(".npz"):
        if label is not None:
            raise ValueError(f"label={label!r} names a column of a table; {path} is .npz: its labels are y.")
        return _from_npz(path, part)
    if part != "all":
        raise ValueError(f"part={part!r}: {path} has no parts; leave it at all.")
    if not name.endswith(TABLES):
        raise ValueError(f"{path} ends in {path.suffix or 'nothing'}; files may be .npz, {', '.join(TABLES)}.")
    from miafast.data.arrow import read_table

    return read_table(path, label)


def _from_npz(path: Path, part: str) -> Table:
    content = npz(path)
    if {"x_train", "y_train", "x_test", "y_test"} <= set(content):
        return joined([(content[f"x_{each}"], content[f"y_{each}"]) for each in (PARTS if part == "all" else (part,))])
    if part != "all":
        raise ValueError(f"part={part!r}: {path} has no parts (x_train, y_train, x_test, y_test); leave it at all.")
    return pair(content, path)
