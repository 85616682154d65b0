"""The story of an audit in five calls: plan, train, collect, attack, report. Read this file first."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from miafast.attacks import Gap, Shokri
from miafast.defenses import Defense
from miafast.guards import (
    Check,
    attacks_tried,
    failed,
    size_mismatch,
    threshold_of_pool,
    threshold_of_target,
)
from miafast.ops.dispatch import recording
from miafast.plan import Attack, Plan, attack_with, compared_attacks, make_plan
from miafast.progress import Bar, bars
from miafast.queries import Query
from miafast.report import AttackResult, Report
from miafast.roc import Roc, roc
from miafast.shadow import Recipe, TrainFunction, recipe_for
from miafast.store import Store
from miafast.tables import Array, Records, Signals

_INTERNAL = ("format", "has_target", "signals", "chunk", "class_names", "target_phi_crc32")  # of a run, not for readers

_NAIVE, _SHADOW_BB = Gap(), Shokri(model="logistic")  # what white-box attacks are compared with


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
    defense: Defense | str | Sequence[Defense | str] | None = None,
    white_box: Sequence[str] | None = None,
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
    defense: defences of `miafast.defenses`, or names such as "top-k:3", "label-only", "l2:0.001": shadows are trained
        and asked under them, and so is the target asked (give the bare model; how it was trained is up to you).
    white_box: layers of the target (a torch module; the recipe a `Recipe` of its architecture) to attack from within,
        such as ("conv2", "fc1"): bayes-wb and ratio-wb on each and the meta-model over all stand beside the others, the
        naive attack and Shokri et al.'s among them. Half of the non-members train the proxies; these do not score them.

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
    if white_box is not None:
        white_box = (white_box,) if isinstance(white_box, str) else white_box
        attack = _beside_white_box(target, recipe, records, white_box, is_member, attack)
    plan = make_plan(
        records, recipe, attack=attack, target=target, is_member=is_member, shadows=shadows, membership=membership,
        queries=queries, seed=seed, device=device, defense=defense,
    )  # fmt: skip
    folder = None if workdir is None else Path(workdir)
    with recording(), Store(folder, plan.settings, in_mask=plan.in_mask, labels=records.y, layout=plan.layout,
                            has_target=plan.target is not None) as store:  # fmt: skip
        signals = _measure(plan, records, store, progress=progress)
        seconds = {name: store.seconds(f"{name}_seconds") for name in ("train", "query")}
        if white_box is None:
            return report_on(signals, plan.attacks, seconds=seconds, checks=plan.checks)
        return _with_white_box(signals, plan, records, target, white_box, seconds=seconds)


def report_on(
    signals: Signals, attacks: Sequence[Attack], *, seconds: Mapping[str, float], checks: Sequence[Check] = (),
    further: Sequence[AttackResult] = (),
) -> Report:  # fmt: skip
    """Attack signals, wherever they come from, and report; the first attack makes the headline. ``further`` results
    come from attacks that read more than signals."""
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
        results = (*results, *further)
        checks = (*checks, *_after_attacks(signals, attacks[0], results))
    return Report(
        results=results,
        signals=signals,
        name=str(signals.identity.get("records", "records")),
        class_names=signals.identity.get("class_names"),
        settings={name: value for name, value in signals.identity.items() if name not in _INTERNAL},
        seconds={**seconds, "attack": attacked - began, "measure": time.perf_counter() - attacked},
        versions=_versions(),
        backends=dict(sorted(ran.items())),
        checks=checks,
        warnings=(*failed(checks), *dict.fromkeys(str(each.message) for each in caught)),
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
            ).answering(plan.answer),
            records, store, chunk=plan.chunk, queries=plan.queries, progress=bar.get("query"),
        )  # fmt: skip


def _beside_white_box(
    target: Any, recipe: Any, records: Records, layers: Sequence[str], is_member: Array | None,
    attack: Attack | Sequence[Attack] | None,
) -> tuple[Attack, ...]:  # fmt: skip
    """The audit's attacks and those that white-box ones are compared with; refuses layers that are not there."""
    from miafast.whitebox.layers import check_layers  # here, because it imports torch

    if target is None:
        raise ValueError("white_box is given without target; give the target model, a torch module.")
    recipe = recipe_for(records) if recipe is None else recipe
    check_layers(target, recipe, records, layers, is_member=is_member)
    asked = compared_attacks(attack)
    names = [each.name for each in asked]
    return (*asked, *(each for each in (_NAIVE, _SHADOW_BB) if each.name not in names))


def _with_white_box(
    signals: Signals, plan: Plan, records: Records, target: Any, layers: Sequence[str], *, seconds: Mapping[str, float]
) -> Report:
    """A report with white-box attacks among the results, and with how right they and the naive ones are."""
    from miafast.whitebox.layers import attack_layers, judged

    began = time.perf_counter()
    is_member = signals.in_mask[-1]
    found = attack_layers(target, plan.recipe, records, is_member, layers=layers, seed=plan.seed)
    scores = {name: np.where(found.mine, np.nan, logits) for name, logits in found.logits.items()}
    further = [
        AttackResult(name, "white-box", each, is_member, roc=_roc(each, is_member)) for name, each in scores.items()
    ]
    seconds = {**seconds, "white-box": time.perf_counter() - began}
    report = report_on(signals, plan.attacks, seconds=seconds, checks=plan.checks, further=further)
    blind = {each.name: each.scores for each in report.results if each.name in (_NAIVE.name, _SHADOW_BB.name)}
    log_odds = {**blind, _NAIVE.name: blind[_NAIVE.name] - 0.5, **found.logits}
    rows = tuple(
        {"attack": name, **judged(each, records.y, is_member, found.mine, classes=records.classes)}
        for name, each in log_odds.items()
    )
    return replace(report, white_box=rows)


def _after_attacks(signals: Signals, headline: Attack, results: Sequence[AttackResult]) -> tuple[Check, ...]:
    """What scores and signals say about the audit's validity."""
    first = results[0]
    tried = attacks_tried({each.name: each.roc for each in results})
    if not signals.has_target:
        return threshold_of_pool(first.name, first.roc), tried
    in_mask = signals.in_mask[:-1]
    alone = replace(
        signals, phi=signals.phi[:-1], in_mask=in_mask, has_target=False,
        arrays={name: array[:-1] for name, array in signals.arrays.items()},
    )  # fmt: skip
    shadows = _roc(attack_with(headline, alone), in_mask) if len(in_mask) > 1 else None
    return size_mismatch(first.is_member, in_mask), threshold_of_target(first.name, first.roc, shadows), tried


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
