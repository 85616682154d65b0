"""Long et al.: look only at records that have few neighbours, and there at the loss's p-value among OUT models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from miafast.attacks.shapes import with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.neighbour_share import neighbour_share
from miafast.ops.out_percentile import out_percentile


@dataclass(frozen=True)
class Long:
    """GMIA of Long et al. (2018), "Understanding membership inferences on well-generalized learning models".

    1. Vulnerable records: those with at most ``neighbours`` expected neighbours in a training set. A neighbour lies
       within cosine distance ``radius``, features being the shadows' logits side by side (less their mean over
       classes); their number is counted among ``references`` records of the pool and scaled to the shadows' training
       size. All shadows are asked, whether they trained on a record or not; the paper's trained on none.
    2. For these the one-sided p-value of the target's loss among the OUT models' losses, ties counting half. (The paper
       interpolates their distribution function; ours are shares of OUT models.)

    The score is 1 - p for vulnerable records and -1 - p for all others: every vulnerable record comes first, and the
    paper's verdict "member" at level a is a score of 1 - a or more. Both numbers of step 1 depend on the data and the
    defaults are ours.

    >>> import numpy as np
    >>> phi = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    >>> logits = np.array([[[2.0, 0.0], [4.0, 0.1], [0.0, 1.0]]] * 3)  # the third is far from the others
    >>> Long(neighbours=0.4).score(phi[1] + 3, phi, phi > 1, logits=(None, logits)).tolist()  # 1 record IN a model
    [-1.0, -1.0, 1.0]
    """

    radius: float = 0.1
    neighbours: float = 10.0
    references: int = 1000

    signals: ClassVar[tuple[str, ...]] = ("phi", "logits")

    def __post_init__(self) -> None:
        if not 0 < self.radius < 2:
            raise ValueError(f"radius={self.radius}; give a cosine distance between 0 and 2.")
        if not self.neighbours >= 0:
            raise ValueError(f"neighbours={self.neighbours}; give a number of records of at least 0.")
        if self.references < 2:
            raise ValueError(f"references={self.references}; count among at least 2 records.")

    @property
    def name(self) -> str:
        """What reports call the attack, with what is not the default."""
        radius = f", radius {self.radius:g}" if self.radius != Long.radius else ""
        return f"Long{radius}" + (f", {self.neighbours:g} neighbours" if self.neighbours != Long.neighbours else "")

    def score(self, target: Any, shadow: Any, in_mask: Any, *, logits: tuple[Any, Any]) -> Any:
        """Scores [records] in [-2, 1].

        Args:
            target: phi [records(, queries)].
            shadow: phi [models, records(, queries)].
            in_mask: [models, records] bool.
            logits: (the target's, which are not looked at, the shadows' [models, records(, queries), classes]); the
                first query counts.

        Raises:
            ValueError: shapes or dtypes that do not fit; signals that are not finite.
        """
        target, shadow = with_queries("target", target, 1), with_queries("shadow", shadow, 2)
        features = _first_query(logits[1])
        share = out_percentile(target, shadow, in_mask)
        scores = self._verdict(share, features, in_mask, leave_one_out=False)
        explain_nan(scores, target=target, shadow=shadow, logits=features)
        return scores

    def score_all(self, shadow: Any, in_mask: Any, *, logits: Any) -> Any:
        """Scores [models, records], every model in turn the target; balanced masks are kept balanced as in LiRA.

        ``logits`` [models, records(, queries), classes].
        """
        shadow, features = with_queries("shadow", shadow, 2), _first_query(logits)
        share = out_percentile(None, shadow, in_mask)
        scores = self._verdict(share, features, in_mask, leave_one_out=True)
        explain_nan(scores, shadow=shadow, logits=features)
        return scores

    def _verdict(self, share: Any, features: Any, in_mask: Any, *, leave_one_out: bool) -> Any:
        near = neighbour_share(features, radius=self.radius, references=self.references, leave_one_out=leave_one_out)
        sizes = in_mask.sum(-1)[:, None] / 1.0
        trained_on = (sizes.sum() - sizes) / (len(sizes) - 1) if leave_one_out else float(sizes.mean())
        return share - 2 * (near * trained_on > self.neighbours) + 0 * near  # 0 · NaN is NaN


def _first_query(logits: Any) -> Any:
    """[models, records, classes] of logits with or without queries."""
    if getattr(logits, "ndim", 0) not in (3, 4):
        raise ValueError(
            f"logits has shape {getattr(logits, 'shape', ())}; give the shadows' [models, records(, queries), classes]."
        )
    return logits[:, :, 0] if logits.ndim == 4 else logits
