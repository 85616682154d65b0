"""The story of an audit in five calls: plan, train, collect, attack, report. Read this file first."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from miafast.ops.dispatch import recording
from miafast.plan import Attack, Plan, TrainFunction, attack_with, make_plan
from miafast.progress import Bar, bars
from miafast.queries import Query
from miafast.report import AttackResult, Report
from miafast.roc import Roc, roc
from miafast.shadow import Recipe
from miafast.store import Store
from miafast.tables import Array, Records, Signals

_INTERNAL = ("format", "has_target", "signals", "chunk", "class_names", "target_phi_crc32")  # of a run, not for readers


def audit(
    records: Records,
    recipe: Recipe | TrainFunction | None = None,
    *,
    attack: Attack | Sequence[Attack] | None = None,
    target: Any = None,
    is_member: Array | None = None,
    shadows: int = 64,
    membership: str | Array = "balanced",
    queries: int | Query | Sequence[Query] | None = None,
    seed: int = 0,
    workdir: str | Path | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> Report:
    """Train shadow models, attack, and report what a model trained with this recipe leaks about its training set.

    Without a target every shadow model is the target in turn, attacked with all the others (the research setting).
    With one, the shadows attack it, and ``is_member`` says which records it was trained on (the auditor's setting).

    Parameters
    ----------
    records: the pool that members and non-members come from.
    recipe: how the target was trained: a `Recipe`, or a function ``train(records, in_indices, seed) -> model``; by
        default one that fits the records' shape.
    attack: the headline attack (default ``LiRA()``), or several, the headline first. LiRA offline and the loss
        threshold are added for comparison.
    target: a trained model (torch module, function from float32 inputs [batch, ...] to logits [batch, classes], or
        an object with ``predict_proba``), or its logits [records(, queries), classes].
    is_member: bool [records], required with a target.
    shadows: how many shadow models to train.
    membership: "balanced" (every record IN exactly half the models), "coins", or a bool mask [shadows, records].
    queries: 1, 2, 18 or 162, or names (see `miafast.queries`); by default 2 for recipes that mirror, else 1.
    seed: all randomness follows from it.
    workdir: a folder to keep signals in; an interrupted run resumes there, with identical results.
    device: where models run, "cpu" or "cuda".
    progress: draw progress bars on standard error.

    Raises
    ------
    ValueError: for anything that can be known to be wrong before training starts, and for diverged training.
    StoreError: for a workdir of another run, in use, damaged, or on a full disk.

    Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles", Algorithm 1.

    >>> import miafast as mf, numpy as np                                                  # doctest: +SKIP
    >>> report = mf.audit(mf.load("digits"), shadows=64)                                   # doctest: +SKIP
    >>> report.results[0].roc.tpr_at(1e-3)                                                 # doctest: +SKIP
    0.02...
    """
    plan = make_plan(
        records, recipe, attack=attack, target=target, is_member=is_member, shadows=shadows, membership=membership,
        queries=queries, seed=seed, device=device,
    )  # fmt: skip
    folder = None if workdir is None else Path(workdir)
    with recording(), Store(folder, plan.settings, in_mask=plan.in_mask, labels=records.y, layout=plan.layout,
                            has_target=plan.target is not None) as store:  # fmt: skip
        signals = _measure(plan, records, store, progress=progress)
        seconds = {name: store.seconds(f"{name}_seconds") for name in ("train", "query")}
        return report_on(signals, plan.attacks, seconds=seconds, warned=plan.warned)


def report_on(
    signals: Signals, attacks: Sequence[Attack], *, seconds: Mapping[str, float], warned: Sequence[str] = ()
) -> Report:
    """Attack signals, wherever they come from, and report; the first attack makes the headline."""
    began = time.perf_counter()
    with recording() as ran, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        scored = [(attack, attack_with(attack, signals)) for attack in attacks]
        attacked = time.perf_counter()
        is_member = signals.in_mask[-1] if signals.has_target else signals.in_mask
        results = tuple(
            AttackResult(
                name=attack.name, options=repr(attack), scores=scores, is_member=is_member, roc=_roc(scores, is_member)
            )
            for attack, scores in scored
        )
    return Report(
        results=results,
        signals=signals,
        name=str(signals.identity.get("records", "records")),
        class_names=signals.identity.get("class_names"),
        settings={name: value for name, value in signals.identity.items() if name not in _INTERNAL},
        seconds={**seconds, "attack": attacked - began, "measure": time.perf_counter() - attacked},
        versions=_versions(),
        backends=dict(sorted(ran.items())),
        warnings=(*warned, *dict.fromkeys(str(each.message) for each in caught)),
    )


def _measure(plan: Plan, records: Records, store: Store, *, progress: bool) -> Signals:
    """Train and collect what the store does not hold yet."""
    from miafast.collect import collect  # here, because this is where torch is first needed
    from miafast.shadow import train

    missing = [model for model in range(plan.shadows) if model not in store.done]
    if plan.target is not None and plan.shadows not in store.done:
        store.append([plan.shadows], plan.target.signals, [plan.target.facts])
    totals = {"train": plan.work(missing), "query": len(missing) * len(records)}
    shown: AbstractContextManager[Mapping[str, Bar]] = bars(totals) if progress and missing else nullcontext({})
    with shown as bar:
        return collect(
            lambda models: train(
                plan.recipe, records, plan.in_mask, models=models, seed=plan.seed, device=plan.device,
                progress=bar.get("train"),
            ),
            records, store, chunk=plan.chunk, queries=plan.queries, progress=bar.get("query"),
        )  # fmt: skip


def _roc(scores: Array, is_member: Array) -> Roc:
    """The ROC over the records that could be scored for every target."""
    scored = ~np.isnan(scores).reshape(-1, scores.shape[-1]).any(axis=0)
    return roc(scores[..., scored], is_member[..., scored])


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("miafast", "numpy", "scipy", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
