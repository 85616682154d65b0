"""Each op's twins on a CUDA device against PyTorch there: times by the device's clock, shares of its copy bandwidth.

Without a device, ``--smoke --device cpu`` runs the same code on tiny inputs in Triton's interpreter; its times say
nothing.
"""

from __future__ import annotations

import functools
import importlib
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch

import miafast as mf
from benchmarks import rivals
from benchmarks.cases import CHECKED, Disagreement
from benchmarks.table import Column, Section, promise
from miafast.bench.timing import Spread, ratios
from miafast.ops import dispatch
from miafast.tables import Array

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

Run = Callable[[], Any]
EAGER = "PyTorch eager"
BUDGET_S = 6.0  # of one case, three rounds at the least
AHEAD = 6 * 10**9  # bytes written before what is timed
FPRS = (1e-1, 1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class Case:
    title: str
    op: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    moves: int  # bytes that any way must read and write once; 0 where products decide, not memory
    answer: Callable[[Any], Any]  # what of a result is compared, a tensor
    truth: Callable[[], Array]  # the first entries of the answer's last axis
    rivals: Mapping[str, tuple[Run, Callable[[Any], Any] | None, int]] = field(default_factory=dict)
    tolerance: float = 1e-4
    share_at_least: float | None = None
    at_least: Mapping[str, float] = field(default_factory=dict)
    checked: tuple[Any, ...] | None = None  # what twins are compared on, where the truth of ``args`` takes too long


COLUMNS = (
    Column("case", "title"),
    Column("way", "way"),
    Column("ms", "ms", "{:.3f}"),
    Column("quartiles", "quartiles"),
    Column("host ms", "host_ms", "{:.3f}"),
    Column("times the first's", "ratio", "{:.2f}"),
    Column("share of copy bandwidth", "share", "{:.0%}"),
    Column("MiB more at most", "mib", "{:.0f}"),
    Column("promised", "promised"),
    Column("kept", "kept"),
)
SAYS = (
    "Times by CUDA events on a device that was kept busy until the host had asked for all (for the first two "
    "milliseconds), medians over rounds in which every way is run in turn; host ms: until the call returned. Every "
    "twin's answer, and every "
    "rival's that has the same, was compared with the float64 NumPy truth first. Share of copy bandwidth: bytes that "
    "must be read and written once, over time and measured copy bandwidth. MiB more at most: device memory beyond the "
    "inputs, results included."
)


def run(name: str, *, read_bytes_per_s: float, smoke: bool, rounds: int, device: str) -> list[dict[str, Any]]:
    """Check and time one case: a row per twin, then one for each rival. ``read_bytes_per_s`` is the copy bandwidth."""
    case = CASES[name](smoke, device)
    twins = {f"miafast, {where}": _twin(case.op, where, device) for where in dispatch.BACKENDS["cuda"]}
    ways: dict[str, tuple[Run, Callable[[Any], Any] | None, int]] = {}
    expected = case.truth()
    for way, twin in twins.items():
        if twin is not None:
            _check(case, way, case.answer(twin(*(case.checked or case.args), **case.options)), expected)
            ways[way] = (functools.partial(twin, *case.args, **case.options), None, 1)
    ways |= case.rivals
    extra = {}
    for way, (function, answer, _) in ways.items():
        before = _memory(device)
        found = function()
        extra[way] = (_peak(device) - before) / 2**20
        if answer is not None:
            _check(case, way, answer(found), expected)
        del found
    taken = _interleaved({way: function for way, (function, _, _) in ways.items()}, device, rounds=rounds)
    returned = {
        way: statistics.median(_host_seconds(function, device) for _ in range(5))
        for way, (function, _, _) in ways.items()
    }
    first, rows = next(iter(ways)), []
    for way, seconds in taken.items():
        seconds = [each * ways[way][2] for each in seconds]
        spread = Spread.of([each * 1e3 for each in seconds])
        row: dict[str, Any] = {
            "case": name, "title": case.title, "way": way, "ms": spread.median, "rounds": spread.rounds,
            "quartiles": f"{spread.low:.3f}–{spread.high:.3f}", "ratio": ratios(seconds, taken[first]).median,
            "mib": extra[way], "host_ms": returned[way] * ways[way][2] * 1e3,
        }  # fmt: skip
        at_least = case.at_least.get(way)
        if way.startswith("miafast") and case.moves:
            row["share"] = case.moves / Spread.of(seconds).median / read_bytes_per_s
            if case.share_at_least and way == first and not smoke:  # what is called where all twins are there
                row |= promise(f"≥ {case.share_at_least:.0%}", kept=row["share"] >= case.share_at_least)
        elif at_least is not None and not smoke:
            row |= promise(f"≥ {at_least:g} ×", kept=row["ratio"] >= at_least)
        rows.append(row)
    return rows


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("ops on a device", SAYS, COLUMNS, tuple(rows))


def _twin(op_name: str, where: str, device: str) -> Callable[..., Any] | None:
    """An op forced to a backend that has a twin; without a device, its Triton twin itself."""
    which = dispatch.every_op()[op_name]
    found, reason = dispatch.find_twin(which, where)
    if device == "cpu":
        if where != "triton" or reason == dispatch.NO_TWIN:
            return None
        twin: Callable[..., Any] = getattr(importlib.import_module(f"miafast.ops.triton.{op_name}"), op_name)
        return twin

    def forced(*args: Any, **options: Any) -> Any:
        with mf.backend(where):
            return which(*args, **options)

    return None if found is None else forced


def _check(case: Case, way: str, got: Any, expected: Array) -> None:
    got = got[..., : expected.shape[-1]].double().cpu().numpy()
    error = np.abs(got - expected) / np.maximum(1, np.abs(expected))
    if got.shape != expected.shape or not error.max() <= case.tolerance:
        raise Disagreement(f"{case.title}: {way} is off by {error.max():.3g}; {case.tolerance:g} is allowed")


def _interleaved(ways: Mapping[str, Run], device: str, *, rounds: int) -> dict[str, list[float]]:
    """Seconds per call, one number per round; rounds stop after the budget once three are done."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    began = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - began > BUDGET_S:
            break
        for way, function in ways.items():
            taken[way].append(statistics.median(_seconds(function, device) for _ in range(3)))
    return taken


def _seconds(function: Run, device: str) -> float:
    if device == "cpu":
        return _host_seconds(function, device)
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    _keep_busy()
    start.record()
    function()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1e3


def _host_seconds(function: Run, device: str) -> float:
    """Until the call returns, whatever the device still has to do."""
    if device != "cpu":
        torch.cuda.synchronize()
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _keep_busy() -> None:
    """About two milliseconds of work for the device, so that it does not wait for the host afterwards."""
    torch.empty(AHEAD, dtype=torch.uint8, device="cuda").zero_()


def _memory(device: str) -> int:
    if device == "cpu":
        return 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.memory_allocated())


def _peak(device: str) -> int:
    if device == "cpu":
        return 0
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated())


def _truth(op_name: str, *args: Any, **options: Any) -> Any:
    """The NumPy truth in float64 on tensors' values."""
    given = (each.double().cpu().numpy() if each.is_floating_point() else each.cpu().numpy() for each in args)
    return dispatch.every_op()[op_name].truth(*given, **options)


def _bytes(*tensors: Any) -> int:
    return sum(each.numel() * each.element_size() for each in tensors)


def phi(op_name: str, records: int, classes: int, dtype: str) -> Callable[[bool, str], Case]:
    def make(smoke: bool, device: str) -> Case:
        count = 20 if smoke else records
        labels = torch.randint(classes, (count,), device=device)
        logits = torch.randn(count, classes, device=device, dtype=getattr(torch, dtype)).mul_(2)
        logits[torch.arange(count, device=device), labels] += 5
        outputs = 1 if op_name == "logit_confidence" else 6.25
        return Case(
            f"{op_name}, {records // 10**6}M × {classes} {dtype}", op_name, (logits, labels), {},
            _bytes(logits, labels) + int(count * 4 * outputs), _phi,
            lambda: _phi(_truth(op_name, logits[:CHECKED], labels[:CHECKED])),
            _phi_rivals(op_name, logits, labels, compiled=dtype == "float32" and not smoke),
            share_at_least=0.8 if op_name == "logit_confidence" else None,
            at_least={EAGER: 15} if (op_name, classes) == ("logit_confidence", 10) else {},
        )  # fmt: skip

    return make


def _phi(found: Any) -> Any:
    return found.phi if isinstance(found, tuple) else found


def _phi_rivals(op_name: str, logits: Any, labels: Any, *, compiled: bool) -> dict[str, Any]:
    function = rivals.torch_phi_and_loss if op_name == "logit_confidence" else rivals.torch_signals
    # In bfloat16 PyTorch rounds phi to bfloat16: another answer, so only its time is compared.
    answer = (lambda found: found[0]) if logits.dtype == torch.float32 else None
    found: dict[str, Any] = {EAGER: (lambda: function(logits, labels), answer, 1)}
    if compiled:
        torch.compiler.reset()
        quick = rivals.compiled(function)
        found["torch.compile"] = (lambda: quick(logits, labels), answer, 1)
    return found


def _phis(records: int, models: int, device: str) -> tuple[Any, Any, Any]:
    """A target's phi, the shadows' and their mask: fair coins, phi one higher where IN."""
    in_mask = torch.randint(0, 2, (models, records), device=device, dtype=torch.uint8).bool()
    in_mask[:3], in_mask[3:6] = True, False
    shadow = torch.randn(models, records, 1, device=device).add_(in_mask[:, :, None])
    return torch.randn(records, 1, device=device), shadow, in_mask


def lira(center: str) -> Callable[[bool, str], Case]:
    def make(smoke: bool, device: str) -> Case:
        count, models = (200, 16) if smoke else (10_000_000, 256)
        target, shadow, in_mask = _phis(count, models, device)
        few, tenth = slice(1000), slice(max(1, count // 10))
        options = {"variance": "per-record", "center": center}
        eager = (lambda: torch_lira(target[tenth], shadow[:, tenth], in_mask[:, tenth]), None, 10)
        return Case(
            f"LiRA, {center} centres, 10M × 256 float32", "lira", (target, shadow, in_mask), options,
            _bytes(target, shadow, in_mask) + 4 * count, _phi,
            lambda: _truth("lira", target[few], shadow[:, few], in_mask[:, few], **options),
            {f"{EAGER} (10 × a tenth)": eager} if center == "mean" else {},
            share_at_least=0.7 if center == "mean" else None,
        )  # fmt: skip

    return make


def leave_one_out(variance: str, center: str, *, balanced: bool = False) -> Callable[[bool, str], Case]:
    def make(smoke: bool, device: str) -> Case:
        count, models = (64, 16) if smoke else (10_000_000, 256)
        _, shadow, in_mask = _phis(count, models, device)
        if balanced:
            for begin in range(0, count, 10**6):  # every record IN half the models
                block = in_mask[:, begin : begin + 10**6]
                block.copy_(torch.rand(block.shape, device=device).argsort(0) < models // 2)
        options = {"variance": variance, "center": center}
        few = slice(300)
        return Case(
            f"LiRA leave-one-out, {variance}, {center} centres, {'balanced' if balanced else 'coins'}, 10M × 256",
            "lira_leave_one_out", (shadow, in_mask), options, _bytes(shadow, in_mask) + 4 * count * models, _phi,
            lambda: _truth("lira_leave_one_out", shadow[:, few], in_mask[:, few], **options),
            share_at_least=0.7 if (variance, center) == ("per-record", "mean") else None,
            checked=(shadow[:, few].contiguous(), in_mask[:, few].contiguous()),
        )  # fmt: skip

    return make


def torch_lira(target: Any, shadow: Any, in_mask: Any) -> Any:
    """Online LiRA, means and each record's own variances, as one writes it in PyTorch."""
    score = torch.zeros_like(target[:, 0])
    for mask, sign in ((in_mask[:, :, None], 1.0), (~in_mask[:, :, None], -1.0)):
        count = mask.sum(0)
        mean = torch.where(mask, shadow, 0.0).sum(0) / count
        variance = torch.where(mask, (shadow - mean).square(), 0.0).sum(0) / (count - 1)
        score += sign * torch.distributions.Normal(mean, variance.sqrt(), validate_args=False).log_prob(target)[:, 0]
    return score


def rmia(smoke: bool, device: str) -> Case:
    count, population = (300, 100) if smoke else (50_000, 10_000)
    x, z = torch.randn(count, 1, device=device), torch.randn(population, device=device)
    matrix = (lambda: torch.cat([(part - z >= 0).float().mean(1) for part in x.split(5000)]), lambda found: found, 1)
    return Case(
        "RMIA, 50k records × 10k of the population", "rmia", (x, z), {}, 0, _phi, lambda: _truth("rmia", x, z),
        {"PyTorch, the matrix of pairs": matrix},
    )  # fmt: skip


def _scores(smoke: bool, device: str) -> tuple[Any, Any]:
    count = 999 if smoke else 10_000_000
    is_member = torch.randint(0, 2, (count,), device=device, dtype=torch.uint8).bool()
    return torch.randn(count, device=device).add_(is_member), is_member


def exact_roc(smoke: bool, device: str) -> Case:
    scores, is_member = _scores(smoke, device)
    return Case(
        "exact ROC, 10M scores", "roc_counts", (scores, is_member), {}, 0, lambda found: found[2],
        lambda: _truth("roc_counts", scores, is_member)[2],
        {"torch.sort (no ROC yet)": (lambda: torch.sort(scores), None, 1)}, tolerance=0,
    )  # fmt: skip


def tpr_at(smoke: bool, device: str) -> Case:
    scores, is_member = _scores(smoke, device)
    return Case(
        "TPR at four FPRs, 10M scores", "tpr_at", (scores, is_member, FPRS), {}, 0, _phi,
        lambda: dispatch.every_op()["tpr_at"].truth(scores.double().cpu().numpy(), is_member.cpu().numpy(), FPRS),
        {"torch.sort (no TPR yet)": (lambda: torch.sort(scores), None, 1)}, tolerance=1e-12,
    )  # fmt: skip


def head(dtype: str) -> Callable[[bool, str], Case]:
    def make(smoke: bool, device: str) -> Case:
        tokens, width, classes = (40, 32, 300) if smoke else (4096, 768, 50_257)
        of_type = getattr(torch, dtype)
        features = torch.randn(tokens, width, device=device).to(of_type)
        weight = torch.randn(classes, width, device=device).div_(width**0.5).to(of_type)
        bias, labels = (
            torch.zeros(classes, device=device, dtype=of_type),
            torch.randint(classes, (tokens,), device=device),
        )
        few = slice(64)
        loss = (lambda: rivals.torch_head_loss(features, weight, bias, labels), None, 1)
        return Case(
            f"language model's head, 4096 tokens × 768 → 50,257 classes, {dtype}", "linear_confidence",
            (features, weight, bias, labels), {}, 0, _phi,
            lambda: _phi(_truth("linear_confidence", features[few], weight, bias, labels[few])),
            {"PyTorch addmm and cross-entropy": loss},
        )  # fmt: skip

    return make


def mlps(smoke: bool, device: str) -> Case:
    widths, models, records = ((600, 128, 100), 256, 10_000) if not smoke else ((20, 8, 5), 3, 50)
    x = (torch.rand(records, widths[0], device=device) < 0.5).float()
    layers = [
        (torch.randn(models, outside, inside, device=device) / inside**0.5, torch.randn(models, outside, device=device))
        for inside, outside in pairwise(widths)
    ]
    weights = torch.cat([each.flatten(1) for layer in layers for each in layer], 1)
    labels = torch.randint(widths[-1], (records,), device=device)
    options = {"widths": widths, "activation": "relu"}

    def loop() -> Any:
        found = []
        for model in range(models):
            (first, offset), (second, other) = ((weight[model], bias[model]) for weight, bias in layers)
            hidden = torch.addmm(offset, x, first.T).relu_()
            found.append(rivals.torch_phi(torch.addmm(other, hidden, second.T), labels))
        return torch.stack(found)

    return Case(
        "inference to phi, 256 MLPs 600-128-100, 10k records", "mlp_confidence", (x, weights, labels), options, 0, _phi,
        lambda: _phi(_truth("mlp_confidence", x[:50], weights, labels[:50], **options)),
        {"PyTorch, a loop over the models": (loop, lambda found: found, 1),
         "PyTorch, batched products": (lambda: rivals.torch_stacked_phi(layers, x, labels), lambda found: found, 1)},
        at_least={"PyTorch, a loop over the models": 10}, tolerance=1e-3,
    )  # fmt: skip


CASES: dict[str, Callable[[bool, str], Case]] = {
    **{
        f"{short}-{classes}{suffix}": phi(op_name, records, classes, dtype)
        for short, op_name in (("phi", "logit_confidence"), ("signals", "signals"))
        for records, classes in ((10_000_000, 10), (10_000_000, 100), (2_000_000, 1000))
        for suffix, dtype in (("", "float32"), ("-bfloat16", "bfloat16"))
    },
    "lira": lira("mean"),
    "lira-medians": lira("median"),
    "leave-one-out": leave_one_out("per-record", "mean"),
    "leave-one-out-balanced": leave_one_out("per-record", "mean", balanced=True),
    "leave-one-out-shrunken": leave_one_out("shrunken", "mean"),
    "leave-one-out-medians": leave_one_out("per-record", "median"),
    "rmia": rmia,
    "roc": exact_roc,
    "tpr-at": tpr_at,
    "head": head("float32"),
    "head-bfloat16": head("bfloat16"),
    "mlps": mlps,
}
