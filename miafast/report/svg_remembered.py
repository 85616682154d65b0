"""Inline SVG of what models remember: memorisation beside separation, and how sure they are in and out."""

from __future__ import annotations

import math
from itertools import pairwise

from miafast.report.measures import Facts

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 84, 12, 14, 58
SHADES = 5  # of the style sheet, from one record to the fullest cell


def separation_plot(together: Facts) -> str:
    """Records as cells, memorisation to the right, separation upwards; colour as the logarithm of their number."""
    across, up, counts = together["memorization"], together["separation"], together["counts"]
    fullest = max(max(column) for column in counts)
    paths = [""] * SHADES
    for (left, right), column in zip(pairwise(across), counts, strict=True):
        for (below, above), count in zip(pairwise(up), column, strict=True):
            if count:
                shade = min(SHADES - 1, int(SHADES * math.log(count) / max(math.log(fullest), 1e-9)))
                x0, x1 = (_along(each, across, LEFT, WIDTH - RIGHT) for each in (left, right))
                y0, y1 = (_along(each, up, HEIGHT - BOTTOM, TOP) for each in (below, above))
                paths[shade] += f"M{x0:.1f} {y0:.1f}H{x1:.1f}V{y1:.1f}H{x0:.1f}Z"
    parts = [f'<path class="cell shade-{shade}" d="{path}"/>' for shade, path in enumerate(paths) if path]
    label = (
        f"{sum(map(sum, counts)):,} records by memorisation, {across[0]:.2f} to {across[-1]:.2f}, and by separation "
        f"d prime, {up[0]:.1f} to {up[-1]:.1f}."
    )
    return _framed("remembered", label, parts, across, up, "memorisation", "separation d′")


def uncertainty_plot(sides: Facts) -> str:
    """Normalised entropy: the share of members upwards, of non-members downwards."""
    edges, tallest = sides["edges"], max(*sides["members"], *sides["non_members"], 1e-9)
    middle, half = (TOP + HEIGHT - BOTTOM) / 2, (HEIGHT - BOTTOM - TOP) / 2
    parts = []
    for name, look, sign in (("members", "in", -1), ("non_members", "out", 1)):
        path = "".join(
            f"M{_along(left, edges, LEFT, WIDTH - RIGHT):.1f} {middle:.1f}v{sign * half * share / tallest:.1f}"
            f"H{_along(right, edges, LEFT, WIDTH - RIGHT):.1f}V{middle:.1f}Z"
            for (left, right), share in zip(pairwise(edges), sides[name], strict=True)
            if share
        )
        parts.append(f'<path class="bars {look}" d="{path}"/>')
    parts.append(f'<path class="axis" d="M{LEFT} {middle:.1f}H{WIDTH - RIGHT}"/>')
    means = (sides["mean_of_members"], sides["mean_of_non_members"])
    said = " and ".join("unknown" if each is None else f"{each:.3f}" for each in means)
    label = f"Normalised entropy of predictions, mean on members and on non-members {said}."
    return _framed(
        "uncertainty", label, parts, edges, [-tallest, tallest], "normalised entropy", "share of answers", signed=False
    )


def _framed(
    kind: str, label: str, parts: list[str], across: list[float], up: list[float], x_name: str, y_name: str, *,
    signed: bool = True,
) -> str:  # fmt: skip
    ticks = []
    for at in _round(across[0], across[-1]):
        x = _along(at, across, LEFT, WIDTH - RIGHT)
        ticks.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        ticks.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{_text(at)}</text>'
        )
    for at in _round(up[0], up[-1]):
        y = _along(at, up, HEIGHT - BOTTOM, TOP)
        ticks.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        shown = _text(at if signed else abs(at))
        ticks.append(f'<text class="tick" x="{LEFT - 7}" y="{y:.1f}" dy=".35em" text-anchor="end">{shown}</text>')
    middle, centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    names = (
        f'<text class="name" x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{x_name}</text>'
        f'<text class="name" transform="translate(16 {centre:.1f}) rotate(-90)" '
        f'text-anchor="middle">{y_name}</text>'
    )
    body = "".join([*ticks, *parts, names])
    return f'<svg class="plot {kind}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{body}</svg>'


def _along(value: float, edges: list[float], start: float, end: float) -> float:
    return start + (value - edges[0]) / (edges[-1] - edges[0]) * (end - start)


def _round(low: float, high: float) -> list[float]:
    """A few round numbers from low to high."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    return [place * step for place in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _text(value: float) -> str:
    return f"{value + 0.0:.3g}".replace("-", "−")
