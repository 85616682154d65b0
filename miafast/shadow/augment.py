"""Random changes to training images: functions of (seed, model index, step) like everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from miafast.shadow.random import Array, stream, uniform

SHIFT = 4  # pixels each way at most


class Augment:
    """The augmentations of one model, batch after batch."""

    def __init__(self, names: tuple[str, ...], *, seed: int, model: int) -> None:
        self._names = names
        self._bits = stream(seed, model, "augmentation")

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images [batch, channels, height, width], each mirrored or moved by chance; edges reflect, as in queries."""
        if "mirror" in self._names:
            flipped = self._choices(len(images), 2).astype(bool)
            images = torch.where(_per_image(flipped, images), images.flip(-1), images)
        if "shift" in self._names:
            images = _shifted(images, self._choices(2 * len(images), 2 * SHIFT + 1).reshape(2, -1))
        return images

    def _choices(self, size: int, among: int) -> Array:
        return (uniform(self._bits, size) * among).astype(np.int64)


def _shifted(images: torch.Tensor, corner: Array) -> torch.Tensor:
    height, width = images.shape[-2:]
    padded = torch.nn.functional.pad(images, (SHIFT,) * 4, mode="reflect")
    place = torch.arange(len(images), device=images.device)
    down, right = torch.as_tensor(corner, device=images.device)
    rows = (down[:, None] + torch.arange(height, device=images.device))[:, :, None]
    columns = (right[:, None] + torch.arange(width, device=images.device))[:, None, :]
    moved: torch.Tensor = padded.permute(0, 2, 3, 1)[place[:, None, None], rows, columns].permute(0, 3, 1, 2)
    return moved


def _per_image(values: Any, images: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(values, device=images.device).reshape(-1, *(1,) * (images.ndim - 1))
