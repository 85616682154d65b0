"""auc_components: what every record adds to the AUC of several targets, for the AUC's variance over records."""

from __future__ import annotations

import numpy as np

from miafast.ops.dispatch import Array, Outline, as_float, op
from miafast.ops.roc_counts import check_scores, refuse_nan


def _check(scores: Array, is_member: Array, thresholds: Array, false_positives: Array, true_positives: Array) -> None:
    check_scores(scores, is_member)
    if len(scores.shape) != 2:
        raise ValueError(f"scores has shape {tuple(scores.shape)}; give [targets, records].")
    shapes = {tuple(each.shape) for each in (thresholds, false_positives, true_positives)}
    if len(shapes) > 1 or {len(each) for each in shapes} != {1}:
        raise ValueError("thresholds, false_positives and true_positives differ in shape; give those of roc_counts.")
    if isinstance(is_member, Outline):
        return
    members = int(np.count_nonzero(is_member))
    totals = (int(true_positives[-1]), int(false_positives[-1])) if len(thresholds) else (0, 0)
    if totals != (members, is_member.size - members) or 0 in totals:
        raise ValueError(
            f"the curve counts {totals[0]} members and {totals[1]} non-members, is_member {members} and "
            f"{is_member.size - members}; give roc_counts of these scores, with some of both."
        )


@op(contract=_check)
def auc_components(
    scores: Array, is_member: Array, thresholds: Array, false_positives: Array, true_positives: Array
) -> Array:
    """DeLong's components of the AUC, added up by record: float64 [records], their sum is 0.

    Where a record is a member of a target, its component is how many more of all targets' non-members it outscores than
    a member does on average (a share), over the number of members; where it is not, the same of the members that
    outscore it. Ties count half. The sum of their squares is the AUC's variance where records are what varies.

    scores: [targets, records], floating; higher = member; finite or infinite.
    is_member: bool, the shape of scores.
    thresholds, false_positives, true_positives: `roc_counts` of these scores.

    Raises ValueError for a curve of other scores, NaN scores, no members or no non-members.

    Source: DeLong et al. 1988, "Comparing the areas under two or more correlated ROC curves", section 2; sums over what
    a record gives to all targets as in Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data".

    >>> import numpy as np
    >>> from miafast.ops.roc_counts import roc_counts
    >>> scores, is_member = np.array([[2.0, 1.0, 0.0]]), np.array([[True, False, True]])
    >>> auc_components(scores, is_member, *roc_counts(scores, is_member))
    array([ 0.25,  0.  , -0.25])
    """
    values, ascending = as_float(scores), as_float(thresholds)[::-1]
    refuse_nan(values)
    edges = [np.append(0, each) for each in (false_positives, true_positives)]
    sums = [np.zeros(values.shape[1], np.int64) for _ in edges]
    for row, inside in zip(values, is_member, strict=True):
        order = np.argsort(row)  # so that the search walks through memory
        point = np.empty(row.size, np.intp)
        point[order] = len(ascending) - np.searchsorted(ascending, row[order])
        for total, counts, here in zip(sums, edges, (inside, ~inside), strict=True):
            total += np.where(here, counts[point] + counts[point - 1], 0)
    return components_of(sums[0], sums[1], is_member)


def components_of(of_members: Array, of_others: Array, is_member: Array) -> Array:
    """From what csrc/auc_components.h adds up, whole numbers and so the same in any order."""
    members = int(np.count_nonzero(is_member))
    non_members = is_member.size - members
    times = np.count_nonzero(is_member, axis=0)
    auc = 1 - of_members.sum() / (2 * members * non_members)
    outscored = times * (1 - auc) - of_members / (2 * non_members)
    outscoring = of_others / (2 * members) - (len(is_member) - times) * auc
    return np.asarray(outscored / members + outscoring / non_members)
