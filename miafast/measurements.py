"""Which signals can be measured on a model, and what each holds per record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from miafast.ops.signals import LogitSignals

#: One number per query, all from one pass over the logits: see `miafast.ops.signals`.
OF_LOGITS = LogitSignals._fields

#: So many rows of non-negative logits do not all sum to 1 by chance.
FEWEST_ROWS = 8

Layout = dict[str, tuple[int, ...]]  # signal -> its axes after models and records


def refuse_probabilities(name: str, logits: Any) -> None:
    """Raise ValueError for [records, ..., classes] (NumPy or tensor) whose rows are all in [0, 1] and sum to 1.

    Taken for logits they would make every attack look weak. A few rows may be so by chance and are let pass.

    >>> import numpy as np
    >>> refuse_probabilities("the model", np.full((8, 2), 0.5))
    Traceback (most recent call last):
    ValueError: the model gives probabilities, not logits; leave out the softmax at its end, or give their logarithms.
    """
    if len(logits) >= FEWEST_ROWS and bool((logits >= 0).all()) and bool((abs(logits.sum(-1) - 1) < 1e-3).all()):
        raise ValueError(
            f"{name} gives probabilities, not logits; leave out the softmax at its end, or give their logarithms."
        )


def kind_of(name: str) -> str:
    """What a signal is, without the numbers it is measured with; the keyword under which an attack is given it.

    >>> kind_of("noisy_loss@0.01x100")
    'noisy_loss'
    """
    return name.partition("@")[0]


def noise_of(name: str) -> tuple[float, int]:
    """Standard deviation and number of the noisy copies that a signal ``KIND@SIGMAxCOPIES`` is measured on.

    >>> noise_of("noisy_loss@0.01x100")
    (0.01, 100)
    """
    sigma, _, copies = name.partition("@")[2].partition("x")
    return float(sigma), int(copies)


def layers_of(name: str) -> list[str] | None:
    """The layers that a signal ``gradient_norm@LAYER,LAYER`` is about; None is all.

    >>> layers_of("gradient_norm@fc1,fc2")
    ['fc1', 'fc2']
    """
    layers = name.partition("@")[2]
    return layers.split(",") if layers else None


def layout(names: Iterable[str], *, queries: int, classes: int) -> Layout:
    """What a run with these signals keeps per model and record; phi always, and first.

    ``logits`` are the answers themselves: [queries, classes] for every model and record. ``noisy_loss@SIGMAxCOPIES``
    and ``noisy_correct@SIGMAxCOPIES`` are measured on copies of the input with Gaussian noise, in place of queries;
    ``boundary_distance@QUERIES`` is one number: see `miafast.boundary_distance`. ``gradient_norm``, of all layers or
    ``gradient_norm@LAYER,LAYER``, is minus its logarithm: see `miafast.gradient_norms`.

    Raises ValueError for a name that nothing measures.

    >>> layout(["entropy", "logits"], queries=2, classes=10)
    {'phi': (2,), 'entropy': (2,), 'logits': (2, 10)}
    """
    sizes: Layout = {"phi": (queries,)}
    for name in names:
        if name in OF_LOGITS or kind_of(name) == "gradient_norm":
            sizes[name] = (queries,)
        elif name == "logits":
            sizes[name] = (queries, classes)
        elif kind_of(name) in ("noisy_loss", "noisy_correct"):
            sizes[name] = (noise_of(name)[1],)
        elif kind_of(name) == "boundary_distance":
            sizes[name] = (1,)
        else:
            raise ValueError(
                f"signal {name!r} is not known; attacks may ask for {', '.join(OF_LOGITS)}, logits, "
                "noisy_loss@SIGMAxCOPIES, noisy_correct@SIGMAxCOPIES, boundary_distance@QUERIES, gradient_norm or "
                "gradient_norm@LAYER,LAYER."
            )
    return sizes
