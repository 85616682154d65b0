"""What an audit is going to do, with everything refused that can be known to be wrong before training starts."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from miafast.attacks.lira import LiRA
from miafast.attacks.threshold import Threshold
from miafast.defenses import Defense, answer_of, as_defenses, defended_recipe
from miafast.guards import Check, before_training
from miafast.ops.logit_confidence import logit_confidence
from miafast.queries import Query, check_queries, choose_queries, query_name
from miafast.shadow import Recipe, check_membership, describe, fingerprint_of, membership as draw_membership, recipe_for
from miafast.store import Facts
from miafast.tables import Array, Records

TrainFunction = Callable[[Records, Array, int], Any]  # (records, in_indices, seed) -> model


class Attack(Protocol):
    """Signals -> scores, higher = more likely a member."""

    @property
    def name(self) -> str: ...
    def score(self, target: Array, shadow: Array, in_mask: Array) -> Array: ...
    def score_all(self, shadow: Array, in_mask: Array) -> Array: ...


@dataclass(frozen=True, eq=False)
class Target:
    """The user's target as one more row of signals."""

    phi: Array  # [records, queries]
    facts: Facts
    is_member: Array  # [records] bool


@dataclass(frozen=True, eq=False)
class Plan:
    recipe: Recipe | TrainFunction
    attacks: tuple[Attack, ...]  # the headline first
    queries: tuple[Query, ...]
    in_mask: Array  # [models, records] bool; the target's row last
    shadows: int
    chunk: int  # models trained at once
    target: Target | None
    seed: int
    device: str
    settings: dict[str, Any]  # JSON values: what makes this run this run
    checks: tuple[Check, ...]  # what inputs and membership alone say about the audit's validity
    answer: Callable[[Array], Array] | None  # the output defence: what is seen of logits [..., classes]

    def work(self, models: Sequence[int]) -> int:
        """Units of training that these models need, for a progress bar."""
        from miafast.shadow import work

        return work(self.recipe, self.in_mask, models)


def make_plan(
    records: Records, recipe: Recipe | TrainFunction | None, *, attack: Attack | Sequence[Attack] | None, target: Any,
    is_member: Array | None, shadows: int, membership: str | Array, queries: int | Query | Sequence[Query] | None,
    seed: int, device: str, defense: Defense | str | Sequence[Defense | str] | None = None,
) -> Plan:  # fmt: skip
    """Check every argument of `miafast.audit` and settle every default."""
    if not isinstance(records, Records):
        raise TypeError(f"records is a {type(records).__name__}; give miafast.Records (miafast.load reads files).")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed={seed!r}; give a whole number >= 0.")
    recipe = recipe_for(records) if recipe is None else recipe
    if isinstance(recipe, Recipe):
        recipe.check(records)
    defenses = as_defenses(defense)
    recipe, answer = defended_recipe(recipe, defenses), answer_of(defenses)
    asked = _queries(queries, recipe, records)
    in_mask = _in_mask(membership, shadows, records, seed)
    attacks = compared_attacks(attack)
    _rehearse(attacks, in_mask, len(asked))
    from miafast.collect import check_device  # here and below, because these import torch
    from miafast.shadow import stack_size

    check_device(device)

    chunk = stack_size(recipe, records)
    settings: dict[str, Any] = {
        "records": records.name,
        "records_fingerprint": records.fingerprint,
        "class_names": None if records.class_names is None else list(records.class_names),
        "recipe": describe(recipe),
        "recipe_fingerprint": fingerprint_of(recipe),
        "shadows": len(in_mask),
        "membership": membership if isinstance(membership, str) else "given",
        "queries": [query_name(query) for query in asked],
        "seed": seed,
        "chunk": chunk,
        "device": device,
        "defense": [repr(each) for each in defenses] or None,
    }
    asked_target: Target | None = None
    if target is not None:
        asked_target = _ask_target(target, records, asked, _is_member(is_member, records), answer=answer)
        settings["target_phi_crc32"] = zlib.crc32(asked_target.phi.data)
        in_mask = np.vstack([in_mask, asked_target.is_member])
    elif is_member is not None:
        raise ValueError("is_member is given without target; give the target model, or drop is_member.")
    checks = before_training(
        records, in_mask[: settings["shadows"]], drawn=isinstance(membership, str),
        is_member=None if asked_target is None else asked_target.is_member,
    )  # fmt: skip
    return Plan(
        recipe=recipe, attacks=attacks, queries=asked, in_mask=in_mask, shadows=settings["shadows"], chunk=chunk,
        target=asked_target, seed=seed, device=device, settings=settings, checks=checks, answer=answer,
    )  # fmt: skip


def compared_attacks(attack: Attack | Sequence[Attack] | None) -> tuple[Attack, ...]:
    """The user's attacks, the headline first, then those that every audit compares with."""
    given: tuple[Attack, ...] = (
        (LiRA(),) if attack is None else tuple(attack) if isinstance(attack, Sequence) else (attack,)
    )
    for each in given:
        if not all(callable(getattr(each, verb, None)) for verb in ("score", "score_all")) or not hasattr(each, "name"):
            raise TypeError(
                f"attack={each!r} is no attack; give miafast.LiRA(), miafast.Threshold() or one of your own."
            )
    compared: tuple[Attack, ...] = (LiRA(mode="offline"), Threshold())
    names = [each.name for each in given]
    if len(set(names)) != len(names):
        raise ValueError(f"attack holds two attacks called the same ({', '.join(names)}); give each once.")
    return (*given, *(each for each in compared if each.name not in names))


def _queries(
    queries: int | Query | Sequence[Query] | None, recipe: Recipe | TrainFunction, records: Records
) -> tuple[Query, ...]:
    if queries is None:
        queries = 2 if isinstance(recipe, Recipe) and "mirror" in recipe.augment else 1
    chosen = choose_queries(queries)
    check_queries(chosen, records.shape)
    return chosen


def _in_mask(membership: str | Array, shadows: int, records: Records, seed: int) -> Array:
    if isinstance(membership, str):
        return draw_membership(len(records), shadows, kind=membership, seed=seed)
    check_membership(membership, records=len(records), models=len(membership))
    return np.ascontiguousarray(membership)


def _rehearse(attacks: Sequence[Attack], in_mask: Array, queries: int) -> None:
    """Run the attacks on noise under the best covered part of the mask: what they refuse, they refuse now."""
    covered = np.minimum(in_mask.sum(axis=0), (~in_mask).sum(axis=0))
    part = in_mask[:, np.argsort(-covered, kind="stable")[:256]]
    noise = np.random.default_rng(0).normal(size=(*part.shape, queries)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for attack in attacks:
            attack.score_all(noise, part)


def _is_member(is_member: Array | None, records: Records) -> Array:
    if is_member is None:
        raise ValueError("target is given without is_member; say which records it was trained on: bool [records].")
    check_membership(np.asarray(is_member)[None], records=len(records), models=1)
    return np.asarray(is_member)


def _ask_target(
    target: Any, records: Records, queries: Sequence[Query], is_member: Array, *,
    answer: Callable[[Array], Array] | None,
) -> Target:  # fmt: skip
    """Query the user's model, or take its logits [records(, queries), classes]."""
    from miafast.collect import accuracies, measure

    if isinstance(target, np.ndarray):
        logits = target if target.ndim == 3 else target[:, None]
        expected = (len(records), len(queries), records.classes)
        if logits.shape != expected:
            raise ValueError(f"target has shape {target.shape}; give logits [records, queries, classes] = {expected}.")
        logits = logits if answer is None else answer(logits)
        phi = np.stack([logit_confidence(logits[:, q], records.y) for q in range(len(queries))], axis=-1)
        if not np.isfinite(phi).all():
            raise ValueError(
                f"target holds NaN or infinite logits ({(~np.isfinite(phi)).sum()} signals); give finite ones."
            )
        correct = logits[:, 0].argmax(axis=-1) == records.y
    else:
        from miafast.shadow import wrap

        (phi,), (correct,) = measure(wrap(target, classes=records.classes).answering(answer), records, queries)
    phi = np.ascontiguousarray(phi, np.float32)
    return Target(phi=phi, facts=accuracies(correct, is_member), is_member=is_member)
