"""Records from the data sets of other libraries, torchvision's kind and Hugging Face's; neither is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from miafast.data.arrays import from_arrays
from miafast.data.columns import inputs, numbers_or_text
from miafast.tables import Array, Records

#: Columns taken for the input and the label when they are not named.
INPUT_NAMES = ("image", "img", "x", "features", "input")
LABEL_NAMES = ("label", "labels", "y", "target", "class")


def from_dataset(
    dataset: Any,
    *,
    x: str | Sequence[str] | None = None,
    label: str | None = None,
    classes: int | None = None,
    class_names: Sequence[str] | None = None,
    standardise: bool | None = None,
    scale: float | None = None,
    shift: float | None = None,
    name: str = "records",
) -> Records:
    """Records from a map data set: one with a length, whose items are read by number.

    - torchvision's kind: items are (image, label); images are arrays, tensors or PIL images, all of one shape. Names of
      classes are taken from `dataset.classes`.
    - Hugging Face's kind: items are dictionaries. `x` names the column of inputs, or several columns of numbers and
      text that make a table; by default image, img, x, features or input, else every column but the label. `label`
      names the column of labels; by default label, labels, y, target or class. Names of classes come from
      `dataset.features`.

    Inputs are read once, so give the data set without random transforms: one that answers differently when asked twice
    is refused. The other arguments are those of `from_arrays`.

    Raises TypeError for something that is no map data set; ValueError for items that differ in shape, random
    transforms, columns that are not there, and for whatever `from_arrays` refuses.

    >>> import numpy as np
    >>> pairs = [(np.full((2, 2), value, np.uint8), value % 2) for value in range(4)]
    >>> from_dataset(pairs, name="tiny").shape
    (1, 2, 2)
    """
    if hasattr(dataset, "keys") and not hasattr(dataset, "column_names"):
        raise TypeError(f"dataset is a dictionary of {', '.join(map(str, dataset))}; give one of them.")
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise TypeError(f"dataset is {type(dataset).__name__}, without length or items by number; give a map data set.")
    if len(dataset) == 0:
        raise ValueError("dataset is empty; give at least 2 records.")
    columns = _column_names(dataset)
    if columns is None:
        if x is not None or label is not None:
            raise ValueError("x= and label= name columns; this dataset's items are pairs (image, label).")
        stored, labels, found = _pairs(dataset)
    else:
        stored, labels, found = _columns(dataset, columns, x, label)
    if class_names is None and found is not None and classes in (None, len(found)):
        class_names = found
    return from_arrays(
        stored,
        labels,
        classes=classes,
        class_names=class_names,
        standardise=standardise,
        scale=scale,
        shift=shift,
        name=name,
    )


def _column_names(dataset: Any) -> list[str] | None:
    names = getattr(dataset, "column_names", None)
    if isinstance(names, dict):
        raise TypeError(f"dataset holds the parts {', '.join(names)}; give one of them.")
    if names is not None:
        return list(names)
    first = dataset[0]
    return list(first) if isinstance(first, dict) else None


def _pairs(dataset: Any) -> tuple[Array, list[Any], list[str] | None]:
    labels: list[Any] = []

    def image(at: int) -> Any:
        item = dataset[at]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise ValueError(f"dataset[{at}] is {type(item).__name__}, not a pair (image, label).")
        if at == len(labels):
            labels.append(item[1] if isinstance(item[1], str) else _one_label(item[1], at))
        return item[0]

    stored = _gathered(image, len(dataset))
    names = getattr(dataset, "classes", None)
    text = isinstance(labels[0], str)
    return stored, labels, [str(each) for each in names] if names is not None and not text else None


def _one_label(label: Any, at: int) -> Any:
    value = np.asarray(label)
    if value.size != 1:
        raise ValueError(f"dataset[{at}] has the label {label!r}; give one class a record.")
    return value.reshape(()).item()


def _gathered(item: Callable[[int], Any], count: int) -> Array:
    """The inputs 0 … count - 1 in one array, each read once but for the first few, which must be the same twice."""
    first = np.asarray(item(0))
    stored = np.empty((count, *first.shape), first.dtype)
    for at in range(count):
        value = first if at == 0 else np.asarray(item(at))
        if value.shape != first.shape:
            raise ValueError(f"dataset[{at}] has shape {value.shape}, dataset[0] {first.shape}; give one shape to all.")
        if value.dtype != stored.dtype:
            stored = stored.astype(np.result_type(stored.dtype, value.dtype))
        stored[at] = value
    for at in range(min(count, 16)):
        if not np.array_equal(np.asarray(item(at)), stored[at]):
            raise ValueError(
                f"dataset[{at}] gives another input when asked again; give it without random transforms, which belong "
                "to training."
            )
    return stored


def _columns(
    dataset: Any, columns: list[str], x: str | Sequence[str] | None, label: str | None
) -> tuple[Array, Any, list[str] | None]:
    wanted = _named(columns, label, LABEL_NAMES, "label")
    if x is None:
        x = next((each for each in INPUT_NAMES if each in columns), None) or [
            each for each in columns if each != wanted
        ]
    for each in [x] if isinstance(x, str) else x:
        _named(columns, each, (), "x")
    if isinstance(x, str):
        key = x
        stored = _gathered(lambda at: dataset[at][key], len(dataset))
    else:
        stored = inputs([numbers_or_text(each, np.asarray(_values(dataset, each))) for each in x], "dataset")
    feature = (getattr(dataset, "features", None) or {}).get(wanted)
    return stored, np.asarray(_values(dataset, wanted)), getattr(feature, "names", None)


def _named(columns: list[str], given: str | None, defaults: Sequence[str], argument: str) -> str:
    found = given if given is not None else next((each for each in defaults if each in columns), None)
    if found not in columns:
        got = (
            f"{argument}={given!r} is no column of dataset"
            if given
            else f"dataset has no column {' or '.join(defaults)}"
        )
        raise ValueError(f"{got} of dataset; its columns are {', '.join(columns)}: name one, {argument}=….")
    return str(found)


def _values(dataset: Any, column: str) -> list[Any]:
    if hasattr(dataset, "column_names"):
        return list(dataset[column])
    return [dataset[at][column] for at in range(len(dataset))]
