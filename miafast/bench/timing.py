"""Wall times of several functions taken in turns, so that what slows the machine slows them all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: Between functions: thread pools (OpenMP's, for one) spin for a moment after their work, on the next one's core.
REST_S = 0.01
#: A function quicker than SLOW_S is called again in each round, this often or for this long, and the first call, on
#: processors that rested and caches that others filled, does not count.
SLOW_S, CALLS_PER_ROUND, SECONDS_PER_ROUND = 0.5, 5, 0.05


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of one number per round."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        return cls(median, low, high, len(values))


def interleaved(
    functions: Mapping[str, Callable[[], Any]], *, rounds: int = 15, budget_s: float = 40.0
) -> dict[str, list[float]]:
    """Seconds per call of each function, one number per round: the round's median over its calls.

    Every function is called once before the clock starts. Rounds stop after `rounds`, or once `budget_s` is spent
    and three are done.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    began = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        for done in range(rounds):
            if done >= 3 and time.perf_counter() - began > budget_s:
                break
            for name, function in functions.items():
                seconds[name].append(statistics.median(_calls(function)))
    finally:
        gc.enable()
    return seconds


def _calls(function: Callable[[], Any]) -> list[float]:
    time.sleep(REST_S)
    first = _seconds(function)
    if first > SLOW_S:
        return [first]
    taken: list[float] = []
    while not taken or (len(taken) < CALLS_PER_ROUND and sum(taken) < SECONDS_PER_ROUND):
        taken.append(_seconds(function))
    return taken


def _seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def ratios(slow: list[float], fast: list[float]) -> Spread:
    """How many times longer `slow` takes than `fast`, round by round."""
    return Spread.of([each / other for each, other in zip(slow, fast, strict=True)])
