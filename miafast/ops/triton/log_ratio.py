"""log(p_target / mean p) on the device, from PyTorch's kernels in float64."""

from __future__ import annotations

import math
from typing import Any

import torch

from miafast.ops.log_ratio import LogMean


def log_ratio(
    target: Any, shadow: Any, in_mask: Any, *, mode: str = "online", offline_a: float = 1.0, temperature: float = 1.0
) -> Any:
    phi = scaled(shadow, temperature)
    uses = (~in_mask,) if mode == "offline" else (~in_mask, in_mask)
    sides = [_log_mean(phi, use) for use in uses]
    return ratio_to(scaled(target, temperature), *sides, offline_a=offline_a).to(result_type(target, shadow))


def result_type(*signals: Any) -> Any:
    return torch.float64 if any(each.dtype == torch.float64 for each in signals) else torch.float32


def scaled(phi: Any, temperature: float) -> Any:
    """phi / temperature in float64, NaN for what is not finite."""
    return torch.where(phi.isfinite(), phi.double(), torch.nan) / temperature


def log_p(phi: Any) -> Any:
    """log sigmoid(phi), with relative accuracy for large phi."""
    return torch.where(phi < 0, phi, 0.0) - torch.log1p(torch.exp(-phi.abs()))


def _log_mean(phi: Any, use: Any) -> LogMean:
    counts = log_counts(use.sum(0))
    sums = (log_sum(torch.where(use[:, :, None], each, -torch.inf)) for each in (log_p(phi), log_p(-phi)))
    return LogMean(*(total - counts for total in sums))


def log_sum(terms: Any) -> Any:
    """log Σ exp over models; NaN for a term that is NaN, -inf for none."""
    largest = terms.amax(0)
    pivot = torch.where(largest == -torch.inf, 0.0, largest)
    return torch.log(torch.exp(terms - pivot).sum(0)) + pivot


def log_counts(counts: Any) -> Any:
    """log of the models per record [..., records], with an axis of queries; NaN for none."""
    return torch.log(torch.where(counts > 0, counts.double(), torch.nan))[..., None]


def ratio_to(target: Any, out: LogMean, inside: LogMean | None = None, *, offline_a: float) -> Any:
    """As in `miafast.ops.log_ratio`."""
    two = math.log(2)
    if inside is None:
        rest = math.log1p(-offline_a) if offline_a < 1 else -math.inf
        mean_p = torch.logaddexp(math.log1p(offline_a) + out.p, torch.full_like(out.p, rest)) - two
        mean_q = math.log1p(offline_a) - two + out.q
    else:
        mean_p, mean_q = torch.logaddexp(out.p, inside.p) - two, torch.logaddexp(out.q, inside.q) - two
    surely = mean_q < -two
    return log_p(target) - torch.where(surely, torch.log1p(-torch.exp(torch.where(surely, mean_q, -1.0))), mean_p)
