"""Plain PyTorch, one model at a time and without a DataLoader: what stacked training is measured against."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from miafast import Recipe, Records
from miafast.tables import Array


def train_one(
    records: Records, in_row: Array, recipe: Recipe, *, seed: int, fused: bool = False, device: str = "cpu"
) -> nn.Module:
    """An MLP trained by the recipe's Adam on shuffled index batches of the model's IN records."""
    torch.manual_seed(seed)
    x = torch.from_numpy(records.inputs().reshape(len(records), -1)).to(device)
    y = torch.from_numpy(records.y).to(device)
    model = mlp(x.shape[1], recipe.hidden, records.classes).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, fused=fused)
    own = torch.from_numpy(np.flatnonzero(in_row))
    steps = round(recipe.epochs * len(own) / recipe.batch_size)
    epochs = -(-steps * recipe.batch_size // len(own))
    order = torch.cat([own[torch.randperm(len(own))] for _ in range(epochs)]).to(device)
    for batch in order[: steps * recipe.batch_size].split(recipe.batch_size):
        optimiser.zero_grad()
        functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimiser.step()
    return model.eval()


def accuracy(model: nn.Module, records: Records, in_row: Array) -> tuple[float, float]:
    """Share of right predictions on the model's IN records, and on its OUT records."""
    place = next(model.parameters()).device
    with torch.no_grad():
        logits = model(torch.from_numpy(records.inputs().reshape(len(records), -1)).to(place))
    right = logits.argmax(1).cpu().numpy() == records.y
    return float(right[in_row].mean()), float(right[~in_row].mean())


def mlp(features: int, hidden: tuple[int, ...], classes: int) -> nn.Sequential:
    """Linear layers with ReLU between them, freshly initialised."""
    sizes = (features, *hidden)
    layers: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], classes))
