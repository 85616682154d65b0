"""Random changes to training images: functions of (seed, model index, step) like everything else."""

from __future__ import annotations

import numpy as np
import torch

from miafast.shadow.random import stream, uniform
from miafast.tables import Array

SHIFT = 4  # pixels each way at most


class Augment:
    """The augmentations of one model, batch after batch."""

    def __init__(self, names: tuple[str, ...], *, seed: int, model: int) -> None:
        self._names = names
        self._bits = stream(seed, model, "augmentation")

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images [batch, channels, height, width], each mirrored or moved by chance; edges reflect, as in queries."""
        chosen = torch.as_tensor(self.draw(len(images)), device=images.device)
        return augmented(images, chosen, self._names)

    def draw(self, batch: int) -> Array:
        """What happens to the next batch, int64 [batch, 3]: whether mirrored, and the corner, down and right."""
        chosen = np.zeros((batch, 3), np.int64)
        if "mirror" in self._names:
            chosen[:, 0] = self._choices(batch, 2)
        if "shift" in self._names:
            chosen[:, 1:] = self._choices(2 * batch, 2 * SHIFT + 1).reshape(2, -1).T
        return chosen

    def _choices(self, size: int, among: int) -> Array:
        return (uniform(self._bits, size) * among).astype(np.int64)


def augmented(images: torch.Tensor, chosen: torch.Tensor, names: tuple[str, ...]) -> torch.Tensor:
    """Images changed as `Augment.draw` chose, on their device."""
    if "mirror" in names:
        images = torch.where(chosen[:, 0].bool().view(-1, 1, 1, 1), images.flip(-1), images)
    return _shifted(images, chosen[:, 1:]) if "shift" in names else images


def _shifted(images: torch.Tensor, corner: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[-2:]
    padded = torch.nn.functional.pad(images, (SHIFT,) * 4, mode="reflect")
    place = torch.arange(len(images), device=images.device)
    down, right = corner.unbind(1)
    rows = (down[:, None] + torch.arange(height, device=images.device))[:, :, None]
    columns = (right[:, None] + torch.arange(width, device=images.device))[:, None, :]
    moved: torch.Tensor = padded.permute(0, 2, 3, 1)[place[:, None, None], rows, columns].permute(0, 3, 1, 2)
    return moved
