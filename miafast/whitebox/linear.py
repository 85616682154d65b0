"""The attacks on linear models: bayes-wb, whose proxy stands for the truth, and general-wb, which learns to compare."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from miafast.shadow import Recipe, train_modules
from miafast.shadow.random import stream, uniform
from miafast.tables import Array, Records
from miafast.whitebox.displacement import Evidence, learn
from miafast.whitebox.fitted import Fitted
from miafast.whitebox.held_out import folds, held_out

LOGISTIC = Recipe(model="logistic", learning_rate=1e-2, batch_size=32)
#: Pairs of one record and one split that a displacement with hidden units is fitted on, at most.
MOST_PAIRS = 20_000


class Linear(NamedTuple):
    """A linear classifier: logits are ``weights @ x + bias``."""

    weights: Array  # [classes, features]
    bias: Array  # [classes]

    def logit(self, x: Array, labels: Array) -> Array:
        """The logit of each record's label, float64 [records], for x [records, features]."""
        weights, bias = self.weights.astype(np.float64), self.bias.astype(np.float64)
        out: Array = np.einsum("rf,rf->r", x, weights[labels]) + bias[labels]
        return out

    def centred(self) -> Linear:
        """The same predictions with logits that sum to 0: what all classes share is left over from initialisation."""
        return Linear(self.weights - self.weights.mean(axis=0), self.bias - self.bias.mean())


def linear_of(model: Any) -> Linear:
    """The weights of a linear model: `Linear`, an `nn.Module` with one nn.Linear, scikit-learn's LogisticRegression.

    Two classes in one row of ``coef_`` are ± half of it. Raises TypeError for a model that is not linear.

    >>> linear_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 3))).weights.shape
    (3, 4)
    """
    if isinstance(model, Linear):
        return model
    if hasattr(model, "coef_") and hasattr(model, "intercept_"):
        weights, bias = np.asarray(model.coef_), np.asarray(model.intercept_)
        if len(weights) == 1:
            weights, bias = np.vstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        return Linear(weights, bias)
    if isinstance(model, nn.Module):
        leaves = [each for each in model.modules() if not list(each.children())]
        layers = [each for each in leaves if isinstance(each, nn.Linear)]
        if len(layers) == 1 and all(isinstance(each, (nn.Linear, nn.Flatten, nn.Identity)) for each in leaves):
            weights = layers[0].weight.detach().numpy()
            bias = layers[0].bias
            return Linear(weights, np.zeros(len(weights)) if bias is None else bias.detach().numpy())
    raise TypeError(
        f"target is {type(model).__name__}, not a linear model; give an nn.Module whose only layer is nn.Linear, or "
        "attack a layer of it with DeepBayes."
    )


@dataclass(frozen=True)
class LinearBayes:
    """bayes-wb on a linear model: a proxy trained on the attacker's records stands for the true distribution.

    w_y = Ŵ_y - W̃_y and b_y = b̂_y - b̃_y, with Ŵ, b̂ the target's and W̃, b̃ the proxy's (Leino & Fredrikson 2020,
    section 3.2, observation 1). ``recipe`` is the target's, model="logistic". Both are centred over classes first:
    softmax does not see what all classes' weights share, so that is still as initialised at random.

    >>> rng = np.random.default_rng(0)
    >>> records = Records(rng.normal(size=(60, 20)), rng.integers(2, size=60), classes=2)
    >>> mask = np.arange(60)[None] < 30
    >>> (target,) = train_modules(LOGISTIC, records, mask, models=[0], seed=0)
    >>> mine = Records(rng.normal(size=(60, 20)), rng.integers(2, size=60), classes=2)
    >>> scores = LinearBayes().fit(target, mine, seed=1).score(records)
    >>> bool(scores[:30].mean() > scores[30:].mean())
    True
    """

    recipe: Recipe = field(default=LOGISTIC)

    def __post_init__(self) -> None:
        _check_logistic(self.recipe)

    def fit(self, target: Any, records: Records, *, seed: int) -> Fitted:
        """Train the proxy on the attacker's records. ``target``: see `linear_of`. Raises ValueError, TypeError."""
        known = _checked_target(target, records)
        leaves_out = folds(len(records), seed=seed)
        mask = np.vstack([np.ones((1, len(records)), bool), leaves_out])
        proxies = train_modules(self.recipe, records, mask, models=range(len(mask)), seed=seed)
        found, *others = (against(known, linear_of(each)) for each in proxies)
        return replace(found, held_out=held_out([each.logit for each in others], leaves_out, records))


@dataclass(frozen=True)
class LinearGeneral:
    """general-wb on a linear model: how the two models' weights speak of membership is learnt from random splits.

    For each of ``splits`` halvings of the attacker's records a shadow is trained on one half and a proxy on the other,
    all of them stacked; a displacement D and a constant c are fitted so that Σ_j D(ŵ_j, w̃_j) x_j + D(b̂, b̃) + c tells
    the halves apart
    (Leino & Fredrikson 2020, section 3.3, algorithm 1). ``hidden=0`` is a weighted sum, 16 the paper's extra capacity.

    Raises ValueError for a recipe that is not logistic, no splits or a negative number of hidden units.
    """

    recipe: Recipe = field(default=LOGISTIC)
    splits: int = 10
    hidden: int = 0

    def __post_init__(self) -> None:
        _check_logistic(self.recipe)
        check_capacity(self.splits, self.hidden)

    def fit(self, target: Any, records: Records, *, seed: int) -> Fitted:
        """Train shadows and proxies on the attacker's records and learn D. Raises ValueError, TypeError."""
        known = _checked_target(target, records)
        halves = halvings(len(records), self.splits, seed=seed)
        leaves_out = folds(len(records), seed=seed)
        mask = np.vstack([np.ones((1, len(records)), bool), halves, ~halves, leaves_out])
        trained = [
            linear_of(each).centred()
            for each in train_modules(self.recipe, records, mask, models=range(len(mask)), seed=seed)
        ]
        (proxy, *shadows), trained = trained[: self.splits + 1], trained[self.splits + 1 :]
        proxies, others = trained[: self.splits], trained[self.splits :]
        x = records.inputs().reshape(len(records), -1)
        rows = drawn_pairs(halves.size, most=MOST_PAIRS if self.hidden else halves.size, seed=seed)
        split, record = np.divmod(rows, len(records))
        parts = [
            evidence_of(shadows[each], proxies[each], x[record[split == each]], records.y[record[split == each]])
            for each in range(self.splits)
        ]
        parts = parts if self.hidden else [each.summed() for each in parts]
        evidence = Evidence(*(np.concatenate(each) for each in zip(*parts, strict=True)))
        is_member = np.concatenate([halves[each, record[split == each]] for each in range(self.splits)])
        learnt = learn(evidence, is_member, hidden=self.hidden, seed=seed)

        def logit(asked: Records, proxy: Linear = proxy) -> Array:
            flat = asked.inputs().reshape(len(asked), -1)
            evidence = evidence_of(known, proxy, flat, asked.y)
            return learnt.logit(evidence if self.hidden else evidence.summed())

        by_others = held_out([partial(logit, proxy=each) for each in others], leaves_out, records)
        return Fitted("general-wb, linear", logit, by_others)


def against(target: Linear, proxy: Linear) -> Fitted:
    """bayes-wb with a given proxy."""
    target, proxy = target.centred(), proxy.centred()

    def logit(asked: Records) -> Array:
        x = asked.inputs().reshape(len(asked), -1)
        return target.logit(x, asked.y) - proxy.logit(x, asked.y)

    return Fitted("bayes-wb, linear", logit)


def evidence_of(target: Linear, proxy: Linear, x: Array, labels: Array) -> Evidence:
    """The pairs of weights of each record's label, the bias as one more place whose value is 1."""
    both = [np.concatenate([each.weights, each.bias[:, None]], axis=1) for each in (target, proxy)]
    return Evidence(np.stack(both, axis=-1)[labels], np.concatenate([x, np.ones((len(x), 1))], axis=1))


def halvings(records: int, splits: int, *, seed: int) -> Array:
    """bool [splits, records]: a random half of the records is True in every split."""
    order = np.argsort(np.stack([uniform(stream(seed, each, "halving"), records) for each in range(splits)]), axis=1)
    out: Array = np.argsort(order, axis=1) < records // 2
    return out


def drawn_pairs(total: int, *, most: int, seed: int) -> Array:
    """``most`` of 0 … total - 1 drawn at random, or all of them if they are fewer; sorted."""
    if total <= most:
        return np.arange(total)
    return np.sort(np.argsort(uniform(stream(seed, 0, "pairs"), total))[:most])


def check_capacity(splits: int, hidden: int) -> None:
    """Refuse what cannot be a number of splits or of hidden units; raises ValueError."""
    if splits < 1:
        raise ValueError(f"splits={splits}; general-wb learns from at least 1 split of the attacker's records.")
    if hidden < 0:
        raise ValueError(f"hidden={hidden}; give 0 for a weighted sum, or a number of hidden units.")


def _check_logistic(recipe: Recipe) -> None:
    if recipe.model != "logistic":
        raise ValueError(f"recipe.model={recipe.model!r}; linear attacks train proxies with model='logistic'.")


def _checked_target(target: Any, records: Records) -> Linear:
    known = linear_of(target)
    expected = (records.classes, int(np.prod(records.shape)))
    if known.weights.shape != expected:
        raise ValueError(
            f"target has weights {list(known.weights.shape)}, the attacker's records need [classes, features] = "
            f"{list(expected)}."
        )
    return known.centred()
