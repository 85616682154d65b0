"""Queries: the (augmented) forward passes of a record, each named by the steps that change the input."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from miafast.tables import Array

#: A name, or a function from inputs float32 [batch, ...] to as many inputs of the same shape.
Query: TypeAlias = str | Callable[[Array], Array]

#: Named sets by size, as in Carlini et al. 2022, §VI.C: mirror, and shifts of 4 pixels (18) or of 0 … 4 pixels (162).
COUNTS = (1, 2, 18, 162)


def choose_queries(queries: int | Query | Sequence[Query]) -> tuple[Query, ...]:
    """A standard set of 1, 2, 18 or 162 queries, or the given names and functions once checked.

    A name is ``"identity"`` or steps joined by ``+``: ``mirror`` (left to right) and ``shift:DOWN,RIGHT``
    (pixels, edges reflected). Raises ValueError for a count or a name that is not known.

    >>> choose_queries(2)
    ('identity', 'mirror')
    >>> choose_queries(["identity", "mirror+shift:0,-4"])
    ('identity', 'mirror+shift:0,-4')
    """
    if isinstance(queries, str) or callable(queries):
        queries = (queries,)
    if not isinstance(queries, int):
        chosen = tuple(queries)
        for query in chosen:
            if not callable(query):
                _steps(query)
        if not chosen or len(set(chosen)) != len(chosen):
            raise ValueError(f"queries={chosen!r}; give at least one, each once.")
        return chosen
    if queries not in COUNTS:
        raise ValueError(f"queries={queries}; choose {', '.join(map(str, COUNTS))} or give names like 'mirror'.")
    if queries <= 2:
        return ("identity", "mirror")[:queries]
    pixels = (0, -4, 4) if queries == 18 else (0, -4, -3, -2, -1, 1, 2, 3, 4)
    names = []
    for down, right in product(pixels, pixels):
        shift = [] if (down, right) == (0, 0) else [f"shift:{down},{right}"]
        names += ["+".join(shift) or "identity", "+".join(["mirror", *shift])]
    return tuple(names)


def check_queries(queries: Sequence[Query], shape: tuple[int, ...]) -> None:
    """Raise ValueError when a named query needs images and records of this shape are none, or would leave the image."""
    for query in queries:
        if callable(query) or query == "identity":
            continue
        if len(shape) != 3:
            raise ValueError(
                f"queries={query!r} needs images [channels, height, width]; the records have shape {shape}. "
                "Use queries=1 for tables."
            )
        for step, (down, right) in _steps(query):
            if step == "shift" and (abs(down) >= shape[1] or abs(right) >= shape[2]):
                raise ValueError(f"queries={query!r} shifts by more than the image, {shape[1]} × {shape[2]} pixels.")


def query_name(query: Query) -> str:
    """What a store and a report call the query: a function's name with a digest of its source."""
    if not callable(query):
        return query
    name = f"{getattr(query, '__module__', '')}.{getattr(query, '__qualname__', type(query).__qualname__)}"
    try:
        return f"{name}:{hashlib.sha256(inspect.getsource(query).encode()).hexdigest()[:12]}"
    except (OSError, TypeError):
        return name


def ask(query: Query, x: Any) -> Any:
    """The inputs of one query: x [batch, ...] changed by the steps of its name, or by the user's function.

    x may be a torch tensor, and then the result is one on the same device; a user's function sees a NumPy array.

    >>> import numpy as np
    >>> ask("mirror", np.array([[[[1.0, 2.0]]]]))
    array([[[[2., 1.]]]])
    """
    if callable(query):
        asked = np.asarray(query(x if isinstance(x, np.ndarray) else x.cpu().numpy()), np.float32)
        if asked.shape != x.shape:
            raise ValueError(f"query {query_name(query)} made shape {asked.shape} of {x.shape}; return one input each.")
        return asked
    if query == "identity":
        return x
    rows, columns = np.arange(x.shape[-2]), np.arange(x.shape[-1])  # where each pixel is taken from
    for step, (down, right) in _steps(query):
        if step == "mirror":
            columns = columns[::-1]
        else:
            rows, columns = rows[_reflected(len(rows), -down)], columns[_reflected(len(columns), -right)]
    if isinstance(x, np.ndarray):
        return np.ascontiguousarray(x[..., rows[:, None], columns])
    return x[..., rows.copy(), :][..., columns.copy()]


def _reflected(size: int, by: int) -> Array:
    """Places by, …, size + by - 1 of a row whose edges reflect."""
    place = np.abs(np.arange(size) + by)
    reflected: Array = np.minimum(place, 2 * (size - 1) - place)
    return reflected


def _steps(name: str) -> list[tuple[str, tuple[int, int]]]:
    if name == "identity":
        return []
    steps: list[tuple[str, tuple[int, int]]] = []
    for part in str(name).split("+"):
        kind, _, rest = part.partition(":")
        numbers = rest.split(",")
        if kind == "mirror" and not rest:
            steps.append(("mirror", (0, 0)))
        elif kind == "shift" and len(numbers) == 2 and all(n.lstrip("-").isdigit() for n in numbers):
            steps.append(("shift", (int(numbers[0]), int(numbers[1]))))
        else:
            raise ValueError(f"query {name!r} is not known; write identity, mirror, shift:DOWN,RIGHT or a '+' of them.")
    return steps
