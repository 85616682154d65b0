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
from miafast.measurements import OF_LOGITS, Layout, kind_of, layers_of, layout, refuse_probabilities
from miafast.ops.left_out import beside_balanced
from miafast.ops.signals import signals as signals_of_logits
from miafast.queries import Query, check_queries, choose_queries, query_name
from miafast.shadow import (
    Recipe,
    TrainFunction,
    check_membership,
    describe,
    fingerprint_of,
    membership as draw_membership,
    recipe_for,
)
from miafast.store import Facts
from miafast.tables import Array, Records, Signals


class Attack(Protocol):
    """Signals -> scores, higher = more likely a member.

    An attack may name the ``signals`` it reads (default phi; see `miafast.measurements`): target and shadow hold the
    first, the others come as keywords of their names, a pair (target, shadow) in `score`, one array in `score_all`.
    With ``labels = True`` it is also given ``labels`` [records].
    """

    @property
    def name(self) -> str: ...
    @property
    def score(self) -> Callable[..., Array]: ...  # (target, shadow, in_mask) -> [records]
    @property
    def score_all(self) -> Callable[..., Array]: ...  # (shadow, in_mask) -> [models, records]


@dataclass(frozen=True, eq=False)
class Target:
    """The user's target as one more row of signals."""

    signals: dict[str, Array]  # [1, records, ...]
    facts: Facts


@dataclass(frozen=True, eq=False)
class Plan:
    recipe: Recipe | TrainFunction
    attacks: tuple[Attack, ...]  # the headline first
    queries: tuple[Query, ...]
    in_mask: Array  # [models, records] bool; the target's row last
    shadows: int
    chunk: int  # models trained at once
    layout: Layout  # what is measured
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
    if isinstance(shadows, bool) or not isinstance(shadows, (int, np.integer)):
        raise TypeError(f"shadows={shadows!r}; give a whole number.")
    recipe = recipe_for(records) if recipe is None else recipe
    if isinstance(recipe, Recipe):
        recipe.check(records)
    defenses = as_defenses(defense)
    recipe, answer = defended_recipe(recipe, defenses), answer_of(defenses)
    asked = _queries(queries, recipe, records)
    of_shadows = _in_mask(membership, shadows, records, seed)
    attacks = compared_attacks(attack)
    sizes = layout(signals_of_all(attacks), queries=len(asked), classes=records.classes)
    _rehearse(attacks, of_shadows, sizes, records.classes)
    _check_models(recipe, records, attacks, sizes, has_target=target is not None, device=device)
    if target is None and is_member is not None:
        raise ValueError("is_member is given without target; give the target model, or drop is_member.")
    from miafast.shadow import stack_size  # here, because it imports torch

    settings: dict[str, Any] = {
        "records": records.name,
        "records_fingerprint": records.fingerprint,
        "class_names": None if records.class_names is None else list(records.class_names),
        "recipe": describe(recipe),
        "recipe_fingerprint": fingerprint_of(recipe),
        "shadows": len(of_shadows),
        "membership": membership if isinstance(membership, str) else "given",
        "queries": [query_name(query) for query in asked],
        "seed": seed,
        "chunk": stack_size(recipe, records, device=device),
        "device": device,
        "defense": [repr(each) for each in defenses] or None,
    }
    in_mask, asked_target, members = of_shadows, None, None
    if target is not None:
        members = _is_member(is_member, records)
        asked_target = _ask_target(target, records, asked, members, sizes, answer=answer, seed=seed)
        settings["target_phi_crc32"] = zlib.crc32(asked_target.signals["phi"].data)
        in_mask = np.vstack([of_shadows, members])
    checks = before_training(records, of_shadows, drawn=isinstance(membership, str), is_member=members)
    return Plan(
        recipe=recipe, attacks=attacks, queries=asked, in_mask=in_mask, shadows=len(of_shadows),
        chunk=settings["chunk"], layout=sizes, target=asked_target, seed=seed, device=device, settings=settings,
        checks=checks, answer=answer,
    )  # fmt: skip


def compared_attacks(attack: Attack | Sequence[Attack] | None) -> tuple[Attack, ...]:
    """The user's attacks, the headline first, then those that every audit compares with."""
    given: tuple[Attack, ...] = (
        (LiRA(),) if attack is None else tuple(attack) if isinstance(attack, Sequence) else (attack,)
    )
    for each in given:
        if (
            isinstance(each, type)
            or not all(callable(getattr(each, verb, None)) for verb in ("score", "score_all"))
            or not hasattr(each, "name")
        ):
            raise TypeError(
                f"attack={attack!r}: {each!r} is no attack; give miafast.LiRA(), miafast.Threshold() or your own."
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


def signals_of(attack: Attack) -> tuple[str, ...]:
    """The signals that an attack reads, the one of target and shadow first."""
    return tuple(getattr(attack, "signals", ("phi",)))


def signals_of_all(attacks: Sequence[Attack]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for attack in attacks for name in signals_of(attack)))


def attack_with(attack: Attack, signals: Signals) -> Array:
    """Scores of the user's target [records], or of every model as the target [models, records].

    Records that `beside_balanced` finds are NaN: they would hide from the attacks that the mask is balanced.
    """
    if not signals.has_target and (beside := beside_balanced(signals.in_mask)).any():
        found = attack_with(attack, signals.of(~beside))
        scores = np.full(signals.in_mask.shape, np.nan, found.dtype)
        scores[:, ~beside] = found
        return scores
    wanted = [signals.named(name) for name in signals_of(attack)]
    in_mask = signals.in_mask
    further: dict[str, Any] = {"labels": signals.labels} if getattr(attack, "labels", False) else {}
    for name, array in zip(signals_of(attack)[1:], wanted[1:], strict=True):
        further[kind_of(name)] = (array[-1], array[:-1]) if signals.has_target else array
    if signals.has_target:
        return attack.score(wanted[0][-1], wanted[0][:-1], in_mask[:-1], **further)
    return attack.score_all(wanted[0], in_mask, **further)


def _rehearse(attacks: Sequence[Attack], in_mask: Array, sizes: Layout, classes: int) -> None:
    """Run the attacks on noise under the best covered part of the mask: what they refuse, they refuse now."""
    covered = np.minimum(in_mask.sum(axis=0), (~in_mask).sum(axis=0))
    part = in_mask[:, np.argsort(-covered, kind="stable")[:256]]
    random = np.random.default_rng(0)
    noise = {name: random.normal(size=(*part.shape, *axes)).astype(np.float32) for name, axes in sizes.items()}
    noise.update({name: np.abs(array) for name, array in noise.items() if name not in ("phi", "margin", "logits")})
    trial = Signals(
        phi=noise.pop("phi"),
        in_mask=part,
        labels=np.asarray(random.integers(classes, size=part.shape[1])),
        arrays=noise,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for attack in attacks:
            try:
                attack_with(attack, trial)
            except ValueError as error:
                raise ValueError(f"{attack.name} cannot attack with {len(in_mask)} shadow models: {error}") from error


def _check_models(
    recipe: Recipe | TrainFunction, records: Records, attacks: Sequence[Attack], sizes: Layout, *, has_target: bool,
    device: str,
) -> None:  # fmt: skip
    """Refuse attacks that these models are not made for, and a device that is not there."""
    from miafast.shadow import is_distilled  # here, because it imports torch, or says how to install it

    if any(getattr(each, "distilled", False) for each in attacks) and not (is_distilled(recipe) and has_target):
        raise ValueError(
            "Attack-D needs models distilled from the target; give that target, and "
            "recipe=miafast.shadow.distilled(recipe, target)."
        )
    from miafast.collect import check_device

    check_device(device)
    if isinstance(recipe, Recipe):
        _look_inside(recipe, records, sizes)


def _look_inside(recipe: Recipe, records: Records, sizes: Layout) -> None:
    """Take the gradients that were asked for in an untrained model; raises ValueError for layers it does not have."""
    from miafast.gradient_norms import gradient_signal
    from miafast.shadow.modules import build

    for name in (name for name in sizes if kind_of(name) == "gradient_norm"):
        untrained = build(recipe, records.shape, records.classes, seed=0, model=0)
        gradient_signal(untrained, records.inputs(slice(1)), records.y[:1], layers=layers_of(name))


def _is_member(is_member: Array | None, records: Records) -> Array:
    if is_member is None:
        raise ValueError("target is given without is_member; say which records it was trained on: bool [records].")
    mask = np.asarray(is_member)
    if mask.dtype != np.bool_:
        raise TypeError(f"is_member has dtype {mask.dtype}; give bool [records], for instance is_member.astype(bool).")
    if mask.shape != (len(records),):
        raise ValueError(f"is_member has shape {mask.shape}; give [records] = ({len(records)},).")
    if mask.all() or not mask.any():
        raise ValueError(f"is_member is {mask[0]} everywhere; the pool needs both members and non-members.")
    return mask


def _ask_target(
    target: Any, records: Records, queries: Sequence[Query], is_member: Array, sizes: Layout, *,
    answer: Callable[[Array], Array] | None, seed: int,
) -> Target:  # fmt: skip
    """Query the user's model, or take its logits [records(, queries), classes]."""
    from miafast.collect import accuracies, measure

    if hasattr(target, "detach"):  # logits in a tensor
        target = target.detach().cpu().double().numpy()
    if isinstance(target, np.ndarray):
        logits = target if target.ndim == 3 else target[:, None]
        expected = (len(records), len(queries), records.classes)
        if logits.shape != expected:
            raise ValueError(f"target has shape {target.shape}; give logits [records, queries, classes] = {expected}.")
        refuse_probabilities("target", logits)
        logits = logits if answer is None else answer(logits)
        stats = signals_of_logits(logits.swapaxes(0, 1), records.y)  # [queries, records]
        if not np.isfinite(stats.phi).all():
            raise ValueError(
                f"target holds NaN or infinite logits ({(~np.isfinite(stats.phi)).sum()} signals); give finite ones."
            )
        found = {name: getattr(stats, name).T for name in sizes if name in OF_LOGITS}
        found |= {"logits": logits} if "logits" in sizes else {}
        if missing := sorted(set(sizes) - set(found)):
            raise ValueError(
                f"target is given as logits, from which {missing[0]} cannot be had; give the model itself."
            )
        signals = {name: np.ascontiguousarray(array, np.float32)[None] for name, array in found.items()}
        correct = stats.correct[0]
    else:
        from miafast.shadow import wrap

        asked = wrap(target, classes=records.classes).answering(answer)
        signals, (correct,) = measure(asked, records, queries, layout=sizes, seed=seed)
    return Target(signals=signals, facts=accuracies(correct, is_member))
