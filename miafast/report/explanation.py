"""One page about one record: its influence map under the target and under proxies, side by side."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from miafast.report.files import all_or_nothing
from miafast.report.filled import filled
from miafast.report.png import as_image, png
from miafast.tables import Array, Records
from miafast.whitebox import Explanation

SHOWN = 12  # features and units


def save_explanation(
    found: Explanation, records: Records, folder: str | Path, *, is_member: bool | None = None
) -> Path:
    """Write explanation.html, self-contained, into a folder, made if need be, and return the page's path.

    ``records`` are those that were explained. Images ([1 or 3, height, width]) are drawn as maps, all else as bars of
    the features that differ most.
    """
    folder = Path(folder)
    with all_or_nothing(folder) as temporary:
        page = explanation_page(found, records, is_member=is_member)
        temporary("explanation.html").write_text(page, encoding="utf-8")
    return folder / "explanation.html"


def headline(found: Explanation, *, is_member: bool | None = None) -> str:
    """What the attack says of the record, in one sentence.

    >>> zero = np.zeros(2, np.float32)
    >>> print(headline(Explanation(3, 0, "fc1", zero, zero, zero[None], zero, logit=1.0), is_member=True))
    Bayes-wb at fc1 gives record 3 a probability of 0.73 to be a member (log odds +1.00); it is one.
    """
    truth = {None: ".", True: "; it is one.", False: "; it is none."}[is_member]
    return (
        f"Bayes-wb at {found.layer} gives record {found.record} a probability of {found.score:.2f} to be a member "
        f"(log odds {found.logit:+.2f}){truth}"
    )


def explanation_page(found: Explanation, records: Records, *, is_member: bool | None = None) -> str:
    """The page as text; everything that comes from a user is escaped."""
    names = records.class_names
    values = {
        "found": found,
        "name": records.name,
        "class_name": found.label if names is None else names[found.label],
        "about": {None: "membership unknown", True: "trained on", False: "not trained on"}[is_member],
        "headline": headline(found, is_member=is_member),
        "alt": "Influence of the inputs under the target, under the proxies, and the difference.",
        "picture": base64.b64encode(draw(found)).decode(),
        "tables": _tables(found),
    }
    return filled("explanation.html", values)


def draw(found: Explanation) -> bytes:
    """The map as a PNG; the same explanation gives the same bytes."""
    is_image = found.x.ndim == 3 and found.x.shape[0] in (1, 3)
    size = (9.0, 2.6) if is_image else (9.0, 4.2)
    return png(lambda figure: (_draw_image if is_image else _draw_bars)(figure, found), size=size)


def _draw_image(figure: Any, found: Explanation) -> None:
    axes = figure.subplots(1, 4)
    axes[0].imshow(as_image(found.x), cmap="gray", interpolation="nearest")
    maps = [each.sum(axis=0) for each in (found.target, found.proxies.mean(axis=0), found.excess)]
    most = max(float(np.abs(each).max()) for each in maps) or 1.0
    for place, each in zip(axes[1:], maps, strict=True):
        drawn = place.imshow(each, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    for place, title in zip(axes, ("the record", "target", "proxies", "target less proxies"), strict=True):
        place.set_axis_off()
        place.set_title(title, fontsize=9)
    figure.colorbar(drawn, ax=axes[3], shrink=0.8)


def _draw_bars(figure: Any, found: Explanation) -> None:
    chosen = largest(found.excess, SHOWN)[::-1]
    rows = np.arange(len(chosen))
    proxies = found.proxies.reshape(len(found.proxies), -1)[:, chosen]
    axes = figure.add_subplot()
    axes.barh(rows + 0.2, found.target.reshape(-1)[chosen], 0.38, color="#0b5fa5", label="target")
    axes.barh(rows - 0.2, proxies.mean(axis=0), 0.38, color="#c2410c", label="proxies")
    axes.hlines(rows - 0.2, proxies.min(axis=0), proxies.max(axis=0), color="#1c2128", linewidth=1, label="their range")
    axes.axvline(0, color="#8a8f98", linewidth=0.8)
    axes.set_yticks(rows, [_place(found, each) for each in chosen], fontsize=8)
    axes.set_xlabel("adds to the logit of the record's class")
    axes.legend(fontsize=8)


def largest(values: Array, count: int) -> list[int]:
    """Places of the ``count`` numbers that are largest in size, the largest first.

    >>> largest(np.array([[0.0, -3.0], [2.0, 1.0]]), 2)
    [1, 2]
    """
    return [int(each) for each in np.argsort(-np.abs(values.reshape(-1)), kind="stable")[:count]]


def _place(found: Explanation, index: int) -> str:
    where: Sequence[Any] = np.unravel_index(index, found.x.shape)
    kinds = ("channel", "row", "column") if found.x.ndim == 3 else ("feature",) * found.x.ndim
    return ", ".join(f"{kind} {int(each)}" for kind, each in zip(kinds, where, strict=True))


def _tables(found: Explanation) -> list[tuple[str, str, list[tuple[str, dict[str, float]]]]]:
    target, proxies = found.target.reshape(-1), found.proxies.reshape(len(found.proxies), -1)
    inputs = [
        (
            _place(found, each),
            {
                "target": float(target[each]), "proxies, least": float(proxies[:, each].min()),
                "most": float(proxies[:, each].max()),
            },
        )
        for each in largest(found.excess, SHOWN)
    ]  # fmt: skip
    units = [(str(each), {"towards membership": float(found.units[each])}) for each in largest(found.units, SHOWN)]
    return [("Inputs", "input", inputs), (f"Units of layer {found.layer}", "unit", units)]
