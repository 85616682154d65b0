"""Validity guards: the ways in which an audit fools its reader, each looked for and told in plain words."""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from miafast.roc import Roc, roc
from miafast.tables import Array, Records

#: Members of the target and IN records of a shadow may differ by this share before the report warns.
SIZE_MISMATCH = 0.1
#: The blind classifier looks at so many records, and warns when this interval of its AUC lies above ½.
BLIND_RECORDS, BLIND_CONFIDENCE = 2000, 0.99
FOLDS = 5
#: Fewer members or non-members than this are too few to learn to tell them apart.
BLIND_LEAST = 20
#: Rows of a given mask that the blind classifier is asked about.
BLIND_ROWS = 3
#: An audit's own attacks: the headline and the two that it is always compared with.
USUAL_ATTACKS = 3
_LEVELS = (1e-3, 1e-2, 1e-1)
_TARGETS = 8  # whose thresholds are taken from the other models


@dataclass(frozen=True)
class Check:
    """One guard's finding: ``passed`` is True, False (the text is a warning) or None (it does not apply here).

    >>> Check("size", True, "Trained on as many records.").passed
    True
    """

    name: str
    passed: bool | None
    text: str


def before_training(records: Records, in_mask: Array, *, drawn: bool, is_member: Array | None) -> tuple[Check, ...]:
    """What inputs and membership alone can tell: the blind classifier and duplicate records.

    ``in_mask`` [shadows, records], ``drawn`` whether it is a random draw of ours, ``is_member`` [records] of a target.
    """
    given = in_mask[:: max(1, len(in_mask) // BLIND_ROWS)][:BLIND_ROWS] if not drawn else in_mask[:0]
    rows = given if is_member is None else np.vstack([is_member[None], given])
    return blind_classifier(records, rows), duplicates(records, in_mask if is_member is None else is_member[None])


def blind_classifier(records: Records, in_mask: Array) -> Check:
    """Whether inputs alone tell members from non-members: then attacks may find that, and not memory.

    ``in_mask`` [splits, records] bool holds memberships that a user gave; with none (all were drawn at random by us)
    there is nothing to check. Of several the worst counts, its interval allowing for their number.

    Source: blind baselines of Das, Zhang & Tramèr 2024, "Blind Baselines Beat Membership Inference Attacks".

    >>> x = np.random.default_rng(0).normal(size=(400, 3))
    >>> records = Records(x, np.zeros(400, int), classes=2)
    >>> [blind_classifier(records, split[None]).passed for split in (x[:, 0] > 0, np.arange(400) < 200)]
    [False, True]
    """
    name = "blind classifier"
    if not len(in_mask):
        return Check(name, None, "Members were drawn at random from one pool, so inputs alone cannot tell them apart.")
    if importlib.util.find_spec("sklearn") is None:
        return Check(name, None, "Not run: it needs scikit-learn (pip install 'miafast[train]').")
    if min(min(row.sum(), (~row).sum()) for row in in_mask) < BLIND_LEAST:
        return Check(name, None, f"Not run: it needs at least {BLIND_LEAST} members and {BLIND_LEAST} non-members.")
    confidence = 1 - (1 - BLIND_CONFIDENCE) / len(in_mask)
    auc, low, high = max((blind_auc(records, row, confidence=confidence) for row in in_mask), key=lambda each: each[1])
    found = f"AUC {auc:.3f}, {100 * BLIND_CONFIDENCE:g} % interval {low:.3f}–{high:.3f}"
    if low <= 0.5:
        return Check(
            name, True, f"A classifier that never sees the model does not tell members from non-members ({found})."
        )
    return Check(
        name, False,
        f"A classifier that never sees the model tells members from non-members by their inputs alone ({found}; it "
        "should be 0.5): the two differ in kind, and what the attacks find may be that difference and not memory. "
        "Draw members and non-members at random from one pool.",
    )  # fmt: skip


def blind_auc(
    records: Records, is_member: Array, *, confidence: float = BLIND_CONFIDENCE, seed: int = 0
) -> tuple[float, float, float]:
    """(AUC, low, high) of a classifier of membership on inputs and labels, cross-validated in five folds.

    Half linear, half trees: the mean of a logistic regression's and a forest's ranks in a fold, on at most 2,000
    records and, of wider inputs, 64 principal components. No choice is made by looking at the outcome. The interval is
    1.5 times as wide as that of independent scores: folds share their training records, which multiplies the variance
    of the mean of k folds by 1 + k / (k - 1) (Nadeau & Bengio 2003, "Inference for the generalization error").
    """
    from sklearn.decomposition import PCA
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(records))[:BLIND_RECORDS])
    rest = np.flatnonzero(is_member == (is_member[chosen].mean() < 0.5))  # of the rarer side, at least a tenth
    few = max(BLIND_RECORDS // 10 - int((is_member[chosen] == is_member[rest[0]]).sum()), 0)
    chosen = np.union1d(chosen, random.permutation(rest)[:few])
    x = records.inputs(chosen).reshape(len(chosen), -1).astype(np.float64)
    if x.shape[1] > 256:
        x = PCA(min(64, len(x) - 1), svd_solver="randomized", random_state=seed).fit_transform(x)
    x = np.hstack([x, np.arange(records.classes) == records.y[chosen, None]])
    y = is_member[chosen]
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
    trees = ExtraTreesClassifier(50, min_samples_leaf=5, random_state=seed)
    scores = np.zeros(len(y))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        for model in (linear, trees):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a fit that stopped early: a blind guess may be rough
                scores[test] += _ranks(model.fit(x[train], y[train]).predict_proba(x[test])[:, 1])
    found = roc(scores, y)
    low, high = found.auc_interval(confidence)
    wider = (1 + FOLDS / (FOLDS - 1)) ** 0.5
    return found.auc, found.auc - wider * (found.auc - low), found.auc + wider * (high - found.auc)


def duplicates(records: Records, in_mask: Array) -> Check:
    """Whether records that are OUT have an equal input that is IN: the model has seen them under another number.

    ``in_mask`` is [models, records], or one row of a target's members.

    >>> records = Records(np.array([[1.0], [2.0], [1.0]]), np.zeros(3, int), classes=2)
    >>> duplicates(records, np.array([[True, True, False]])).text.split(":")[0]
    '1 of 3 records has an equal input on the other side of the split'
    """
    _, group, count = np.unique(_hashes(records), return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(count[group] > 1)
    torn = np.zeros(len(records), bool)
    for row in in_mask:
        members = np.bincount(group[repeated], weights=row[repeated], minlength=len(count))[group[repeated]]
        torn[repeated] |= ~row[repeated] & (members > 0)
    many = int(torn.sum())
    if not many:
        return Check("duplicates", True, "No record has an equal input on the other side of the split.")
    return Check(
        "duplicates", False,
        f"{many:,} of {len(records):,} records {'has' if many == 1 else 'have'} an equal input on the other side of "
        "the split: to the model a non-member is then a member, and every attack looks weaker, or luckier, than it is. "
        "Keep one of each.",
    )  # fmt: skip


def size_mismatch(is_member: Array, in_mask: Array) -> Check:
    """Whether the shadows [models, records] trained on as many records as the target [records].

    >>> size_mismatch(np.arange(100) < 20, np.ones((2, 100), bool)).passed
    False
    """
    members, usual = int(is_member.sum()), float(in_mask.sum(axis=1).mean())
    if abs(members - usual) <= SIZE_MISMATCH * usual:
        return Check("size", True, f"The target was trained on {members:,} records, the shadows on {usual:,.0f}.")
    return Check(
        "size", False,
        f"The target was trained on {members:,} records, the shadows on {usual:,.0f} on average: "
        "their scores are less exact. Give a pool of about twice the target's members, or a mask of its size.",
    )  # fmt: skip


def threshold_of_target(name: str, target: Roc, shadows: Roc | None) -> Check:
    """Where a target's thresholds come from, and what those of its ``shadows`` would have found in their place.

    A warning when the shadows' threshold accuses clearly more non-members than it promised.
    """
    whose = (
        "Every rate in this report is read off at a threshold set with the target's own membership labels, which an "
        "attacker lacks"
    )
    level = None if shadows is None else _level(target, shadows)
    if shadows is None or level is None:
        return Check("thresholds", True, f"{whose}; there are too few records to try one from the shadow models.")
    threshold = shadows.threshold_at(level)
    tpr, fpr = _rates(target.scores, target.is_member, threshold)
    text = (
        f"{whose}. With the threshold that holds {100 * level:g} % FPR on the shadow models, {name} finds "
        f"{100 * tpr:.2g} % of the members at {100 * fpr:.2g} % FPR."
    )
    from scipy.stats import binomtest

    wrong = round(fpr * target.non_members)
    if binomtest(wrong, target.non_members, level, alternative="greater").pvalue >= 1e-3:
        return Check("thresholds", True, text)
    return Check(
        "thresholds", False,
        f"{text} That is more false alarms than promised: the shadow models are not like the target, and a real "
        "attacker would do worse than this report says.",
    )  # fmt: skip


def threshold_of_pool(name: str, pooled: Roc) -> Check:
    """Where thresholds come from when every model is the target in turn, and what the other models' would find."""
    whose = "Every rate in this report is read off at one threshold for all targets, set with their membership labels"
    level = _level(pooled, pooled)
    if level is None or pooled.targets < 2:
        return Check("thresholds", True, f"{whose}.")
    rates = []
    for target in range(min(pooled.targets, _TARGETS)):
        others = np.arange(pooled.targets) != target
        non_members = pooled.scores[others][~pooled.is_member[others]]
        place = len(non_members) - int(level * len(non_members))  # at most so many are above
        threshold = np.nextafter(np.partition(non_members, place - 1)[place - 1], np.inf)
        rates.append(_rates(pooled.scores[target], pooled.is_member[target], threshold))
    tpr, fpr = np.mean(rates, axis=0)
    return Check(
        "thresholds", True,
        f"{whose}. With a threshold from the other models alone, held at {100 * level:g} % FPR on them, {name} finds "
        f"{100 * tpr:.2g} % of a target's members at {100 * fpr:.2g} % FPR (mean of {len(rates)} targets).",
    )  # fmt: skip


def attacks_tried(found: Mapping[str, Roc]) -> Check:
    """How many attacks were tried: the best of many is better by luck alone. ``found`` holds the headline first."""
    names, tries = list(found), len(found)
    best = max(names, key=lambda each: found[each].auc)
    low, high = found[best].auc_interval(1 - 0.05 / tries)
    said = (
        f"{tries} attack{'s were' if tries > 1 else ' was'} tried on the same models. {names[0]}, the headline, was "
        "named beforehand and its intervals hold."
    )
    if tries > 1:
        said += (
            f" {best} has the highest AUC, {found[best].auc:.3f}; picked in hindsight, its interval is "
            f"{low:.3f}–{high:.3f}."
        )
    if tries <= USUAL_ATTACKS:
        return Check("attacks tried", True, said)
    return Check(
        "attacks tried", False, f"{said} Do not quote the best of {tries} as a result: name it, and audit fresh models."
    )


def failed(checks: Sequence[Check]) -> tuple[str, ...]:
    """The warnings among the findings.

    >>> failed([Check("a", True, "well"), Check("b", False, "not well"), Check("c", None, "not asked")])
    ('not well',)
    """
    return tuple(each.text for each in checks if each.passed is False)


def _rates(scores: Array, is_member: Array, threshold: Any) -> tuple[float, float]:
    called = scores >= threshold
    return float(called[is_member].mean()), float(called[~is_member].mean())


def _level(*rocs: Roc) -> float | None:
    return next((level for level in _LEVELS if all(each.measurable(level) for each in rocs)), None)


def _ranks(scores: Array) -> Array:
    """Ranks in (0, 1), equal scores sharing theirs."""
    from scipy.stats import rankdata

    ranks: Array = rankdata(scores) / (len(scores) + 1)
    return ranks


def _hashes(records: Records) -> Array:
    return np.fromiter(_digests(records), dtype="S16", count=len(records))


def _digests(records: Records) -> Iterator[bytes]:
    x = records.x if records.x.dtype.kind != "f" else records.x + 0.0  # -0.0 is 0.0
    for row in np.ascontiguousarray(x).reshape(len(x), -1):
        yield hashlib.blake2b(row.data, digest_size=8).hexdigest().encode()
