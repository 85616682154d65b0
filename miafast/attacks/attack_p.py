"""Attack-P of Ye et al.: where the target's loss on a record lies among its losses on a population."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from miafast.attacks.shapes import population_columns, with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.population_share import population_share


@dataclass(frozen=True)
class AttackP:
    """Attack-P of Ye et al. (2022), "Enhanced membership inference attacks against machine learning models".

    Member if the loss is below the alpha-quantile of the target's losses on a population. The score is one minus the
    loss's percentile there: the share of the population with a higher loss, ties counting half. For one target it ranks
    as the loss does; between targets it makes scores alike. No shadows are needed or looked at.

    Population: the pool's other records, unless others are given. Members of the target among them lower all scores:
    only with known non-members is 1 - score the false-positive rate.

    >>> import numpy as np
    >>> AttackP().score(np.array([0.5, 3.0]), population=np.array([0.0, 1.0, 2.0, 4.0]))
    array([0.25, 0.75])
    """

    name: ClassVar[str] = "Attack-P"
    signals: ClassVar[tuple[str, ...]] = ("phi",)

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None, population: Any = None) -> Any:
        """Scores [records] in [0, 1] of phi [records(, queries)].

        ``population``: None, the pool's other records; integers [population], columns of the pool; or the target's phi
        on other records, floating [population].

        Raises ValueError for shapes, dtypes or a population that do not fit, and for signals that are not finite.
        """
        return _shares("target", with_queries("target", target, 1), population)

    def score_all(self, shadow: Any, in_mask: Any = None, population: Any = None) -> Any:
        """Scores [models, records], every model in turn the target; other records' phi is [models, population]."""
        return _shares("shadow", with_queries("shadow", shadow, 2), population)


def _shares(name: str, phi: Any, population: Any) -> Any:
    if population is not None and not hasattr(population, "dtype"):
        population = np.asarray(population)
    outside = population is not None and "float" in str(population.dtype)
    columns = None
    if population is None:
        columns = np.arange(phi.shape[-2])
    elif not outside:
        columns = population_columns(population, phi.shape[-2])
    others = population if outside else phi[..., columns, 0]
    scores = population_share(phi, others, columns=columns)
    explain_nan(scores, population=others, **{name: phi})
    return scores
