"""Morgan of Jayaraman et al.: Merlin, for records whose loss lies in a window that is right for members."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from miafast.attacks.merlin import Merlin, check_noise
from miafast.attacks.shapes import with_queries
from miafast.attacks.unscored import explain_nan
from miafast.ops.higher_share import higher_share
from miafast.ops.loss_window import loss_window


@dataclass(frozen=True)
class Morgan:
    """Morgan of Jayaraman et al. (2021), "Revisiting membership inference under realistic assumptions".

    Member if low <= loss <= high and the Merlin ratio is at least a threshold: of records with the very lowest losses
    many are easy non-members. The score is the Merlin ratio for records whose loss lies in the window, and the ratio
    less 2 for all others, so that every record inside comes first.

    ``window``: (low, high), low <= loss < high, and no shadows are needed; or None: the window that, together with a
    least ratio, finds most of the shadows' members while a share ``fpr`` of their non-members is called members (see
    `loss_window`; the paper takes the thresholds with the best precision on data of its own). ``sigma``, ``copies``: as
    in `Merlin`.

    >>> import numpy as np
    >>> loss, noisy = np.array([1e-6, 0.1, 4.0]), np.array([[1.0, 0.0]] * 3)
    >>> Morgan(window=(0.01, 1.0)).score(loss, noisy_loss=(noisy, None))
    array([-1.5,  0.5, -2. ])
    """

    window: tuple[float, float] | None = None
    fpr: float = 0.01
    sigma: float = 0.01
    copies: int = 100

    def __post_init__(self) -> None:
        check_noise(self.sigma, self.copies)
        if not 0 < self.fpr < 1:
            raise ValueError(f"fpr={self.fpr}; give a rate between 0 and 1, both excluded.")
        if self.window is not None and not 0 <= self.window[0] < self.window[1] <= math.inf:
            raise ValueError(f"window={self.window}; give losses (low, high) with 0 <= low < high.")

    @property
    def name(self) -> str:
        """What reports call the attack, with what is not the default."""
        window = "" if self.window is None else f", loss {self.window[0]:g} to {self.window[1]:g}"
        return "Morgan" + window + (f", sigma {self.sigma:g}" if self.sigma != Merlin.sigma else "")

    @property
    def signals(self) -> tuple[str, ...]:
        """What is measured for the attack."""
        return ("loss", f"noisy_loss@{self.sigma:g}x{self.copies}")

    def score(self, target: Any, shadow: Any = None, in_mask: Any = None, *, noisy_loss: tuple[Any, Any]) -> Any:
        """Scores [records] in [-2, 1].

        Args:
            target: the loss [records(, queries)]; the first query counts.
            shadow, in_mask: losses [models, records(, queries)] and [models, records] bool, to find the window.
            noisy_loss: (the target's [records, copies], the shadows' [models, records, copies]).

        Raises:
            ValueError: shapes or dtypes that do not fit; signals that are not finite; no window and no shadows.
        """
        target = with_queries("target", target, 1)
        ratio = higher_share(target, noisy_loss[0])
        window = self.window
        if window is None:
            if shadow is None or in_mask is None:
                raise ValueError("shadow is missing; give shadows to find the loss window from, or window=(low, high).")
            shadow = with_queries("shadow", shadow, 2)
            of_shadow = higher_share(shadow, noisy_loss[1])
            explain_nan(of_shadow, shadow=shadow, noisy_loss=noisy_loss[1])
            low, high = loss_window(shadow[..., 0], of_shadow, in_mask, fpr=self.fpr, leave_one_out=False)
            window = (float(low), float(high))
        scores = _inside(ratio, target[..., 0], *window)
        explain_nan(scores, target=target, noisy_loss=noisy_loss[0])
        return scores

    def score_all(self, shadow: Any, in_mask: Any = None, *, noisy_loss: Any) -> Any:
        """Scores [models, records], every model in turn the target, its window found from the others; balanced masks
        are kept balanced as in LiRA. ``noisy_loss`` [models, records, copies]."""
        shadow = with_queries("shadow", shadow, 2)
        ratio = higher_share(shadow, noisy_loss)
        explain_nan(ratio, shadow=shadow, noisy_loss=noisy_loss)
        if self.window is not None:
            return _inside(ratio, shadow[..., 0], *self.window)
        windows = loss_window(shadow[..., 0], ratio, in_mask, fpr=self.fpr, leave_one_out=True)
        return _inside(ratio, shadow[..., 0], windows[:, :1], windows[:, 1:])


def _inside(ratio: Any, loss: Any, low: Any, high: Any) -> Any:
    return ratio - 2 * ((loss < low) | (loss >= high))
