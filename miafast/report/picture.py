"""The log-log ROC as a PNG for slides and papers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miafast.report.measures import Facts, lowest_rate
from miafast.report.png import literal, png
from miafast.report.svg import most_true_positives
from miafast.report.words import rate

COLOURS = ("#0b5fa5", "#c2410c", "#0f766e", "#7c3aed", "#a16207", "#be185d")
LONGEST = 60  # characters of a title
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (8, 2, 2, 2)), (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)))


def draw_roc(
    attacks: list[Facts], *, name: str, regions: Mapping[str, tuple[float, float]] | None = None
) -> bytes:  # fmt: skip
    """The ROC of every attack as a PNG, with the first one's band; the same facts give the same bytes.

    regions: (epsilon, delta) by name; a line is drawn at the largest TPR that each allows.
    """
    return png(lambda figure: _draw(figure, attacks, name, regions or {}), size=(5.2, 5.0), dpi=200)


def _draw(figure: Any, attacks: list[Facts], name: str, regions: Mapping[str, tuple[float, float]]) -> None:
    from matplotlib.ticker import FuncFormatter

    axes = figure.add_subplot()
    lowest = lowest_rate(attacks)
    axes.plot([lowest, 1], [lowest, 1], color="#8a8f98", linewidth=1, linestyle=":", label="guessing")
    along = [lowest ** (1 - step / 200) for step in range(201)]
    for shade, (about, (epsilon, delta)) in zip(("#3f444d", "#8a8f98"), regions.items(), strict=False):
        most = [most_true_positives(fpr, epsilon, delta) for fpr in along]
        axes.plot(along, most, color=shade, linewidth=1.2, linestyle="--", label=f"{about}: ε = {epsilon:.3g}")
    if attacks[0]["band"] is not None:
        band = attacks[0]["band"]
        low = [max(each, lowest / 10) for each in band["low"]]
        axes.fill_between(band["fpr"], low, band["high"], color=COLOURS[0], alpha=0.16, linewidth=0)
    for place, each in reversed(list(enumerate(attacks))):
        curve, start = each["curve"], 1 / each["non_members"]
        axes.plot(
            [max(fpr, start) for fpr in curve["fpr"]], [max(tpr, lowest / 10) for tpr in curve["tpr"]],
            color=COLOURS[place % len(COLOURS)], linestyle=DASHES[place % len(DASHES)], drawstyle="steps-post",
            linewidth=1.8, label=f"{literal(each['name'])} (AUC {each['auc']['value']:.3f})",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(lowest, 1), ylim=(lowest, 1.0), aspect="equal")
    axes.set(xlabel="false alarms (FPR)", ylabel="training records found (TPR)", title=literal(_short(name)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: rate(value)))
        axis.set_tick_params(which="minor", length=0)
    axes.grid(color="#d9dce1", linewidth=0.6)
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="lower right", fontsize=8, framealpha=0.95)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
