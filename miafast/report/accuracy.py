"""How well the models do their own job: the gap between train and test accuracy is the oldest sign of a leak."""

from __future__ import annotations

import numpy as np

from miafast.report.measures import Facts, spread
from miafast.report.plain import plain
from miafast.tables import Array, Signals


def accuracy(signals: Signals) -> list[Facts]:
    """One row per group of models: train and test accuracy and their gap, mean and sd; none where not recorded."""
    if signals.train_accuracy is None or signals.test_accuracy is None:
        return []
    train = np.asarray(signals.train_accuracy, dtype=np.float64)
    test = np.asarray(signals.test_accuracy, dtype=np.float64)
    if not signals.has_target:
        return [_row("every model, the target in turn", train, test)]
    return [_row("target", train[-1:], test[-1:]), _row("shadow models", train[:-1], test[:-1])]


def _row(who: str, train: Array, test: Array) -> Facts:
    facts = {
        "who": who,
        "models": len(train),
        "train": spread(train),
        "test": spread(test),
        "gap": spread(train - test),
    }
    checked: Facts = plain(facts)
    return checked
