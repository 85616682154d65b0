"""What one comparison is, and how it is run: every answer checked against the truth, then timed in turns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks.table import Column, promise
from miafast.bench.timing import Spread, interleaved, ratios
from miafast.tables import Array

#: Records whose answers are checked against the NumPy truth, where an answer depends on its own record alone.
CHECKED = 20_000


class Disagreement(Exception):
    """A way whose answer is not the truth: its time means nothing."""


@dataclass(frozen=True)
class Way:
    """One way to the answer: what is timed, and what of its result is compared with the truth (None: nothing)."""

    run: Callable[[], Any]
    answer: Callable[[Any], Array] | None = np.asarray
    repeats: int = 1  # the case's work is this many runs


@dataclass(frozen=True)
class Case:
    title: str
    reads: int  # bytes of input that any way must read once
    truth: Callable[[], Array]  # the answer, or its first CHECKED entries, by the op's float64 NumPy truth
    ours: Way
    rivals: Mapping[str, Way]
    at_least: Mapping[str, float] = field(default_factory=dict)  # promised ratio by rival
    share_at_least: float | None = None  # promised share of the measured read bandwidth
    tolerance: float = 1e-4  # of an answer, relative above 1 and absolute below


COLUMNS = (
    Column("case", "title"),
    Column("way", "way"),
    Column("ms", "ms", "{:.2f}"),
    Column("quartiles", "quartiles"),
    Column("miafast is faster ×", "ratio", "{:.1f}"),
    Column("quartiles", "ratio_quartiles"),
    Column("share of read bandwidth", "share", "{:.0%}"),
    Column("promised", "promised"),
    Column("kept", "kept"),
)
SAYS = (
    "A process for each case; medians over rounds in which every way is run in turn. Of a way quicker than half a "
    "second a round's first call does not count. Ratios are taken within a round. Every answer, ours and theirs, was "
    "compared with the float64 NumPy truth on these inputs before the clock started. Share of read bandwidth: bytes of "
    "input, read once, over time and measured bandwidth."
)


def compare(name: str, case: Case, *, read_bytes_per_s: float, rounds: int) -> list[dict[str, Any]]:
    """Check and time one case: a row for miafast, then one for each rival.

    Raises Disagreement, before anything is timed, naming the way whose answer is not the truth.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    ways = {"miafast": case.ours, **case.rivals}
    check(case, ways)
    taken = interleaved({way: each.run for way, each in ways.items()}, rounds=rounds)
    taken = {way: [value * ways[way].repeats for value in seconds] for way, seconds in taken.items()}
    share = case.reads / Spread.of(taken["miafast"]).median / read_bytes_per_s
    rows = []
    for way, seconds in taken.items():
        row: dict[str, Any] = {"case": name, "title": case.title, "way": way, **_times(seconds)}
        if way == "miafast":
            row |= {"share": share} | _promise(share, case.share_at_least, "{:.0%}")
        else:
            ratio = ratios(seconds, taken["miafast"])
            row |= {"ratio": ratio.median, "ratio_quartiles": f"{ratio.low:.1f}–{ratio.high:.1f}"}
            row |= _promise(ratio.median, case.at_least.get(way), "{:.3g} ×")
        rows.append(row)
    return rows


def check(case: Case, ways: Mapping[str, Way]) -> None:
    """Raise Disagreement for a way whose answer is not the truth."""
    expected = np.asarray(case.truth(), dtype=np.float64)
    for name, way in ways.items():
        if way.answer is None:
            continue
        got = way.answer(way.run())
        if expected.shape[:1] == (CHECKED,):
            got = got[:CHECKED]
        if got.shape != expected.shape:
            raise Disagreement(f"{case.title}: {name} has shape {got.shape}, the truth {expected.shape}")
        error = np.abs(got - expected) / np.maximum(1, np.abs(expected))
        if not error.max() <= case.tolerance:
            raise Disagreement(f"{case.title}: {name} is off by {error.max():.3g}; {case.tolerance:g} is allowed")


def _times(seconds: list[float]) -> dict[str, Any]:
    spread = Spread.of([value * 1e3 for value in seconds])
    return {
        "ms": spread.median, "quartiles": f"{spread.low:.2f}–{spread.high:.2f}", "rounds": spread.rounds,
    }  # fmt: skip


def _promise(value: float, at_least: float | None, form: str) -> dict[str, Any]:
    if at_least is None:
        return {}
    return promise("≥ " + form.format(at_least), kept=value >= at_least)
