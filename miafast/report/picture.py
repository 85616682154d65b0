"""The log-log ROC as a PNG for slides and papers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miafast.report.measures import Facts, lowest_rate
from miafast.report.svg import most_true_positives
from miafast.report.words import rate

COLOURS = ("#0b5fa5", "#c2410c", "#0f766e", "#7c3aed", "#a16207", "#be185d")
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (8, 2, 2, 2)), (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)))


def draw_roc(
    path: Path, attacks: list[Facts], *, name: str, regions: Mapping[str, tuple[float, float]] | None = None
) -> None:
    """Write the ROC of every attack, with the first one's band; the same facts give the same bytes.

    regions: (epsilon, delta) by name; a line is drawn at the largest TPR that each allows.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(5.2, 5.0), dpi=200, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        lowest = lowest_rate(attacks)
        axes.plot([lowest, 1], [lowest, 1], color="#8a8f98", linewidth=1, linestyle=":", label="guessing")
        along = [lowest ** (1 - step / 200) for step in range(201)]
        for shade, (about, (epsilon, delta)) in zip(("#3f444d", "#8a8f98"), (regions or {}).items(), strict=False):
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
                linewidth=1.8, label=f"{_literal(each['name'])} (AUC {each['auc']['value']:.3f})",
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlim=(lowest, 1), ylim=(lowest, 1.0), aspect="equal")
        axes.set(xlabel="false alarms (FPR)", ylabel="training records found (TPR)", title=_literal(_short(name)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: rate(value)))
            axis.set_tick_params(which="minor", length=0)
        axes.grid(color="#d9dce1", linewidth=0.6)
        axes.set_axisbelow(True)
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="lower right", fontsize=8, framealpha=0.95)
        figure.savefig(path, format="png", metadata={"Software": None})


def _literal(text: str) -> str:
    """Dollar signs would start mathematics."""
    return text.replace("$", r"\$")


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
