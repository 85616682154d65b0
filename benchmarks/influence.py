"""Internal influence of a layer on all classes: all records together against one record at a time."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.cases import Disagreement
from benchmarks.lenet import LeNet
from benchmarks.table import Column, Section, promise
from miafast.whitebox import cut, internal_influence

#: Largest error of completeness, relative to max(1, |g(z) - g(0)|); the loop takes as many nodes per record.
TOLERANCE, AT_LEAST, LOOPED = 1e-2, 20.0, 20
CASES = {"lenet-conv2": (10_000, "conv2")}
COLUMNS = (
    Column("case", "title"), Column("way", "way"), Column("s for all records", "s", "{:.1f}"),
    Column("nodes per record", "nodes", "{:.1f}"), Column("error of completeness", "error", "{:.1e}"),
    Column("miafast is faster ×", "ratio", "{:.1f}"), Column("promised", "promised"), Column("kept", "kept"),
)  # fmt: skip
SAYS = (
    "An untrained LeNet on Gaussian images. The loop takes the records one by one: one forward per node (midpoints, "
    f"evenly spread, as many as ours on average) and one backward per class and node; it runs {LOOPED} records, "
    "and its time is scaled up. Both with the same threads."
)


def run(name: str, *, smoke: bool) -> list[dict[str, Any]]:
    """A row for miafast, then one for the loop. Raises Disagreement where ours misses the tolerance."""
    torch.manual_seed(0)
    records, layer = CASES[name]
    records = 50 if smoke else records
    x = 3.0 * torch.randn(records, 1, 28, 28)
    part = cut(LeNet((1, 28, 28), 10), layer, x[:2])
    z = part.features(x)
    began = time.perf_counter()
    found = internal_influence(part.head, z, tolerance=TOLERANCE)
    ours = time.perf_counter() - began
    nodes = found.nodes / records
    error = found.residual(z).abs() / (found.at_z - found.at_baseline).abs().clamp_min(1.0)
    if float(error.max()) > TOLERANCE:
        raise Disagreement(f"influence misses completeness by {float(error.max()):.2g}")
    began = time.perf_counter()
    chi = torch.stack([_one(part.head, z[each : each + 1], nodes=round(nodes)) for each in range(LOOPED)])
    theirs = (time.perf_counter() - began) * records / LOOPED
    missed = torch.einsum("rcf,rf->rc", chi.flatten(2), z[:LOOPED].flatten(1))
    missed = missed - (found.at_z - found.at_baseline)[:LOOPED]
    shared = {"case": name, "title": f"LeNet {layer}, {records} records, 10 classes"}
    row = {**shared, "way": "miafast", "s": ours, "nodes": nodes, "error": float(error.max())}
    loop = {**shared, "way": "one record at a time", "s": theirs, "nodes": round(nodes), "ratio": theirs / ours}
    kept = promise(f"≥ {AT_LEAST:g} ×", kept=theirs / ours >= AT_LEAST)
    return [row, loop | {"error": float(missed.abs().max())} | ({} if smoke else kept)]


def section(rows: list[dict[str, Any]]) -> Section:
    return Section("influence", SAYS, COLUMNS, tuple(rows))


def _one(head: torch.nn.Module, z: torch.Tensor, *, nodes: int) -> torch.Tensor:
    """χ of one record, [classes, *features]."""
    total = torch.zeros(10, *z.shape[1:])
    for node in range(nodes):
        point = (z * ((node + 0.5) / nodes)).requires_grad_()
        logits = head(point)
        for each in range(10):
            total[each] += torch.autograd.grad(logits[0, each], point, retain_graph=True)[0][0]
    return total / nodes
