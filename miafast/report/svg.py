"""Inline SVG drawn from a report's facts. Colours, lines and text sizes are the style sheet's (report.css)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

from miafast.report.measures import Facts, headline_level, lowest_rate
from miafast.report.words import percent, rate

#: How many looks of line the style sheet has before they repeat.
LOOKS = 6

WIDTH, HEIGHT = 560, 516
LEFT, RIGHT, TOP, BOTTOM = 92, 14, 16, 70
PANEL_WIDTH, PANEL_HEIGHT, PANEL_FOOT = 220, 128, 26


def roc_plot(attacks: list[Facts], *, regions: Mapping[str, tuple[float, float]] | None = None) -> str:
    """Log-log ROC of every attack; the first has its band, and a mark at the headline's false-alarm rate.

    regions: (epsilon, delta) by name; a line is drawn at the largest TPR that each allows.
    """
    lowest = lowest_rate(attacks)
    measured = 1 / max(each["non_members"] for each in attacks)
    parts = [_grid(lowest), _too_few(lowest, measured), _diagonal(lowest)]
    parts += [_region(*each, lowest, name) for name, each in (regions or {}).items()]
    if attacks[0]["band"] is not None:
        parts.append(_band(attacks[0]["band"], lowest))
    for place, each in reversed(list(enumerate(attacks))):
        line = _staircase(each["curve"], lowest, start=1 / each["non_members"])
        parts.append(f'<path class="line look-{place % LOOKS}" d="{line}"/>')
    parts.append(_mark(attacks[0], lowest))
    return _svg("roc", WIDTH, HEIGHT, _roc_label(attacks), parts)


def line_sample(place: int) -> str:
    """A short piece of the line that stands for an attack, for the key."""
    path = f'<path class="line look-{place % LOOKS}" d="M1 7H35"/>'
    return f'<svg class="sample" viewBox="0 0 36 14" width="36" height="14" aria-hidden="true">{path}</svg>'


def phi_panel(histogram: Facts, edges: Sequence[float], *, tallest: int, target_phi: float | None) -> str:
    """One record's signals: models trained with it above the axis, models trained without it below."""
    middle, half = (PANEL_HEIGHT - PANEL_FOOT) / 2, (PANEL_HEIGHT - PANEL_FOOT) / 2 - 3
    parts = []
    for side, sign in (("in", -1), ("out", 1)):
        path = "".join(
            f"M{_along(left, edges):.1f} {middle:.1f}V{middle + sign * half * count / tallest:.1f}"
            f"H{_along(right, edges):.1f}V{middle:.1f}Z"
            for (left, right), count in zip(pairwise(edges), histogram[side], strict=True)
            if count
        )
        parts.append(f'<path class="bars {side}" d="{path}"/>')
    parts.append(f'<path class="axis" d="M0 {middle:.1f}H{PANEL_WIDTH}"/>')
    if target_phi is not None:
        x = _along(target_phi, edges)
        parts.append(f'<path class="target" d="M{x:.1f} 2V{PANEL_HEIGHT - PANEL_FOOT - 2}"/>')
    for tick in _round_ticks(edges[0], edges[-1]):
        x = min(max(_along(tick, edges), 12), PANEL_WIDTH - 12)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{PANEL_HEIGHT - 7}" text-anchor="middle">{_signed(tick)}</text>'
        )
    label = (
        f"Signals of record {histogram['record']}: {sum(histogram['in'])} models trained with it, around phi "
        f"{_centre(histogram['in'], edges)}; {sum(histogram['out'])} models trained without it, around "
        f"{_centre(histogram['out'], edges)}."
    )
    return _svg("phi", PANEL_WIDTH, PANEL_HEIGHT, label, parts)


def _svg(kind: str, width: int, height: int, label: str, parts: list[str]) -> str:
    body = "".join(parts)
    return (
        f'<svg class="plot {kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{body}</svg>'
    )


def _x(fpr: float, lowest: float) -> float:
    share = 1 - math.log10(max(fpr, lowest)) / math.log10(lowest)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(tpr: float, lowest: float) -> float:
    share = 1 - math.log10(max(tpr, lowest)) / math.log10(lowest)
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _grid(lowest: float) -> str:
    parts = []
    for power in range(round(math.log10(lowest)), 1):
        x, y, text = _x(10.0**power, lowest), _y(10.0**power, lowest), rate(10.0**power)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        corner = power == round(math.log10(lowest))
        anchor, shift, lift = ("end", 4, ".35em") if power == 0 else ("middle", 0, "0" if corner else ".35em")
        parts.append(
            f'<text class="tick" x="{x + shift:.1f}" y="{HEIGHT - BOTTOM + 24}" text-anchor="{anchor}">{text}</text>'
        )
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y:.1f}" dy="{lift}" text-anchor="end">{text}</text>')
    centre = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="name" x="{centre:.1f}" y="{HEIGHT - 14}" text-anchor="middle">false alarms (FPR)</text>'
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="name" transform="translate(20 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        "training records found (TPR)</text>"
    )
    return "".join(parts)


def _too_few(lowest: float, measured: float) -> str:
    """Left of one false alarm nothing can be measured; the plot says so."""
    right = _x(measured, lowest)
    if right - LEFT < 4:
        return ""
    parts = [
        '<defs><pattern id="too-few" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<path class="hatch" d="M0 0V7"/></pattern></defs>',
        f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT:.1f}" height="{HEIGHT - TOP - BOTTOM}" '
        'fill="url(#too-few)"/>',
    ]
    if right - LEFT > 40:
        x, y = (LEFT + right) / 2 + 5, TOP + 12
        parts.append(
            f'<text class="note halo" transform="translate({x:.1f} {y}) rotate(-90)" text-anchor="end">'
            "too few non-members to measure</text>"
        )
    return "".join(parts)


def _diagonal(lowest: float) -> str:
    x, y = _x(lowest**0.42, lowest), _y(lowest**0.42, lowest)
    angle = -math.degrees(math.atan2(HEIGHT - TOP - BOTTOM, WIDTH - LEFT - RIGHT))
    return (
        f'<path class="diagonal" d="M{LEFT} {HEIGHT - BOTTOM}L{WIDTH - RIGHT} {TOP}"/>'
        f'<text class="note" transform="translate({x:.1f} {y:.1f}) rotate({angle:.1f}) translate(0 18)" '
        'text-anchor="middle">guessing</text>'
    )


def _band(band: Facts, lowest: float) -> str:
    upper = [
        f"{_x(fpr, lowest):.1f} {_y(high, lowest):.1f}" for fpr, high in zip(band["fpr"], band["high"], strict=True)
    ]
    under = [f"{_x(fpr, lowest):.1f} {_y(low, lowest):.1f}" for fpr, low in zip(band["fpr"], band["low"], strict=True)]
    return f'<path class="band" d="M{"L".join([*upper, *reversed(under)])}Z"/>' if upper else ""


def most_true_positives(fpr: float, epsilon: float, delta: float) -> float:
    """The largest TPR at this FPR that (epsilon, delta)-DP allows (Kairouz et al. 2015, theorem 2.1).

    >>> most_true_positives(0.1, math.log(3), 0.0)
    0.3...
    """
    return min(1.0, math.exp(epsilon) * fpr + delta, 1 - math.exp(-epsilon) * (1 - delta - fpr))


def _region(epsilon: float, delta: float, lowest: float, name: str) -> str:
    points = [lowest ** (1 - step / 80) for step in range(81)]
    places = [(_x(fpr, lowest), _y(most_true_positives(fpr, epsilon, delta), lowest)) for fpr in points]
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    x, y = places[12]
    return (
        f'<path class="region" d="M{line}"/><text class="note halo" x="{x:.1f}" y="{max(y - 6, TOP + 12):.1f}">'
        f"{escape(name)}</text>"
    )


def _staircase(curve: Facts, lowest: float, *, start: float) -> str:
    """The ROC as it is: flat between its points. Points that would not move the pen are left out."""
    start = max(start, lowest)
    before = [tpr for fpr, tpr in zip(curve["fpr"], curve["tpr"], strict=True) if fpr <= start * (1 + 1e-9)]
    x, y = _x(start, lowest), _y(before[-1] if before else 0.0, lowest)
    path = [f"M{x:.1f} {y:.1f}"]
    for fpr, tpr in zip(curve["fpr"], curve["tpr"], strict=True):
        to_x, to_y = _x(fpr, lowest), _y(tpr, lowest)
        if fpr > start and (to_x - x >= 0.5 or y - to_y >= 0.5 or fpr >= 1):
            path.append(f"H{to_x:.1f}V{to_y:.1f}")
            x, y = to_x, to_y
    return "".join(path)


def _mark(attack: Facts, lowest: float) -> str:
    level = headline_level(attack)
    if level is None or level["value"] is None:
        return ""
    x, y = _x(level["fpr"], lowest), _y(level["value"], lowest)
    return (
        f'<path class="leader" d="M{x:.1f} {y:.1f}V{HEIGHT - BOTTOM}"/>'
        f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
        f'<text class="value halo" x="{x - 9:.1f}" y="{y - 11:.1f}" text-anchor="end">{percent(level["value"])}</text>'
    )


def _roc_label(attacks: list[Facts]) -> str:
    found = []
    for each in attacks:
        rows = [f"{percent(row['value'])} at {rate(row['fpr'])}" for row in each["tpr"] if row["measurable"]]
        found.append(f"{each['name']} finds {', '.join(rows) or 'what could not be measured'}")
    return f"ROC curves on logarithmic axes: training records found against false alarms. {'; '.join(found)}."


def _along(phi: float, edges: Sequence[float]) -> float:
    share = (phi - edges[0]) / (edges[-1] - edges[0])
    return 4 + share * (PANEL_WIDTH - 8)


def _round_ticks(low: float, high: float) -> list[float]:
    """Two to five round numbers between low and high."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [place * step for place in range(first, last + 1)]


def _signed(value: float) -> str:
    return f"{value + 0.0:.6g}".replace("-", "−")


def _centre(counts: Sequence[int], edges: Sequence[float]) -> str:
    """The middle of a histogram as text."""
    total = sum(counts)
    if total == 0:
        return "nothing"
    middles = [(left + right) / 2 for left, right in pairwise(edges)]
    return _signed(round(sum(count * at for count, at in zip(counts, middles, strict=True)) / total, 1))
