"""Pictures by Matplotlib: the same drawing gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from miafast.tables import Array


def png(draw: Callable[[Any], None], *, size: tuple[float, float], dpi: int = 150) -> bytes:
    """What ``draw(figure)`` draws on a Matplotlib figure of this size in inches, whatever the user's settings are."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=size, dpi=dpi, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def as_image(x: Array) -> Array:
    """One input as [height, width] or [height, width, 3] in 0 … 1, stretched over its own range.

    Raises ValueError for an input that is no image: [1 or 3 channels, height, width] or [height, width].

    >>> as_image(np.array([[[2.0, 4.0]]]))
    array([[0., 1.]])
    """
    if x.ndim == 3 and x.shape[0] in (1, 3):
        x = x[0] if x.shape[0] == 1 else np.moveaxis(x, 0, -1)
    elif x.ndim != 2:
        raise ValueError(f"inputs have shape {x.shape}, which is no image: [1 or 3, height, width] or [height, width].")
    low, high = float(x.min()), float(x.max())
    return (x - low) / (high - low) if high > low else np.zeros_like(x)


def literal(text: str) -> str:
    """Dollar signs would start mathematics."""
    return text.replace("$", r"\$")
