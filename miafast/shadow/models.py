"""`Models`: trained models that answer together, however they were trained; `wrap` makes one of a user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from miafast.measurements import refuse_probabilities
from miafast.ops.linear_confidence import Confidence
from miafast.ops.logit_confidence import logit_confidence
from miafast.shadow.resident import Resident
from miafast.tables import Array, Records

#: Probabilities are floored here before the logarithm, so that phi stays finite.
SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True, eq=False)
class Models:
    """``count`` trained models. ``how`` says in words how they were trained, for reports."""

    count: int
    how: str
    names: tuple[str, ...]  # [models] what error messages call them
    classes: int | None  # expected, where known
    forward: Callable[[torch.Tensor], torch.Tensor]  # [batch, ...] -> [models, batch, classes]
    device: str = "cpu"
    #: From x [batch, ...] and labels straight to what `confidence` gives, where there is such a way.
    fused: Callable[[Any, Any], Confidence] | None = None
    #: The models themselves, each its own module, where they are modules.
    modules: Callable[[], list[nn.Module]] | None = None

    @property
    def keeps_logits(self) -> bool:
        """Whether `confidence` needs room for the logits of all models."""
        return self.fused is None

    def reader(self, records: Records) -> Callable[[slice], tuple[Any, Any]]:
        """From rows of records to their inputs, float32 [batch, ...], and labels [batch], where the models are.

        NumPy arrays on the processor; on a device all records are brought there once, and batches are tensors.
        """
        if self.device == "cpu":
            return lambda rows: (records.inputs(rows), records.y[rows])
        data = Resident(records, self.device)

        def read(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
            return data.inputs(torch.arange(rows.start, rows.stop, device=data.device)), data.y[rows]

        return read

    def confidence(self, x: Any, labels: Any) -> Confidence:
        """phi float32 and who is right, [models, batch] each, for float32 x [batch, ...] and labels [batch].

        Arrays of `reader`'s kind in, tensors on the models' device out. Multilayer perceptrons get there without
        logits, and then NaN or infinite phi is not refused; all others answer `logits`, and raise as it does.
        """
        if self.fused is not None:
            return Confidence(*map(torch.as_tensor, self.fused(x, labels)))
        logits = self.logits(x)
        labels = torch.as_tensor(labels, device=logits.device)
        return Confidence(logit_confidence(logits, labels), logits.argmax(dim=-1) == labels)

    def answering(self, change: Callable[[Array], Array] | None) -> Models:
        """The same models behind an output defence: everything asked of them sees ``change(logits)``.

        ``change`` takes and gives NumPy logits [models, batch, classes]; logits of models on a device pass through
        the processor. None changes nothing. Who reads ``modules`` is not kept out by it.
        """
        if change is None:
            return self

        def forward(x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(change(self.logits(x).cpu().numpy()), device=self.device)

        return replace(self, how=f"{self.how}, defended", forward=forward, fused=None)

    def logits(self, x: Any) -> torch.Tensor:
        """float32 [models, batch, classes] in evaluation mode, without gradients, for float32 x [batch, ...].

        Raises ValueError, naming the model, for logits of another shape or that are NaN or infinite.
        """
        batch = torch.as_tensor(x, dtype=torch.float32, device=self.device)
        with torch.inference_mode():
            out = self.forward(batch)
        finite = torch.isfinite(out.sum(dim=(1, 2)))
        if not bool(finite.all()):
            bad = int((~torch.isfinite(out)).flatten(1).any(dim=1).to(torch.int8).argmax())
            if not bool(torch.isfinite(out[bad]).all()):
                raise ValueError(
                    f"{self.names[bad]} answered NaN or infinite logits; did its training diverge? Lower the learning "
                    "rate or check the model."
                )
        return out


def wrap(
    model: Any, *, name: str = "the target model", classes: int | None = None, how: str = "given",
    dtype: str = "float32",
) -> Models:  # fmt: skip
    """One trained model of any common kind as `Models`.

    ``model`` is an `nn.Module`, another callable (a float32 tensor [batch, ...] to logits [batch, classes]; NumPy or
    tensor) or an object with ``predict_proba`` (called with a NumPy array; logits are the logarithms of what it
    answers, floored at 1e-12; classes that its ``classes_`` lacks, because no record of its training had them, are at
    the floor). A module is put into evaluation mode; with ``dtype="bfloat16"`` it multiplies matrices in bfloat16.

    Raises TypeError for anything else; `Models.logits` refuses answers of a wrong shape, and probabilities.

    >>> import numpy as np
    >>> wrap(lambda x: x * 2.0).logits(np.ones((3, 4), np.float32)).shape
    torch.Size([1, 3, 4])
    """
    answer = _answer(model, name, classes, dtype)

    def forward(x: torch.Tensor) -> torch.Tensor:
        logits = checked_logits(answer(x), len(x), classes, name, "cpu")
        refuse_probabilities(name, logits)
        return logits[None]

    modules = (lambda: [model]) if isinstance(model, nn.Module) else None
    return Models(1, how, (name,), classes, forward, modules=modules)


def join(parts: Sequence[Models], *, how: str) -> Models:
    """Several `Models` as one, in order."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([each.forward(x) for each in parts])

    names = tuple(name for each in parts for name in each.names)
    inside = [each.modules for each in parts if each.modules is not None]
    modules = (lambda: [module for each in inside for module in each()]) if len(inside) == len(parts) else None
    return Models(len(names), how, names, parts[0].classes, forward, parts[0].device, modules=modules)


def _answer(model: Any, name: str, classes: int | None, dtype: str) -> Callable[[torch.Tensor], Any]:
    if isinstance(model, nn.Module):
        module = model.eval()
        place = next((each.device for each in module.parameters()), torch.device("cpu"))

        def answer(x: torch.Tensor) -> Any:
            with torch.autocast(place.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext():
                return module(x.to(place))

        return answer
    if hasattr(model, "predict_proba"):
        return lambda x: _probabilities(model, x.cpu().numpy(), classes).clamp_min(SMALLEST_PROBABILITY).log()
    if callable(model):
        return lambda x: model(x)
    raise TypeError(
        f"{name} is {type(model).__name__}; give an nn.Module, a callable from inputs to logits [batch, classes], or "
        "an object with predict_proba."
    )


def _probabilities(model: Any, x: Array, classes: int | None) -> torch.Tensor:
    """What ``predict_proba`` answers, in the columns of all classes: scikit-learn has those alone that it has seen."""
    found = torch.as_tensor(model.predict_proba(x))
    seen = np.asarray(getattr(model, "classes_", ()))
    if classes is None or seen.dtype.kind not in "iu" or found.shape[1:] != seen.shape:
        return found
    if not np.isin(seen, np.arange(classes)).all():
        return found
    every = found.new_zeros(len(found), classes)
    every[:, torch.as_tensor(seen)] = found
    return every


def checked_logits(logits: Any, batch: int, classes: int | None, name: str, device: str) -> torch.Tensor:
    """Logits as float32 [batch, classes] on the device; raises, naming the model, for anything else."""
    try:
        out = torch.as_tensor(logits)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} answered {type(logits).__name__}; it must answer logits [batch, classes].") from None
    wanted = f"[batch, classes] = [{batch}, {classes or 'at least 2'}]"
    if out.ndim != 2 or len(out) != batch or (out.shape[1] != classes if classes else out.shape[1] < 2):
        raise ValueError(f"{name} answered logits of shape {list(out.shape)}; they must be {wanted}.")
    return out.detach().to(device, torch.float32)
