"""Is a differential-privacy claim true? `audit_dp` trains with and without canaries and tries to refute it."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from miafast.canaries import KINDS, joined, make_canaries
from miafast.epsilon import epsilon_lower_bound, epsilon_upper_bound
from miafast.epsilon.lower_bound import METHODS
from miafast.epsilon.threshold import best_threshold
from miafast.ops.logit_confidence import logit_confidence
from miafast.ops.mlp_confidence import mlp_confidence
from miafast.progress import Progress
from miafast.report.dp import DpReport, Look
from miafast.shadow import TrainFunction
from miafast.shadow.private import GradientCanaries, PrivateRecipe, start, train_private
from miafast.tables import Array, Records

#: When a many-runs audit looks whether the claim is refuted: after these shares of its runs.
LOOKS = (0.125, 0.25, 0.5, 1.0)


def audit_dp(
    records: Records,
    recipe: PrivateRecipe | TrainFunction,
    *,
    epsilon: float | None = None,
    delta: float = 1e-5,
    mode: str = "many-runs",
    canary: str | Records | None = None,
    runs: int = 1000,
    threshold_runs: int | None = None,
    canaries: int = 1000,
    guesses: int | tuple[int, int] | None = None,
    method: str | None = None,
    confidence: float = 0.95,
    sees: str = "final",
    seed: int = 0,
    progress: Progress | None = None,
) -> DpReport:
    """Try to refute the claim that training is (epsilon, delta)-differentially private.

    **many-runs** trains ``runs`` models with one canary and as many without, all else alike, and asks each how well it
    knows the canary. The threshold is fixed on ``threshold_runs`` further models. The audit looks after an eighth, a
    quarter, a half and all of the runs, each look with a quarter of the error, and stops once the claim is refuted.
    **one-run** trains a single model with many canaries, each in by a fair coin of its own, and counts right guesses.
    It looks once: all canaries are trained on together, so an earlier look would spend confidence and save no training.

    Parameters
    ----------
    records: what is trained on besides the canaries, always in.
    recipe: a `PrivateRecipe` (thousands of small models at once), or a function ``train(records, in_indices, seed) ->
        model``, such as `functools.partial` makes of `miafast.shadow.train_privately`.
    epsilon: the claim; for a recipe by default what an accountant says it is, its mistake not known.
    canary: "mislabelled", "blank", "random", Records of your own (one of them, or as many as ``canaries``), or, for a
        recipe, "gradient" (one parameter pushed by the whole clipping norm). By default random in many runs,
        mislabelled in one.
    threshold_runs: models with, and as many without; a quarter of ``runs`` by default.
    guesses: of one run, as in `epsilon_lower_bound`, the rest abstained from and fixed before training; by default a
        fifth of the canaries, but all in gradient space.
    method: as in `epsilon_lower_bound`; "clopper-pearson" in many runs and "one-run" in one by default.
    sees: what is looked at of a recipe's models: "final" (what all of training changed) or "last-update" (what the
        last step changed: DP-SGD promises its epsilon to those who see every step).
    progress: is told how many models are done; see `miafast.progress.Progress`.

    Raises
    ------
    ValueError: before any training, for what can be known to be wrong.

    Source: many runs: Tramèr et al. 2022, "Debugging Differential Privacy"; one run: Steinke et al. 2023, algorithm 1;
    a fixed number of looks: Bonferroni.

    >>> import numpy as np
    >>> pool = Records(np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2, classes=2)
    >>> recipe = PrivateRecipe(hidden=(), steps=3, batch_size=50, mistake="noise over batch size")
    >>> report = audit_dp(pool, recipe, epsilon=0.5, runs=200, canary="random")
    >>> report.refuted
    True
    """
    method = method or ("clopper-pearson" if mode == "many-runs" else "one-run")
    _check(recipe, mode=mode, canary=canary, runs=runs, threshold_runs=threshold_runs, method=method,
           sees=sees)  # fmt: skip
    more = 0 if canary == "gradient" else 1 if mode == "many-runs" else canaries
    claim, upper = _claim(recipe, len(records) + more, epsilon, delta)
    began = time.perf_counter()
    if mode == "many-runs":
        ask = _many_runs(recipe, records, "random" if canary is None else canary, sees=sees, seed=seed,
                         progress=progress)  # fmt: skip
        if threshold_runs is None:
            threshold_runs = max(1, runs // 4)
        scores, is_member, looks = _look_by_look(
            ask, runs=runs, threshold_runs=threshold_runs, claim=claim, delta=delta, confidence=confidence,
            method=method,
        )  # fmt: skip
    else:
        kind = "mislabelled" if canary is None else canary
        if guesses is None:
            guesses = canaries if kind == "gradient" else max(2, canaries // 5)
        epsilon_lower_bound(
            np.arange(canaries), np.arange(canaries) % 2 == 0, method=method, delta=delta, confidence=confidence,
            guesses=guesses,
        )  # fmt: skip  # refuses now what it would refuse after training
        scores, is_member = _one_run(recipe, records, kind, canaries, sees=sees, seed=seed, progress=progress)
        found = epsilon_lower_bound(
            scores, is_member, method=method, delta=delta, confidence=confidence, guesses=guesses
        )  # fmt: skip
        looks = (Look(runs=canaries, epsilon=found),)
    return DpReport(
        claim=claim, delta=delta, upper=upper, looks=looks, method=method, mode=mode, confidence=confidence,
        canary=canary if isinstance(canary, str) else "default" if canary is None else canary.name,
        records=records.name, recipe=repr(recipe), scores=scores, is_member=is_member,
        seconds=time.perf_counter() - began, seed=seed,
    )  # fmt: skip


Ask = Callable[[int, int], tuple[Array, Array]]  # (first pair, pairs) -> scores, is_member [2 * pairs]


def _look_by_look(
    ask: Ask, *, runs: int, threshold_runs: int, claim: float, delta: float, confidence: float, method: str
) -> tuple[Array, Array, tuple[Look, ...]]:
    """Fix the threshold, then train and look until the claim is refuted or all runs are done."""
    alpha = (1 - confidence) / len(LOOKS)
    threshold = best_threshold(*ask(0, threshold_runs), delta=delta, alpha=alpha)
    scores, is_member = np.zeros(0), np.zeros(0, bool)
    looks: list[Look] = []
    for share in LOOKS:
        done = len(scores) // 2
        more, more_is_member = ask(threshold_runs + done, max(1, round(share * runs)) - done)
        scores, is_member = np.append(scores, more), np.append(is_member, more_is_member)
        found = epsilon_lower_bound(
            scores, is_member, method=method, delta=delta, confidence=1 - alpha, threshold=threshold
        )  # fmt: skip
        looks.append(Look(runs=len(scores), epsilon=found, threshold=threshold))
        if found > claim:
            break
    return scores, is_member, tuple(looks)


def _many_runs(
    recipe: PrivateRecipe | TrainFunction, records: Records, canary: str | Records, *, sees: str, seed: int,
    progress: Progress | None,
) -> Ask:  # fmt: skip
    """Asks pairs of models, the first of each with the canary: how well do they know it?"""
    gradient = canary == "gradient"
    pool = records if gradient else joined(records, _records_of(canary, records, 1, seed))

    def ask(first: int, pairs: int) -> tuple[Array, Array]:
        models = np.arange(2 * first, 2 * (first + pairs))
        is_member = models % 2 == 0
        in_mask = np.ones((len(models), len(pool)), bool)
        if not gradient:
            in_mask[:, -1] = is_member
        places = _places(recipe, pool, 1, seed) if gradient else None
        scores = _scores(recipe, pool, in_mask, models, places, is_member[:, None], 1, sees=sees, seed=seed,
                         progress=progress)  # fmt: skip
        return scores[:, 0], is_member

    return ask


def _one_run(
    recipe: PrivateRecipe | TrainFunction, records: Records, canary: str | Records, canaries: int, *, sees: str,
    seed: int, progress: Progress | None,
) -> tuple[Array, Array]:  # fmt: skip
    """[canaries] scores of one model, and the coins."""
    coins = np.random.Generator(np.random.Philox([seed, 1])).random(canaries) < 0.5
    gradient = canary == "gradient"
    if gradient:
        pool, places = records, _places(recipe, records, canaries, seed)
        in_mask = np.ones((1, len(pool)), bool)
    else:
        pool, places = joined(records, _records_of(canary, records, canaries, seed)), None
        in_mask = np.append(np.ones(len(records), bool), coins)[None]
    scores = _scores(
        recipe, pool, in_mask, np.array([0]), places, coins[None], canaries, sees=sees, seed=seed, progress=progress
    )  # fmt: skip
    return scores[0], coins


def _scores(
    recipe: PrivateRecipe | TrainFunction, pool: Records, in_mask: Array, models: Array, places: Array | None,
    canary_in: Array, canaries: int, *, sees: str, seed: int, progress: Progress | None,
) -> Array:  # fmt: skip
    """[models, canaries] how much better each model knows the last records of the pool than before what is seen.

    In gradient space, how far training moved the canaries' parameters. A train function's models are asked for phi.
    """
    if not isinstance(recipe, PrivateRecipe):
        return _scores_of_users(recipe, pool, in_mask, models, canaries, seed=seed, progress=progress)
    indices = [int(model) for model in models]
    in_gradients = None if places is None else GradientCanaries(places, canary_in)
    if sees == "final":
        before = start(recipe, pool, models=indices, seed=seed)
    else:
        before = train_private(
            recipe, pool, in_mask, models=indices, seed=seed, canaries=in_gradients, steps=slice(0, recipe.steps - 1)
        )
    rest = slice(None) if sees == "final" else slice(recipe.steps - 1, None)
    after = train_private(
        recipe, pool, in_mask, models=indices, seed=seed, canaries=in_gradients, steps=rest, weights=before,
        progress=progress,
    )  # fmt: skip
    if places is not None:
        return np.asarray((after - before)[:, places])
    x, y = pool.inputs(slice(len(pool) - canaries, None)).reshape(canaries, -1), pool.y[-canaries:]
    widths = recipe.widths(pool)
    known, known_before = (
        mlp_confidence(x, weights, y, widths=widths, activation=recipe.activation).phi for weights in (after, before)
    )
    return np.asarray(known - known_before)


def _scores_of_users(
    train: TrainFunction, pool: Records, in_mask: Array, models: Array, canaries: int, *, seed: int,
    progress: Progress | None,
) -> Array:  # fmt: skip
    from miafast.shadow import wrap  # here, because this is where torch is first needed

    x, y = pool.inputs(slice(len(pool) - canaries, None)), pool.y[-canaries:]
    scores = np.empty((len(models), canaries))
    for row, model in enumerate(models):
        own_seed = int(np.random.SeedSequence([seed, int(model)]).generate_state(1)[0])
        trained = train(pool, np.flatnonzero(in_mask[row]), own_seed)
        asked = wrap(trained, name=f"model {model}", how="train function", classes=pool.classes)
        scores[row] = logit_confidence(asked.logits(x).numpy()[0], y)
        if progress is not None:
            progress.advance(1)
    return scores


def _places(recipe: Any, records: Records, canaries: int, seed: int) -> Array:
    """Different parameters, drawn at random."""
    widths = recipe.widths(records)
    parameters = sum((inside + 1) * outside for inside, outside in pairwise(widths))
    if canaries > parameters:
        raise ValueError(f"canaries={canaries} in the gradient space of {parameters} parameters; ask for fewer.")
    return np.random.Generator(np.random.Philox([seed, 2])).permutation(parameters)[:canaries]


def _records_of(canary: str | Records, records: Records, count: int, seed: int) -> Records:
    if isinstance(canary, str):
        return make_canaries(records, count, kind=canary, seed=seed)
    if len(canary) != count or canary.shape != records.shape or canary.x.dtype != records.x.dtype:
        raise ValueError(
            f"canary holds {len(canary)} records of shape {canary.shape} and dtype {canary.x.dtype}; give {count} of "
            f"{records.shape} and {records.x.dtype}."
        )
    return canary


def _claim(
    recipe: PrivateRecipe | TrainFunction, pool: int, epsilon: float | None, delta: float
) -> tuple[float, float | None]:
    """The claim, and the accountant's upper bound where there is one: of training on ``pool`` records."""
    if epsilon is not None and not epsilon >= 0:
        raise ValueError(f"epsilon={epsilon}; give the claim, a number of at least 0.")
    if not 0 <= delta < 1:
        raise ValueError(f"delta={delta}; give a number in [0, 1).")
    if not isinstance(recipe, PrivateRecipe):
        if epsilon is None:
            raise ValueError("epsilon is not given; say what the train function claims.")
        return epsilon, None
    upper = None
    if recipe.noise_multiplier > 0 and delta > 0 and (epsilon is None or _has_accountant()):
        upper = epsilon_upper_bound(
            recipe.noise_multiplier, sample_rate=recipe.sample_rate(pool), steps=recipe.steps, delta=delta
        )  # fmt: skip
    if epsilon is None and upper is None:
        raise ValueError("epsilon is not given, and no accountant says one without noise and delta; give the claim.")
    return (upper if epsilon is None else epsilon), upper  # type: ignore[return-value]


def _has_accountant() -> bool:
    from importlib.util import find_spec

    return find_spec("dp_accounting") is not None


def _check(
    recipe: Any, *, mode: str, canary: str | Records | None, runs: int, threshold_runs: int | None, method: str,
    sees: str,
) -> None:  # fmt: skip
    if mode not in ("many-runs", "one-run"):
        raise ValueError(f"mode={mode!r} is not known; choose many-runs or one-run.")
    if not isinstance(recipe, PrivateRecipe) and not callable(recipe):
        raise TypeError(f"recipe is a {type(recipe).__name__}; give a PrivateRecipe or a train function.")
    if sees not in ("final", "last-update") or (sees != "final" and not isinstance(recipe, PrivateRecipe)):
        raise ValueError(f"sees={sees!r}; choose final or, for a PrivateRecipe, last-update.")
    if isinstance(canary, str) and canary not in (*KINDS, "gradient"):
        raise ValueError(f"canary={canary!r} is not known; choose one of {', '.join((*KINDS, 'gradient'))}.")
    if canary == "gradient" and not isinstance(recipe, PrivateRecipe):
        raise ValueError("canary='gradient' needs a PrivateRecipe; a train function takes records only.")
    if method not in METHODS or ("one-run" in method) != (mode == "one-run"):
        fitting = [name for name in METHODS if ("one-run" in name) == (mode == "one-run")]
        raise ValueError(f"method={method!r} with mode={mode!r}; choose one of {', '.join(fitting)}.")
    if runs < len(LOOKS) * 2 or (threshold_runs is not None and threshold_runs < 1):
        raise ValueError(
            f"runs={runs}, threshold_runs={threshold_runs}; give at least {2 * len(LOOKS)} runs, 1 threshold run."
        )
