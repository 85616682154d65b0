"""Tables of papers, measured again: ``python -m benchmarks papers NAME``. A paper has CASES, run and section."""

from __future__ import annotations

import functools
import importlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import miafast as mf
from miafast.data import available

PAPERS = {
    "stolen-memories": "benchmarks.papers_stolen_memories",
    "lira": "benchmarks.papers_lira",
    "shokri": "benchmarks.papers_shokri",
    "defenses": "benchmarks.papers_defenses",
    "memorization": "benchmarks.papers_memorization",
}


def paper(name: str) -> Any:
    """The module of a paper's tables."""
    return importlib.import_module(PAPERS[name])


def kept(workdir: Path | None, name: str) -> Path:
    """The folder of one run's signals: below ``workdir``, where it outlives us, or below one that ends with us."""
    folder = Path(_temporary().name) if workdir is None else workdir
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="miafast-papers-")


def there(data: str, data_dir: Path | None) -> bool:
    """Whether a data set's files are at hand; says what to do where they are not."""
    if data == "digits" or (data_dir is not None and available(data_dir)[data].found):
        return True
    print(f"{data}: left out, its files are not in --data-dir {data_dir or '(not given)'}\n", flush=True)
    return False


def drawn(records: mf.Records, count: int | None, *, seed: int = 0) -> mf.Records:
    """So many records, drawn at random once and for all; None: all of them."""
    if count is None or count >= len(records):
        return records
    chosen = np.sort(np.random.default_rng(seed).permutation(len(records))[:count])
    return replace(records.only(chosen), name=f"{records.name}, {count} records")


def shrunk(records: mf.Records) -> mf.Records:
    """Images [records, channels, height, width] as a table of means over tiles, 8 x 8 per channel."""
    side = 8
    count, channels, height, width = records.x.shape
    tiles = records.x.reshape(count, channels, side, height // side, side, width // side)
    means = tiles.mean(axis=(3, 5), dtype=np.float32).reshape(count, -1)
    return replace(records, x=means, name=f"{records.name}, {side} x {side}")


def found(roc: mf.Roc) -> dict[str, Any]:
    """AUC, balanced accuracy, and TPR with its interval at 0.1 % and 1 % FPR, in per cent."""
    facts: dict[str, Any] = {"auc": roc.auc, "balanced": roc.balanced_accuracy}
    for digits, fpr in ((3, 1e-3), (2, 1e-2)):
        if roc.measurable(fpr):
            low, high = roc.interval(fpr)
            facts |= {f"tpr{digits}": 100 * roc.tpr_at(fpr), f"interval{digits}": f"{100 * low:.2f}–{100 * high:.2f}"}
    return facts


def mean_interval(values: list[float]) -> str:
    """The mean, and its 95 % interval by Student's t where there are several values."""
    from scipy.stats import t

    known = np.array([each for each in values if np.isfinite(each)])
    if len(known) < 2:
        return f"{known[0]:.3f}" if len(known) else ""
    half = t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return f"{known.mean():.3f} ({known.mean() - half:.3f}–{known.mean() + half:.3f})"
