"""The only chooser of backends: an op is one signature with a NumPy truth, twins are found under the same name.

The arrays choose. NumPy arrays and CPU tensors go to the first available of ``cpp``, ``numba``, ``numpy``; torch and
CuPy arrays on a CUDA device to ``cuda``, ``triton``, on the caller's stream. Nothing moves between devices.
``with backend("numpy"):`` forces one. A twin is a function called like the op and taking the same arguments:
``miafast.ops.cpp.NAME``, ``miafast.ops.numba.NAME.NAME``, and so on. A missing twin, dependency or device means
"unavailable, and why"; an error inside a twin is an error.

An op's contract checks shapes, dtypes and options, wherever the arrays are. Values are checked in main memory only, for
a device would have to be waited for; ops say what they return there instead.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

#: What users give and get back: a NumPy, torch or CuPy array. Twins see NumPy's own, or the device's.
AnyArray: TypeAlias = Any

P = ParamSpec("P")
R = TypeVar("R")

#: How a bfloat16 array travels through NumPy, which has no such type: its bits, tagged. See `as_float`.
BFLOAT16 = np.dtype([("bfloat16", np.uint16)])

#: Why a backend cannot run an op for which nobody has written a twin.
NO_TWIN = "no such twin"

#: Backends by kind of memory, best first.
BACKENDS = {"cpu": ("cpp", "numba", "numpy"), "cuda": ("cuda", "triton")}

#: What a backend imports.
_NEEDED = {"cpp": (), "numba": ("numba",), "triton": ("torch", "triton"), "cuda": ("torch", "triton", "cupy")}


class Outline(np.ndarray[Any, Any]):
    """Shape and dtype of an array on a device: what contracts see of it. Its values mean nothing; it has no memory."""


class _Context(NamedTuple):
    forced: str | None = None
    ran: dict[str, str] | None = None  # op -> backend, while inside `recording`


_PLAIN = _Context()
_context: ContextVar[_Context] = ContextVar("miafast_ops", default=_PLAIN)
_ops: dict[str, Op[..., Any]] = {}


class Op(Generic[P, R]):
    """One numeric verb. Calling it checks the contract, picks a twin and hands back the caller's kind of array."""

    def __init__(self, truth: Callable[P, R], contract: Callable[P, None] | None, on_host: tuple[str, ...]) -> None:
        functools.update_wrapper(self, truth)
        self.name: str = truth.__name__
        self.truth = truth
        self.contract = contract
        self.on_host = on_host
        self._signature = inspect.signature(truth)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        place = self._place(args, kwargs)
        name, twin = self.twin(place)
        result = (self._on_host if place == "cpu" else self._on_device)(twin, args, kwargs)
        if (ran := _context.get().ran) is not None:
            ran[self.name] = name
        return cast(R, result)

    def _on_host(self, twin: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kinds = {_kind(value) for value in (*args, *kwargs.values())}
        args = tuple(_to_host(value) for value in args)
        kwargs = {name: _to_host(value) for name, value in kwargs.items()}
        if self.contract is not None:
            self.contract(*args, **kwargs)
        result = twin(*args, **kwargs)
        return _to_torch(result) if "torch" in kinds else result

    def _on_device(self, twin: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.contract is not None:
            self.contract(*map(_outline, args), **{name: _outline(value) for name, value in kwargs.items()})
        return importlib.import_module("miafast.ops.triton.caller").run(twin, args, kwargs)

    def twin(self, place: str = "cpu") -> tuple[str, Callable[..., R]]:
        """The backend, and its function, that `__call__` would run now on arrays that are there."""
        forced, why = _context.get().forced, {}
        names = BACKENDS.get(place.split(":")[0], ())
        for name in names if forced is None else set(names) & {forced}:
            found, why[name] = find_twin(self, name)
            if found is not None:
                return name, found
        reasons = "; ".join(f"{name}: {reason}" for name, reason in why.items())
        if forced is not None:
            raise RuntimeError(
                f"backend({forced!r}) cannot run {self.name} on arrays on {place} "
                f"({reasons or 'it works on others, and nothing moves between devices'}); "
                "miafast.backends() lists what can."
            )
        raise ValueError(f"{self.name} cannot run on arrays on {place} ({reasons}); move them with .cpu() first.")

    def _place(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Where the arrays are: "cpu", "cuda:0" and so on."""
        places = {device_of(value) for value in (*args, *kwargs.values())} - {None}
        if len(places) > 1:
            named = self._signature.bind(*args, **kwargs).arguments.items()
            found = {name: device_of(value) for name, value in named if name not in self.on_host}
            places = set(found.values()) - {None}
            if len(places) > 1:
                where = ", ".join(f"{name} is on {place}" for name, place in found.items() if place)
                raise ValueError(f"{where}; nothing moves between devices: give them all on one.")
        return places.pop() or "cpu" if places else "cpu"

    def __repr__(self) -> str:
        return f"<op {self.name}{self._signature}>"


def op(
    contract: Callable[P, None] | None = None, *, on_host: tuple[str, ...] = ()
) -> Callable[[Callable[P, R]], Op[P, R]]:
    """Declare the decorated NumPy function the truth of an op.

    ``contract`` takes the same arguments and raises; of an array on a device it sees the `Outline`. ``on_host`` names
    arguments that may stay in main memory while the others are on a device.
    """

    def register(truth: Callable[P, R]) -> Op[P, R]:
        made = Op(truth, contract, on_host)
        _ops[made.name] = made
        return made

    return register


def find_twin(which: Op[P, R], backend_name: str) -> tuple[Callable[P, R] | None, str]:
    """The twin of an op on a backend, or None and the reason why there is none."""
    if backend_name == "numpy":
        return which.truth, ""
    if backend_name == "cpp" and importlib.util.find_spec("miafast._native") is None:
        return None, "miafast._native is not built: pip install . needs a C++17 compiler"
    home = "miafast.ops.cpp" if backend_name == "cpp" else f"miafast.ops.{backend_name}.{which.name}"
    if backend_name != "cpp" and importlib.util.find_spec(home) is None:
        return None, NO_TWIN
    for needed in _NEEDED[backend_name]:
        if importlib.util.find_spec(needed) is None:
            return None, f"{needed} is not installed"
    reason = ""
    if backend_name in BACKENDS["cuda"]:
        reason = importlib.import_module("miafast.ops.triton.caller").why_no_device()
    if reason:
        return None, reason
    if not hasattr(module := importlib.import_module(home), which.name):
        return None, NO_TWIN
    return getattr(module, which.name), ""


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Force one backend for every op called inside.

    Raises ValueError for a name that is no backend; an op that has no such twin raises RuntimeError when called.

    >>> import miafast as mf, numpy as np
    >>> with mf.backend("numpy"):
    ...     mf.logit_confidence(np.array([[2.0, 0.0]]), np.array([0]))
    array([2.])
    """
    known = sorted({each for names in BACKENDS.values() for each in names})
    if name not in known:
        raise ValueError(f"backend={name!r} is not known; choose one of {', '.join(known)}.")
    token = _context.set(_context.get()._replace(forced=name))
    try:
        yield
    finally:
        _context.reset(token)


@contextmanager
def recording() -> Iterator[dict[str, str]]:
    """Collect which op ran on which backend inside; nested recordings share one table."""
    context = _context.get()
    ran = {} if context.ran is None else context.ran
    token = _context.set(context._replace(ran=ran))
    try:
        yield ran
    finally:
        _context.reset(token)


def note(name: str, how: str) -> None:
    """Tell `recording` how something that is no op ran; the first to tell is kept."""
    if (ran := _context.get().ran) is not None:
        ran.setdefault(name, how)


def every_op() -> dict[str, Op[..., Any]]:
    """All ops by name, whether or not something has imported them."""
    package = importlib.import_module("miafast.ops")
    for module in pkgutil.iter_modules(package.__path__):
        if not module.ispkg and module.name != "cpp":
            importlib.import_module(f"miafast.ops.{module.name}")
    return dict(sorted(_ops.items()))


class Backends(dict[str, dict[str, str]]):
    """op -> backend -> "yes", or the reason for a "no". Prints as a table."""

    def __str__(self) -> str:
        rows = [("op", "backend", "available")]
        rows += [(op_name, name, reason) for op_name, each in self.items() for name, reason in each.items()]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


def backends() -> Backends:
    """What can run here: every op on every backend, "yes" or why not.

    >>> import miafast as mf
    >>> mf.backends()["logit_confidence"]["numpy"]
    'yes'
    """
    table = Backends()
    for name, each in every_op().items():
        table[name] = {where: find_twin(each, where)[1] or "yes" for names in BACKENDS.values() for where in names}
    return table


def as_float(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values of an array as float64, tagged bfloat16 included."""
    if array.dtype == BFLOAT16:
        bits = np.ascontiguousarray(array).view(np.uint16)
        return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.asarray(array, dtype=np.float64)


def result_dtype(*arrays: np.ndarray[Any, Any]) -> np.dtype[Any]:
    """float64 if any input is float64, else float32: the rule for every op's floating results."""
    return np.dtype(np.float64 if any(array.dtype.str[1:] == "f8" for array in arrays) else np.float32)


def _kind(value: Any) -> str | None:
    if isinstance(value, np.ndarray):
        return "numpy"
    return "torch" if type(value).__module__.split(".")[0] == "torch" and hasattr(value, "detach") else None


def device_of(value: Any) -> str | None:
    """Where an array is, None for anything else."""
    if isinstance(value, np.ndarray):
        return "cpu"
    if _kind(value) == "torch":
        return str(value.device)
    if type(value).__module__.split(".")[0] == "cupy" and hasattr(value, "__dlpack__"):
        return f"cuda:{value.device.id}"
    return None


def _outline(value: Any) -> Any:
    if device_of(value) in (None, "cpu"):
        return value
    name = str(value.dtype).removeprefix("torch.")
    dtype = BFLOAT16 if name == "bfloat16" else np.dtype(name if name in np.sctypeDict else object)
    return np.broadcast_to(np.zeros((), dtype).view(Outline), tuple(value.shape), subok=True)


def _to_host(value: Any) -> Any:
    """A NumPy view of a CPU tensor, a tagged view of bfloat16, an aligned copy of an array whose numbers lie across
    their own size; anything else as it is."""
    kind = _kind(value)
    if kind == "torch":
        torch = sys.modules["torch"]
        value = value.detach()
        if value.dtype == torch.bfloat16:
            return value.view(torch.uint16).numpy().view(BFLOAT16)
        value = value.numpy()
    elif kind == "numpy" and type(value) is not np.ndarray:
        if isinstance(value, np.ma.MaskedArray):
            raise ValueError(
                "an array is masked, which no op heeds; give .filled(...) or drop the records in question."
            )
        value = np.asarray(value)  # np.matrix would keep two axes
    if kind == "numpy" and value.dtype.isbuiltin != 1 and value.dtype.name == "bfloat16":  # a name takes 10 µs
        return value.view(BFLOAT16)
    return value.copy() if kind is not None and not value.flags.aligned else value


def _to_torch(result: Any) -> Any:
    if isinstance(result, np.ndarray):
        return sys.modules["torch"].from_numpy(result)
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*(_to_torch(each) for each in result))
    return result
