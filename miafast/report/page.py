"""The page: report.html filled with a report's facts. Everything that comes from a user is escaped by the template."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from miafast.report import svg, svg_remembered, words
from miafast.report.filled import filled
from miafast.report.measures import Facts, headline_level

CHOSEN_FIRST = ("records", "recipe", "shadows", "membership", "queries", "seed")
NOT_SHOWN = ("class_names",)  # the table of exposed records shows those that matter


def page(facts: Facts, *, scores_file: str) -> str:
    """One self-contained HTML page: no script, no font, no picture, no request beyond it."""
    from markupsafe import Markup

    attacks = facts["attacks"]
    values = {
        "facts": facts,
        "scores_file": scores_file,
        "plus_minus": words.plus_minus,
        "level": headline_level(attacks[0]),
        "highlight": None if facts["headline"]["tpr"] is None else _together(words.percent(facts["headline"]["tpr"])),
        "groups": words.measure_rows(attacks),
        "footnotes": [*words.too_few(attacks), *words.left_out(attacks)],
        "roc_plot": Markup(svg.roc_plot(attacks)),
        "samples": [Markup(svg.line_sample(place)) for place in range(len(attacks))],
        "panels": [{**each, "svg": Markup(each["svg"])} for each in _panels(facts["exposed"])],
        "remembered_plot": _drawn(svg_remembered.separation_plot, facts["remembered"]["with_separation"]),
        "uncertainty_plot": _drawn(svg_remembered.uncertainty_plot, facts["remembered"]["uncertainty"]),
        "percent": words.percent,
        "settings": list(_flat({key: facts["settings"][key] for key in _ordered(facts["settings"])})),
    }
    filters: dict[str, Callable[..., str]] = {
        "rate": words.rate, "share": words.percent, "together": _together, "count": _count, "number": _number,
        "duration": _duration,
    }  # fmt: skip
    return filled("report.html", values, filters=filters)


def _drawn(draw: Callable[[Facts], str], facts: Facts | None) -> Any:
    from markupsafe import Markup

    return None if facts is None else Markup(draw(facts))


def _panels(exposed: Facts) -> Iterator[Facts]:
    """One small histogram per drawn record, the most exposed ones first."""
    if exposed["histograms"] is None:
        return
    drawn = exposed["histograms"]["records"]
    tallest = max(max(*each["in"], *each["out"]) for each in drawn)
    about = {each["record"]: each for each in (*exposed["typical"], *exposed["most"])}
    typical = {each["record"] for each in exposed["typical"]}
    for each in drawn:
        record = about[each["record"]]
        picture = svg.phi_panel(
            each, exposed["histograms"]["edges"], tallest=max(tallest, 1), target_phi=record["target_phi"]
        )
        yield {**record, "svg": picture, "typical": each["record"] in typical}


def _ordered(settings: Facts) -> list[str]:
    rest = [key for key in settings if key not in CHOSEN_FIRST and key not in NOT_SHOWN]
    return [key for key in CHOSEN_FIRST if key in settings] + rest


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Rows (name, text) of settings within settings; fingerprints by their beginning."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _flat(each, f"{name} · {key}" if name else str(key))
    elif isinstance(value, list):
        yield name, ", ".join(str(each) for each in value) or "none"
    elif value is None or isinstance(value, bool):
        yield name, {None: "none", True: "yes", False: "no"}[value]
    else:
        yield name, re.sub(r"^([0-9a-f]{16})[0-9a-f]{16,}$", r"\1…", str(value))


def _together(text: str) -> str:
    """No line break between a number and its percent sign."""
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)


def _count(value: int) -> str:
    return f"{value:,}"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
