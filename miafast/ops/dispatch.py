"""The only chooser of backends: an op is one signature with a NumPy truth, twins are found under the same name.

The arrays choose. NumPy arrays and CPU tensors go to the first available of ``cpp``, ``numba``, ``numpy``;
``with backend("numpy"):`` forces one. A twin is a function called like the op and taking the same arguments:
``miafast.ops.cpp.NAME``, ``miafast.ops.numba.NAME.NAME``. A missing twin or a missing dependency means
"unavailable, and why"; an error inside a twin is an error.
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
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, cast

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

#: How a bfloat16 array travels through NumPy, which has no such type: its bits, tagged. See `as_float`.
BFLOAT16 = np.dtype([("bfloat16", np.uint16)])

#: Backends by kind of memory, best first.
BACKENDS = {"cpu": ("cpp", "numba", "numpy")}


class _Context(NamedTuple):
    forced: str | None = None
    ran: dict[str, str] | None = None  # op -> backend, while inside `recording`


_PLAIN = _Context()
_context: ContextVar[_Context] = ContextVar("miafast_ops", default=_PLAIN)
_ops: dict[str, Op[..., Any]] = {}


class Op(Generic[P, R]):
    """One numeric verb. Calling it checks the contract, picks a twin and hands back the caller's kind of array."""

    def __init__(self, truth: Callable[P, R], contract: Callable[P, None] | None) -> None:
        functools.update_wrapper(self, truth)
        self.name: str = truth.__name__
        self.truth = truth
        self.contract = contract
        self._signature = inspect.signature(truth)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        kinds = {_kind(value) for value in (*args, *kwargs.values()) if _kind(value) is not None}
        host_args = tuple(_to_host(value) for value in args)
        host_kwargs = {name: _to_host(value) for name, value in kwargs.items()}
        if self.contract is not None:
            self.contract(*host_args, **host_kwargs)
        name, twin = self.twin()
        result = twin(*host_args, **host_kwargs)
        if (ran := _context.get().ran) is not None:
            ran[self.name] = name
        return cast(R, _to_torch(result) if "torch" in kinds else result)

    def twin(self) -> tuple[str, Callable[..., R]]:
        """The backend, and its function, that `__call__` would run now on arrays in main memory."""
        forced = _context.get().forced
        for name in (forced,) if forced else BACKENDS["cpu"]:
            found, reason = find_twin(self, name)
            if found is not None:
                return name, found
        raise RuntimeError(f"backend({forced!r}) cannot run {self.name}: {reason}; miafast.backends() lists what can.")

    def __repr__(self) -> str:
        return f"<op {self.name}{self._signature}>"


def op(contract: Callable[P, None] | None = None) -> Callable[[Callable[P, R]], Op[P, R]]:
    """Declare the decorated NumPy function the truth of an op; ``contract`` takes the same arguments and raises."""

    def register(truth: Callable[P, R]) -> Op[P, R]:
        made = Op(truth, contract)
        _ops[made.name] = made
        return made

    return register


def find_twin(which: Op[P, R], backend_name: str) -> tuple[Callable[P, R] | None, str]:
    """The twin of an op on a backend, or None and the reason why there is none."""
    if backend_name == "numpy":
        return which.truth, ""
    if backend_name == "numba" and importlib.util.find_spec("numba") is None:
        return None, "numba is not installed"
    home = {"cpp": "miafast.ops.cpp", "numba": f"miafast.ops.numba.{which.name}"}[backend_name]
    if backend_name == "cpp" and importlib.util.find_spec("miafast._native") is None:
        return None, "miafast._native is not built: pip install . needs a C++17 compiler"
    if importlib.util.find_spec(home) is None or not hasattr(module := importlib.import_module(home), which.name):
        return None, "no such twin"
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


def _to_host(value: Any) -> Any:
    """A NumPy view of a CPU tensor, a tagged view of bfloat16; anything else as it is."""
    kind = _kind(value)
    if kind == "torch":
        torch = sys.modules["torch"]
        if value.device.type != "cpu":
            raise ValueError(f"arrays on {value.device} have no backend here; move them with .cpu() first.")
        value = value.detach()
        if value.dtype == torch.bfloat16:
            return value.view(torch.uint16).numpy().view(BFLOAT16)
        return value.numpy()
    if kind == "numpy" and value.dtype.name == "bfloat16":
        return value.view(BFLOAT16)
    return value


def _to_torch(result: Any) -> Any:
    if isinstance(result, np.ndarray):
        return sys.modules["torch"].from_numpy(result)
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*(_to_torch(each) for each in result))
    return result
