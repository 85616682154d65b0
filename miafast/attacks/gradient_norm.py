"""Members' gradients are small: the one attack of an audit that looks inside the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from miafast.attacks.direct import mean_query
from miafast.tables import Array, Records


@dataclass(frozen=True)
class GradientNorm:
    """The score is minus the logarithm of the norm of the loss's gradient at a record, averaged over queries.

    ``layers`` are those whose parameters count, by their paths in the model (all by default). An audit measures the
    signal on every model; `signal` measures it on one. It is roughly Gaussian, so LiRA can read it in place of phi, on
    shadows measured alike: ``LiRA().score(target, shadow, in_mask)``. No shadow models are needed or looked at here.
    Nasr et al. (2019), Leino & Fredrikson (2020).

    >>> GradientNorm(layers=("fc1", "fc2")).signals
    ('gradient_norm@fc1,fc2',)
    >>> import numpy as np
    >>> GradientNorm().score(np.array([[0.5, 1.5], [3.0, 3.0]]))
    array([1., 3.])
    """

    layers: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return "gradient norm" + (f" of {', '.join(self.layers)}" if self.layers else "")

    @property
    def signals(self) -> tuple[str]:
        return ("gradient_norm" if self.layers is None else f"gradient_norm@{','.join(self.layers)}",)

    def signal(self, model: Any, records: Records) -> Array:
        """The signal of one `torch.nn.Module`, float32 [records]; raises what `mf.whitebox.gradient_norms` raises."""
        from miafast.gradient_norms import gradient_signal

        out: Array = gradient_signal(model, records.inputs(), records.y, layers=self.layers).numpy()
        return out

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None) -> Any:
        """Scores [records] of a target's signal [records(, queries)]. ValueError for other shapes, NaN or infinity."""
        return mean_query("target", target, axes=1)

    def score_all(self, shadow: Any, in_mask: Any = None) -> Any:
        """Scores [models, records] of every model's signal [models, records(, queries)]."""
        return mean_query("shadow", shadow, axes=2)
