"""Reconstructed inputs beside the means of their classes: a picture, and a section that can stand in a report."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from miafast.tables import Array

COLUMNS = 10


def draw(x: Array, means: Array, names: tuple[str, ...]) -> bytes:
    """A PNG: below every class's mean [classes, ...] its reconstruction; the same arrays give the same bytes.

    Raises ValueError for inputs that are no images: [1 or 3 channels, height, width] or [height, width].
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        bands = -(-len(x) // COLUMNS)
        wide = min(len(x), COLUMNS)
        figure = Figure(figsize=(0.4 + 1.1 * wide, 2.6 * bands), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2 * bands, wide, squeeze=False)
        for each in axes.flat:
            each.set_axis_off()
        for place in range(len(x)):
            band, column = divmod(place, COLUMNS)
            for row, picture in enumerate((means[place], x[place])):
                axes[2 * band + row, column].imshow(_as_image(picture), cmap="gray", interpolation="nearest")
            axes[2 * band, column].set_title(names[place].replace("$", r"\$"), fontsize=8)
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def section(x: Array, means: Array, names: tuple[str, ...], *, facts: Mapping[str, str]) -> str:
    """An HTML section with the picture inside; every text in it is escaped."""
    picture = base64.b64encode(draw(x, means, names)).decode()
    about = "Above, the mean of each class; below, what was reconstructed from the model alone."
    rows = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in facts.items()
    )
    return (
        f'<section>\n<h2>Model inversion</h2>\n<p>{about}</p>\n<img alt="Class means and reconstructions of '
        f'{html.escape(", ".join(names))}" src="data:image/png;base64,{picture}">\n'
        + (f"<dl>{rows}</dl>\n" if rows else "")
        + "</section>\n"
    )


def _as_image(x: Array) -> Any:
    """One input as [height, width] or [height, width, 3] in 0 … 1, stretched over its own range."""
    if x.ndim == 3 and x.shape[0] in (1, 3):
        x = x[0] if x.shape[0] == 1 else np.moveaxis(x, 0, -1)
    elif x.ndim != 2:
        raise ValueError(f"inputs have shape {x.shape}, which is no image: [1 or 3, height, width] or [height, width].")
    low, high = float(x.min()), float(x.max())
    return (x - low) / (high - low) if high > low else np.zeros_like(x)
