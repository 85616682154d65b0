"""Internal influence: what every feature of a layer adds to every class's logit, on the way from a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from miafast.whitebox.straight import straight_part

#: Nodes of the Gauss-Legendre rule on every piece of the segment, on [0, 1], and their weights.
_NODES = (0.5 - 0.5 / math.sqrt(3.0), 0.5 + 0.5 / math.sqrt(3.0))
#: A piece may miss its share of the tolerance, or this one where it is shorter: errors at jumps partly cancel.
_LEAST_ROOM = 1.0 / 32
#: No piece is made shorter than this share of the segment: float32 would not tell its ends apart.
_SHORTEST = 2.0**-14
#: Numbers that go through a head at once, unless ``batch`` says how many pieces.
_AT_ONCE = 1 << 18


class Influence(NamedTuple):
    """χ and what it was checked against."""

    chi: torch.Tensor  # [records, classes, *features] float32
    at_z: torch.Tensor  # [records, classes] g(z)
    at_baseline: torch.Tensor  # [records, classes] g(baseline)
    nodes: int  # points of the segments at which gradients were taken, over all records

    def residual(self, z: torch.Tensor, baseline: torch.Tensor | float = 0.0) -> torch.Tensor:
        """Σ_j (z_j - baseline_j) χ_j - (g(z) - g(baseline)), [records, classes]: 0 but for the quadrature's error."""
        along = torch.einsum("rcf,rf->rc", self.chi.flatten(2), (z - baseline).flatten(1))
        return along - (self.at_z - self.at_baseline)


def internal_influence(
    head: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, *, classes: Sequence[int] | None = None,
    baseline: torch.Tensor | float = 0.0, tolerance: float = 1e-4, most_pieces: int = 512, batch: int | None = None,
) -> Influence:  # fmt: skip
    """χ_j = ∫ ∂g/∂z_j dP, P uniform on the segment from the baseline to z (Leino et al. 2018; Leino & Fredrikson 2020).

    Every record's segment is one piece at first, with two Gauss-Legendre nodes. Along a piece the integral is known to
    be the difference of g at its ends (completeness): pieces that miss it are halved, those of the records concerned
    only, until what a record's pieces miss together is below the tolerance. Smooth heads need few nodes, and rectified
    ones, whose gradient jumps, nodes near the jumps alone. All records go through together: one backward per class and
    node for a batch of pieces, never one per record. Where the head's first layers map the segment to a segment (an
    affine layer; before it, from a baseline of 0, rectifiers and maxima), the integral is taken behind them and
    carried back once: their derivative is the same at every node.

    Args:
        head: g, from z [batch, *features] to logits [batch, classes]; records must not touch each other in it.
        z: [records, *features] floating.
        classes: which logits; all of them by default.
        baseline: where segments begin, a number or [*features] or [records, *features].
        tolerance: largest error of Σ_j (z_j - baseline_j) χ_j per record and class, in units of max(1, |g(z) - g(0)|).
        most_pieces: a record is left as it is once it has this many pieces; see `Influence.residual`.
        batch: pieces that go through the head at once; by default as many as hold about 262,000 numbers.

    Raises ValueError for a tolerance that is not positive, an unknown class or a z without records.

    >>> z = torch.tensor([[1.0, 2.0]])
    >>> found = internal_influence(lambda z: (z**2).sum(dim=1, keepdim=True), z)  # g quadratic: χ_j = z_j
    >>> found.chi
    tensor([[[1., 2.]]])
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance}; give a positive number, such as 1e-4.")
    if z.ndim < 2 or not len(z):
        raise ValueError(f"z has shape {list(z.shape)}; give [records, *features] with at least one record.")
    z = z.detach()
    start = torch.as_tensor(baseline, dtype=z.dtype, device=z.device).expand_as(z)
    first, rest = straight_part(head, from_zero=not start.any()) or (_itself, head)
    with torch.no_grad():
        inside = [torch.cat([first(part) for part in each.split(_rows(each, None))]) for each in (start, z)]
        batch = _rows(inside[1], batch)
        ends = [torch.cat([rest(part) for part in each.split(batch)]) for each in inside]
    chosen = _chosen(classes, ends[0].shape[1])
    at_baseline, at_z = (each[:, chosen] for each in ends)
    allowed = (at_z - at_baseline).abs().clamp_min(1.0) * tolerance
    whole = _Pieces(torch.arange(len(z)), z.new_zeros(len(z)), z.new_ones(len(z)), at_baseline, at_z)
    path = _Path(rest, inside[1], inside[0], chosen)
    pieces = _mesh(path, whole, allowed, most_pieces=most_pieces, batch=batch)
    chi = _average_gradient(path, pieces, batch=batch)
    if first is not _itself:
        chi = _carried_back(first, z, chi)
    return Influence(chi, at_z, at_baseline, len(_NODES) * len(pieces.record))


def _itself(z: torch.Tensor) -> torch.Tensor:
    return z


def _rows(z: torch.Tensor, batch: int | None) -> int:
    """How many rows like z's go through at once."""
    return batch or min(4096, max(16, _AT_ONCE // z[0].numel()))


class _Path(NamedTuple):
    """g along the segment of every record."""

    head: Callable[[torch.Tensor], torch.Tensor]
    z: torch.Tensor  # [records, *features]
    start: torch.Tensor  # [records, *features]
    classes: list[int]

    def point(self, record: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """[points, *features] at these shares of the records' segments."""
        return torch.lerp(self.start[record], self.z[record], share.reshape(-1, *(1,) * (self.z.ndim - 1)))

    def value(self, record: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """g [points, classes] there."""
        with torch.no_grad():
            return self.head(self.point(record, share))[:, self.classes]

    def slope(self, record: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """How fast g grows along the segment there, [points, classes]: one forward pass, no backward."""
        with torch.no_grad():
            way = self.z[record] - self.start[record]
            out: torch.Tensor = torch.func.jvp(self.head, (self.point(record, share),), (way,))[1]
            return out[:, self.classes]


class _Pieces(NamedTuple):
    """Parts of records' segments: ``low`` and ``high`` in [0, 1], and g at both ends."""

    record: torch.Tensor  # [pieces]
    low: torch.Tensor
    high: torch.Tensor
    at_low: torch.Tensor  # [pieces, classes]
    at_high: torch.Tensor

    def of(self, keep: torch.Tensor) -> _Pieces:
        return _Pieces(*(each[keep] for each in self))

    def node(self, place: float) -> torch.Tensor:
        return torch.lerp(self.low, self.high, place)


def _joined(pieces: Sequence[_Pieces]) -> _Pieces:
    return _Pieces(*(torch.cat(each) for each in zip(*pieces, strict=True)))


def _mesh(path: _Path, pieces: _Pieces, allowed: torch.Tensor, *, most_pieces: int, batch: int) -> _Pieces:
    """Halve pieces until the rule integrates g's slope along each of them well enough; in the order of records."""
    done: list[_Pieces] = []
    count = torch.ones(len(path.z), dtype=torch.int64)
    while len(pieces.record):
        missed = torch.cat([_missed(path, pieces.of(rows)) for rows in torch.arange(len(pieces.record)).split(batch)])
        length = pieces.high - pieces.low
        room = allowed[pieces.record] * length.clamp_min(_LEAST_ROOM)[:, None]
        rounding = 16 * torch.finfo(path.z.dtype).eps * (pieces.at_high.abs() + pieces.at_low.abs())
        good = (missed <= torch.maximum(room, rounding)).all(dim=1)
        good |= (length <= _SHORTEST) | (count[pieces.record] >= most_pieces)
        done.append(pieces.of(good))
        pieces = pieces.of(~good)
        count += torch.bincount(pieces.record, minlength=len(count))
        middle = pieces.node(0.5)
        rows = torch.arange(len(middle)).split(batch) if len(middle) else ()
        at = torch.cat([pieces.at_low[:0], *(path.value(pieces.record[part], middle[part]) for part in rows)])
        pieces = _joined([pieces._replace(high=middle, at_high=at), pieces._replace(low=middle, at_low=at)])
    found = _joined(done)
    return found.of(torch.argsort(found.record, stable=True))


def _missed(path: _Path, part: _Pieces) -> torch.Tensor:
    """|the rule's integral of the slope - the difference of g|, [pieces, classes]."""
    slope = sum(path.slope(part.record, part.node(place)) for place in _NODES) / len(_NODES)
    return (slope * (part.high - part.low)[:, None] - (part.at_high - part.at_low)).abs()


def _average_gradient(path: _Path, pieces: _Pieces, *, batch: int) -> torch.Tensor:
    """χ [records, classes, *features]: gradients at the nodes, weighted by the lengths of their pieces."""
    chi = path.z.new_zeros(len(path.z), len(path.classes), *path.z.shape[1:])
    for rows in torch.arange(len(pieces.record)).split(batch):
        part = pieces.of(rows)
        weight = (part.high - part.low) / len(_NODES)
        for place in _NODES:
            point = path.point(part.record, part.node(place)).requires_grad_()
            logits = path.head(point)
            for number, each in enumerate(path.classes):
                more = number + 1 < len(path.classes)
                (gradient,) = torch.autograd.grad(torch.dot(logits[:, each], weight), point, retain_graph=more)
                chi[:, number].index_add_(0, part.record, gradient)
    return chi


def _carried_back(first: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, chi: torch.Tensor) -> torch.Tensor:
    """χ at z [records, classes, *features] of χ behind layers whose derivative is that at z all along the segment."""
    size = _rows(z, None)
    out = z.new_empty(len(z), chi.shape[1], *z.shape[1:])
    for point, inside, found in zip(z.split(size), chi.split(size), out.split(size), strict=True):
        behind = first(point.requires_grad_())
        for number in range(chi.shape[1]):
            more = number + 1 < chi.shape[1]
            found[:, number] = torch.autograd.grad(behind, point, inside[:, number], retain_graph=more)[0]
    return out


def _chosen(classes: Sequence[int] | None, known: int) -> list[int]:
    if classes is None:
        return list(range(known))
    if not len(classes) or not all(0 <= each < known for each in classes):
        raise ValueError(f"classes={list(classes)}; give class indices in [0, {known}).")
    return [int(each) for each in classes]
