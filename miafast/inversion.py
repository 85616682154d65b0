"""MI-Face: what an input of each class looks like, reconstructed from a model's answers and gradients alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from miafast.tables import Array, Records

Model = Callable[[torch.Tensor], torch.Tensor]  # [batch, ...] -> logits [batch, classes], with gradients


@dataclass(frozen=True, eq=False)
class Inversion:
    """The best input found for every class. Made by `invert`."""

    x: Array  # [classes asked, ...] float32, as the model is fed
    labels: Array  # [classes asked] int64
    cost: Array  # [classes asked] float32, of x
    steps: Array  # [classes asked] int64, taken until the rule that stopped the class
    stopped: tuple[str, ...]  # [classes asked] "cost reached", "no progress" or "out of steps"

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.labels) == len(self.cost) == len(self.steps) == len(self.stopped):
            raise ValueError("x, labels, cost, steps and stopped must have one entry per class asked.")

    def save_picture(self, path: str | Path, records: Records) -> Path:
        """Draw every reconstruction below the mean of its class in ``records`` as a PNG, and return the path.

        Raises ValueError for inputs that are no images (1 or 3 channels, or [height, width]).
        """
        from miafast.report.reconstructions import draw

        path = Path(path)
        path.write_bytes(draw(self.x, *self._beside(records)))
        return path

    def section(self, records: Records, success: Success | None = None) -> str:
        """An HTML section with the picture inside, to stand in a report: no script, no request."""
        from miafast.report.reconstructions import section

        facts = {} if success is None else success.facts()
        return section(self.x, *self._beside(records), facts=facts)

    def _beside(self, records: Records) -> tuple[Array, tuple[str, ...]]:
        means = class_means(records)[self.labels]
        names = records.class_names or tuple(str(each) for each in range(records.classes))
        return means, tuple(names[label] for label in self.labels)


@dataclass(frozen=True)
class Success:
    """How well reconstructions show their class, judged by a model that had no part in making them."""

    accuracy: float  # share of reconstructions that the judge takes for their class; 1 / classes is guessing
    confidence: float  # the judge's mean probability of the right class
    feature_distance: float  # mean distance to the own class's mean features, in units of the mean to other classes'
    nearest: float  # share whose nearest class mean, in features, is their own
    classes: int

    def facts(self) -> dict[str, str]:
        """What a report says of it, in words."""
        return {
            "recognised by an independent classifier": f"{self.accuracy:.0%} (guessing: {1 / self.classes:.0%})",
            "its mean probability of the right class": f"{self.confidence:.2f}",
            "distance to the own class mean, others being 1": f"{self.feature_distance:.2f}",
            "nearest class mean is the own": f"{self.nearest:.0%} (guessing: {1 / self.classes:.0%})",
        }


def invert(
    model: Model, shape: tuple[int, ...], *, classes: int | Array, rate: float = 0.1, momentum: float = 0.0,
    steps: int = 5000, patience: int = 100, enough: float = 0.01, start: Array | None = None,
    process: Callable[[torch.Tensor], torch.Tensor] | None = None,
    aux: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> Inversion:  # fmt: skip
    """Descend the cost 1 - p_label(x) + aux(x) from a blank input, for all classes at once in a batch.

    A class stops when its cost is at most ``enough`` (γ), or no lower than the highest of the last ``patience`` (β)
    costs; its best input is returned. Classes that stopped leave the batch, so none depends on another.

    Args:
        model: from float32 inputs [batch, ...] to logits [batch, classes], with gradients: an nn.Module (it is put into
            evaluation mode), or a function, such as ``lambda x: models.forward(x)[0]`` of trained `shadow.Models`.
        shape: the shape of one input.
        classes: how many there are, or the class indices to invert.
        rate, momentum: step size λ > 0, and the share in [0, 1) of the last step that is added to the next.
        steps: α, the most steps to take.
        start: the input to start from, of ``shape`` or [classes, *shape]; by default zeros.
        process: what is done to the inputs [batch, ...] after each step; see `within` and `smoothed`.
        aux: what is known besides, as a cost per input: [batch, ...] -> [batch].

    Raises ValueError for options out of range, and for answers that are no finite logits or have no gradient.

    Source: Fredrikson, Jha, Ristenpart 2015, "Model Inversion Attacks that Exploit Confidence Information and Basic
    Countermeasures", Algorithm 1 (MI-Face), with their α, β, γ and λ as defaults.

    >>> linear = lambda x: x @ torch.tensor([[2.0, -2.0], [-2.0, 2.0]])
    >>> found = invert(linear, (2,), classes=2, rate=1.0)
    >>> found.stopped, (found.x > 0).tolist()
    (('cost reached', 'cost reached'), [[True, False], [False, True]])
    """
    labels = _checked(classes, rate=rate, momentum=momentum, steps=steps, patience=patience)
    if isinstance(model, nn.Module):
        model = model.eval()
    x = _start(start, shape, len(labels))
    asked = torch.as_tensor(labels)
    active = torch.arange(len(labels))
    velocity = torch.zeros_like(x)
    best, best_cost = x.clone(), torch.full((len(labels),), torch.inf)
    history = torch.full((len(labels), patience), torch.inf)
    taken, stopped = np.full(len(labels), steps), ["out of steps"] * len(labels)
    cost, gradient = _cost(model, x, asked, aux)
    best_cost[:], history[:, 0] = cost, cost
    for step in range(1, steps + 1):
        velocity[active] = momentum * velocity[active] - rate * gradient
        moved = x[active] + velocity[active]
        x[active] = moved if process is None else process(moved)
        cost, gradient = _cost(model, x[active], asked[active], aux)
        lower = cost < best_cost[active]
        best[active[lower]], best_cost[active[lower]] = x[active[lower]], cost[lower]
        reached = cost <= enough
        stuck = cost >= history[active].amax(dim=1)
        history[active, step % patience] = cost
        for rule, ended in (("no progress", stuck), ("cost reached", reached)):
            for place in active[ended].tolist():
                taken[place], stopped[place] = step, rule
        going = ~(reached | stuck)
        active, gradient = active[going], gradient[going]
        if not len(active):
            break
    return Inversion(best.numpy(), labels, best_cost.numpy(), taken.astype(np.int64), tuple(stopped))


def within(low: float, high: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A process step that keeps inputs in the range that inputs have.

    >>> within(0.0, 1.0)(torch.tensor([-1.0, 0.5, 2.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return lambda x: x.clamp(low, high)


def smoothed(strength: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A process step that moves every pixel of images [batch, channels, height, width] towards its 3 × 3 mean.

    ``strength`` in [0, 1]: 0 leaves images alone, 1 replaces them by the mean. It stands where the paper has its
    denoising: what adversarial noise would add at one step is blurred away in the next.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength}; give a share between 0 and 1.")

    def process(x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 4:
            raise ValueError(f"smoothed needs images [batch, channels, height, width]; got {list(x.shape)}.")
        mean = nn.functional.avg_pool2d(nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return torch.lerp(x, mean, strength)

    return process


def judge(
    found: Inversion, model: Model, records: Records, *, features: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> Success:
    """Ask an independent classifier what the reconstructions show.

    Args:
        model: trained on other records than the inverted one, inputs to logits.
        records: labelled records that the reconstructions are compared with; better not the inverted model's.
        features: inputs [batch, ...] to features [batch, width]; by default what enters the model's last nn.Linear, or
            its logits where it is no module.

    Raises ValueError where a class asked for has no record.
    """
    if isinstance(model, nn.Module):
        model = model.eval()
    of = features or _last_features(model)
    with torch.no_grad():
        x = torch.as_tensor(found.x)
        probability = model(x).softmax(dim=-1).numpy()
        measured = of(x).flatten(1).numpy()
        inside = of(torch.as_tensor(records.inputs())).flatten(1).numpy()
    present = np.unique(records.y)
    if missing := sorted(set(found.labels.tolist()) - set(present.tolist())):
        raise ValueError(f"records holds no record of class {missing[0]}; give some of every class inverted.")
    means = np.stack([inside[records.y == label].mean(axis=0) for label in present])
    distance = np.linalg.norm(measured[:, None] - means[None], axis=-1)
    own = present[None, :] == found.labels[:, None]
    others = np.where(own, 0, distance).sum(axis=1) / (~own).sum(axis=1)
    return Success(
        accuracy=float((probability.argmax(axis=1) == found.labels).mean()),
        confidence=float(np.take_along_axis(probability, found.labels[:, None], axis=1).mean()),
        feature_distance=float((distance[own] / others).mean()),
        nearest=float((present[distance.argmin(axis=1)] == found.labels).mean()),
        classes=records.classes,
    )


def class_means(records: Records) -> Array:
    """[classes, ...] float32: the mean input of every class, zeros for a class without records.

    >>> class_means(Records(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 1]), classes=2)).tolist()
    [[2.0], [5.0]]
    """
    x = records.inputs()
    means = np.zeros((records.classes, *records.shape), np.float32)
    for label in np.unique(records.y):
        means[label] = x[records.y == label].mean(axis=0)
    return means


def _cost(
    model: Model, x: torch.Tensor, labels: torch.Tensor, aux: Callable[[torch.Tensor], torch.Tensor] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cost [batch] and its gradient [batch, ...]; inputs of a batch do not touch each other."""
    x = x.detach().requires_grad_()
    logits = model(x)
    if logits.ndim != 2 or len(logits) != len(x) or int(labels.max()) >= logits.shape[1]:
        raise ValueError(f"model answered {list(logits.shape)} to {len(x)} inputs; give logits [batch, classes].")
    if not logits.requires_grad:
        raise ValueError(
            "model's answer has no gradient; give an nn.Module, or a function that torch can differentiate."
        )
    cost = 1 - logits.softmax(dim=-1).gather(1, labels[:, None])[:, 0]
    if aux is not None:
        cost = cost + aux(x)
    if not bool(torch.isfinite(cost).all()):
        raise ValueError(
            "model answered NaN or infinite logits on the way; lower rate, or keep inputs `within` a range."
        )
    (gradient,) = torch.autograd.grad(cost.sum(), x)
    return cost.detach(), gradient


def _last_features(model: Model) -> Callable[[torch.Tensor], torch.Tensor]:
    """What enters the last nn.Linear of a module; the logits of anything else."""
    layers = [each for each in model.modules() if isinstance(each, nn.Linear)] if isinstance(model, nn.Module) else []
    if not layers:
        return model

    def features(x: torch.Tensor) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        hook = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            model(x)
        finally:
            hook.remove()
        return seen[-1]

    return features


def _checked(classes: int | Array, *, rate: float, momentum: float, steps: int, patience: int) -> Array:
    labels = np.arange(classes) if isinstance(classes, int) else np.asarray(classes)
    if labels.ndim != 1 or not labels.size or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ValueError(f"classes={classes!r}; give how many there are (at least 1), or their indices.")
    if not (rate > 0 and np.isfinite(rate)):
        raise ValueError(f"rate={rate}; give a step size greater than 0.")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum}; give a share of at least 0 and below 1.")
    for name, value in (("steps", steps), ("patience", patience)):
        if value < 1:
            raise ValueError(f"{name}={value}; give at least 1.")
    return labels.astype(np.int64)


def _start(start: Array | None, shape: tuple[int, ...], count: int) -> torch.Tensor:
    given = np.zeros(shape, np.float32) if start is None else np.asarray(start, np.float32)
    if given.shape not in (tuple(shape), (count, *shape)):
        raise ValueError(f"start has shape {given.shape}; give {tuple(shape)} or {(count, *shape)}.")
    return torch.as_tensor(np.broadcast_to(given, (count, *shape)).copy())
