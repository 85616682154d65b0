"""What this machine does: every stage of an audit on made-up data, on the processor and on a CUDA device."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from miafast.attacks.lira import LiRA
from miafast.attacks.rmia import RMIA
from miafast.bench.timing import Spread, interleaved
from miafast.ops.dispatch import recording
from miafast.ops.logit_confidence import logit_confidence
from miafast.ops.roc_counts import roc_counts
from miafast.ops.signals import signals
from miafast.shadow import Recipe
from miafast.tables import Array, Records

#: Seconds that one measurement may take, three rounds at the least.
BUDGET_S = 2.0


@dataclass(frozen=True)
class Measured:
    """One line: how much of something a second, or why it could not be measured."""

    what: str
    size: str
    device: str
    ran: str  # the backend, how models were trained, or why nothing ran
    ms: Spread | None = None
    per_s: float | None = None
    unit: str = ""
    share: float | None = None  # of the measured bandwidth, input being read once

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        quartiles = None if self.ms is None else [self.ms.low, self.ms.median, self.ms.high]
        return {
            "what": self.what, "size": self.size, "device": self.device, "ran": self.ran, "ms_quartiles": quartiles,
            "rounds": 0 if self.ms is None else self.ms.rounds, "per_s": self.per_s, "unit": self.unit,
            "share_of_bandwidth": self.share,
        }  # fmt: skip

    def __str__(self) -> str:
        begin = f"{self.what:<20}  {self.size:<41}  {self.device:<6}  "
        if self.ms is None or self.per_s is None:
            return f"{begin}not measured: {self.ran}"
        share = "" if self.share is None else f"{self.share:.0%}"
        return f"{begin}{self.ms.median:>9.2f}  {_short(self.per_s):>7} {self.unit:<12}  {share:>6}  {self.ran}"


HEADER = (
    f"{'what':<20}  {'size':<41}  {'device':<6}  {'ms':>9}  {'throughput':<20}  {'of bw':>6}  what ran\n"
    "(medians; of bw: the input read once, over the measured bandwidth of the processor's memory or the device's)"
)


@dataclass(frozen=True)
class Work:
    """What is timed: the arrays, what runs on them, and how much of what that is."""

    what: str
    size: str
    run: Callable[..., Any]
    arrays: tuple[Array, ...]
    count: float
    unit: str


def measure_all(where: Mapping[str, Any], *, quick: bool = False) -> Iterator[Measured]:
    """Measure line by line, in about a minute; ``where`` is what `miafast.bench.machine.describe` says.

    ``quick`` takes a hundredth of the data: it shows that all runs, not how fast.
    """
    bandwidths = {"cpu": where["read_gb_per_s"] * 1e9}
    if "device" in where:
        bandwidths["cuda"] = where["device_copy_gb_per_s"] * 1e9
    for work in _on_arrays(100 if quick else 1):
        for device, bandwidth in bandwidths.items():
            yield _measured(work, device, bandwidth)
    if importlib.util.find_spec("torch") is None:
        yield Measured("training, inference", "", "cpu", "torch is not installed: pip install 'miafast[train]'")
        return
    for device in bandwidths:
        yield from _models(device, quick=quick)


def _on_arrays(shrink: int) -> Iterator[Work]:
    """One after the other, so that only one's arrays are in memory."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return random.standard_normal(shape, dtype=np.float32)

    for records, classes in ((1_000_000 // shrink, 10), (200_000 // shrink, 100)):
        arrays, size = (normal(records, classes), random.integers(classes, size=records)), f"{records:,} × {classes}"
        yield Work("phi", size, logit_confidence, arrays, records, "records/s")
        yield Work("all signals", size, signals, arrays, records, "records/s")
    models, records = 64, 200_000 // shrink
    mask = random.random((models, records)) < 0.5
    phi = normal(models, records) + np.float32(2) * mask
    size = f"{models} models × {records:,}"
    yield Work("LiRA", size, LiRA().score, (phi[0], phi[1:], mask[1:]), records, "records/s")
    yield Work("LiRA, leave-one-out", size, LiRA().score_all, (phi, mask), models * records, "scores/s")
    others, records = normal(models, max(20, 10_000 // shrink)), records // 4
    yield Work(
        f"RMIA, {others.shape[1]:,} others", f"{models} models × {records:,}",
        lambda target, shadow, in_mask, *pair: RMIA().score(target, shadow, in_mask, population=pair),
        (phi[0, :records], phi[1:, :records], mask[1:, :records], others[0], others[1:]), records, "records/s",
    )  # fmt: skip
    scores, members = normal(1_000_000 // shrink), random.random(1_000_000 // shrink) < 0.5
    yield Work("ROC", f"{len(scores):,} scores", roc_counts, (scores, members), len(scores), "scores/s")


def _measured(work: Work, device: str, bandwidth: float) -> Measured:
    arrays: tuple[Any, ...] = work.arrays
    if device != "cpu":
        import torch

        arrays = tuple(torch.as_tensor(each, device=device) for each in arrays)
    try:
        with recording() as ran:
            work.run(*arrays)
    except ValueError as error:  # no twin for this device
        return Measured(work.what, work.size, device, str(error))
    ms = _spread(lambda: work.run(*arrays), device)
    seconds = ms.median / 1e3
    share = sum(each.nbytes for each in work.arrays) / seconds / bandwidth
    used = ", ".join(sorted(set(ran.values())))
    return Measured(work.what, work.size, device, used, ms, work.count / seconds, work.unit, share)


def _models(device: str, *, quick: bool) -> Iterator[Measured]:
    """Training of stacked perceptrons, and their answers to phi."""
    from miafast.collect import measure
    from miafast.shadow import membership, stack_size, train

    records = bits(2_000 if quick else 20_000)
    epochs = 1 if quick or device == "cpu" else 20  # on a device a captured graph must first be made
    recipe = Recipe(hidden=(128,), batch_size=min(256, len(records)), epochs=epochs, dtype="bfloat16")
    count = 2 if quick else stack_size(recipe, records, device=device)
    mask = membership(len(records), count, seed=0)
    size = f"{count} MLPs 600-128-100 × {len(records) // 2:,} records"
    with recording() as ran:
        trained = train(recipe, records, mask, models=range(count), seed=0, device=device)
    ms = _spread(lambda: train(recipe, records, mask, models=range(count), seed=0, device=device), device)
    how = ", ".join([trained.how, recipe.dtype, *sorted(set(ran.values()))])
    yield Measured("stacked training", size, device, how, ms, count * epochs / ms.median * 1e3, "epochs/s")
    with recording() as ran:
        measure(trained, records, ["identity"], layout={"phi": (1,)})
    used = ", ".join(sorted({name for op, name in ran.items() if op != "shadow training"}))
    ms = _spread(lambda: measure(trained, records, ["identity"], layout={"phi": (1,)}), device)
    looks, size = count * len(records), f"{count} MLPs × {len(records):,} records"
    yield Measured("inference to phi", size, device, used, ms, looks / ms.median * 1e3, "answers/s")


def bits(records: int) -> Records:
    """Records in the shape of Purchase-100, 600 bits and 100 classes: prototypes with 4 bits in 10 flipped."""
    random = np.random.default_rng(0)
    labels = random.integers(100, size=records)
    prototypes = random.random((100, 600)) < 0.5
    x = prototypes[labels] ^ (random.random((records, 600)) < 0.4)
    return Records(x, labels, classes=100, name="Purchase-shaped")


def _spread(run: Callable[[], Any], device: str) -> Spread:
    """Milliseconds a call, until the device is done."""

    def finished() -> None:
        run()
        if device != "cpu":
            import torch

            torch.cuda.synchronize()

    return Spread.of([1e3 * each for each in interleaved({"": finished}, rounds=15, budget_s=BUDGET_S)[""]])


def _short(number: float) -> str:
    """Three digits and a unit of a thousand.

    >>> _short(1_234_567), _short(12.34)
    ('1.23 M', '12.3')
    """
    for unit, size in ((" G", 1e9), (" M", 1e6), (" k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"
