"""Attack-D of Ye et al.: where the target's loss lies among the losses of models that mimic the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from miafast.attacks.attack_r import AttackR


@dataclass(frozen=True)
class AttackD(AttackR):
    """Attack-D of Ye et al. (2022), "Enhanced membership inference attacks against machine learning models".

    Member if the target's loss is below the alpha-quantile of the record's losses under models *distilled* from the
    target on data without the record: they know what the target knows, but for the record itself. The score is
    `AttackR`'s, with ``smooth`` as there, on shadows trained on the target's answers: give `miafast.audit`
    the target, and ``miafast.shadow.distilled(recipe, target)`` as recipe.
    Every target needs shadows of its own, so the command line, which trains no mimics, does not run it.

    >>> import numpy as np
    >>> mimics, in_mask = np.array([[0.0], [1.0], [2.0], [9.0]]), np.array([[False], [False], [False], [True]])
    >>> AttackD().score(np.array([1.5]), mimics, in_mask).round(4)
    array([0.6667])
    """

    distilled: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """What reports call the attack."""
        return super().name.replace("Attack-R", "Attack-D")
