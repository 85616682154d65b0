"""Reconstructed inputs beside the means of their classes: a picture, and a section that can stand in a report."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from typing import Any

from miafast.report.png import as_image, literal, png
from miafast.tables import Array

COLUMNS = 10


def draw(x: Array, means: Array, names: tuple[str, ...]) -> bytes:
    """A PNG: below every class's mean [classes, ...] its reconstruction; the same arrays give the same bytes.

    Raises ValueError for inputs that are no images: [1 or 3 channels, height, width] or [height, width].
    """
    bands, wide = -(-len(x) // COLUMNS), min(len(x), COLUMNS)

    def drawn(figure: Any) -> None:
        axes = figure.subplots(2 * bands, wide, squeeze=False)
        for each in axes.flat:
            each.set_axis_off()
        for place in range(len(x)):
            band, column = divmod(place, COLUMNS)
            for row, picture in enumerate((means[place], x[place])):
                axes[2 * band + row, column].imshow(as_image(picture), cmap="gray", interpolation="nearest")
            axes[2 * band, column].set_title(literal(names[place]), fontsize=8)

    return png(drawn, size=(0.4 + 1.1 * wide, 2.6 * bands))


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
