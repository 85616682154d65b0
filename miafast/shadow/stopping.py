"""Early stopping on held-out members, as a train function."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from miafast.shadow.batches import batch_size_for, steps_for
from miafast.shadow.modules import torch_seeded
from miafast.shadow.random import permutation, stream
from miafast.shadow.recipe import Recipe
from miafast.shadow.resident import Resident
from miafast.shadow.single import Place, fresh
from miafast.tables import Array, Records

#: The share of the IN records that is not trained on but watched.
HELD_OUT = 0.1


def train_until_worse(records: Records, in_indices: Array, seed: int, *, recipe: Recipe, patience: int) -> nn.Module:
    """One model by the recipe until the loss on held-out IN records has not fallen for ``patience`` epochs.

    The weights of the best epoch are kept. Learning rates follow the schedule of all epochs. With fewer than 2 IN
    records there is nothing to hold out and training runs to its end. It trains on the processor, one model at a time.

    Source: Prechelt 1998, "Early stopping - but when?".
    """
    order = in_indices[permutation(stream(seed, 0, "held out"), len(in_indices))]
    watched = min(max(1, round(HELD_OUT * len(order))), len(order) - 1)
    held_out, trained_on = torch.as_tensor(order[:watched]), order[watched:]
    data = Resident(records, "cpu")
    batch, last = batch_size_for(recipe, len(trained_on)), steps_for(recipe, len(trained_on))
    epoch = max(1, round(len(trained_on) / batch))
    with torch_seeded(0):  # the place seeds; this gives the caller's state back
        place = Place(recipe, data, fresh(recipe, records, seed=seed, model=0), batch=batch, steps=last)
        module = place.module
        best, waited, weights = math.inf, 0, copy.deepcopy(module.state_dict())
        for step, _ in enumerate(place.taken(trained_on, seed=seed, model=0), start=1):
            if step % epoch and step < last:
                continue
            loss = _loss(module, data, held_out)
            if loss < best or not watched:
                best, waited, weights = loss, 0, copy.deepcopy(module.state_dict())
            else:
                waited += 1
            if waited == patience:
                break
    module.load_state_dict(weights)
    return module.eval()


def _loss(module: nn.Module, data: Resident, rows: torch.Tensor) -> float:
    module.eval()
    with torch.inference_mode():
        loss = nn.functional.cross_entropy(module(data.inputs(rows)).float(), data.y[rows])
    module.train()
    return float(loss)
