"""Model inversion as one call: train on one half of the records, reconstruct every class, let the other half judge."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from miafast.inversion import Inversion, Success, invert, judge, smoothed, within
from miafast.report.files import all_or_nothing
from miafast.report.findings import findings_page
from miafast.report.plain import as_json, plain
from miafast.shadow import Recipe, recipe_for, train
from miafast.shadow.random import permutation, stream
from miafast.tables import Records

READING = (
    "Recognised is the share of reconstructions that a classifier trained on other records takes for their class; "
    "guessing is one in the number of classes.",
    "It shows what a class has in common, not a training record: it tells about a person only where a class is one.",
    "A high share beside a picture that shows nothing means that the two models look for the same traces, no more.",
)


@dataclass(frozen=True, eq=False)
class InversionReport:
    """Reconstructions of every class, and how well they show it. Made by `audit_inversion`."""

    found: Inversion
    success: Success
    others: Records  # the half that the judge was trained on
    recipe: Recipe
    seed: int

    @property
    def headline(self) -> str:
        return (
            f"{self.success.accuracy:.0%} of {len(self.found.labels)} reconstructed classes are recognised by an "
            f"independent classifier (guessing: {1 / self.success.classes:.0%})."
        )

    def __str__(self) -> str:
        facts = self.success.facts()
        width = max(len(name) for name in facts)
        return "\n".join([*(f"{name.ljust(width)}  {value}" for name, value in facts.items()), "", self.headline])

    def save(self, folder: str | Path) -> Path:
        """Write inversion.html, inversion.json, reconstructions.npz and, for images, inversion.png; all or none."""
        images = len(self.others.shape) in (2, 3)
        facts = {
            "schema": "miafast/inversion/1", "headline": self.headline, "success": asdict(self.success),
            "labels": self.found.labels, "cost": self.found.cost, "steps": self.found.steps,
            "stopped": self.found.stopped, "records": self.others.name, "recipe": self.recipe.describe(),
            "seed": self.seed,
        }  # fmt: skip
        page = findings_page(
            kicker="Model inversion", title=self.others.name, headline=self.headline, reading=READING,
            pictures=self.found.section(self.others, self.success) if images else "",
            made={**({} if images else self.success.facts()), "recipe": repr(self.recipe), "seed": self.seed},
        )  # fmt: skip
        with all_or_nothing(Path(folder)) as temporary:
            temporary("inversion.html").write_text(page, encoding="utf-8")
            temporary("inversion.json").write_text(as_json(plain(facts)), encoding="utf-8")
            with temporary("reconstructions.npz").open("wb") as file:
                np.savez(file, x=self.found.x, labels=self.found.labels)
            if images:
                self.found.save_picture(temporary("inversion.png"), self.others)
        return Path(folder)


def audit_inversion(
    records: Records, recipe: Recipe | None = None, *, rate: float = 0.1, momentum: float = 0.9, steps: int = 5000,
    smooth: float = 0.0, seed: int = 0,
) -> InversionReport:  # fmt: skip
    """Invert a model trained on a random half of the records; a second model, trained on the rest, judges.

    Args:
        recipe: how both are trained; by default what fits the records.
        rate, momentum, steps: as for `invert`. Inputs are kept between the smallest and the largest of the records'.
        smooth: in [0, 1], for images: see `smoothed`.
        seed: of the halves and the models.

    Raises ValueError as `invert` and `judge` do, and for images to be smoothed that are none.

    >>> import miafast as mf
    >>> random = np.random.default_rng(0)
    >>> blobs = mf.Records(random.normal(size=(80, 2)) + 4 * np.eye(2)[np.arange(80) % 2], np.arange(80) % 2, classes=2)
    >>> recipe = mf.Recipe(model="logistic", epochs=50, batch_size=8, learning_rate=0.05)
    >>> audit_inversion(blobs, recipe).success.accuracy
    1.0
    """
    recipe = recipe_for(records) if recipe is None else recipe
    if smooth and len(records.shape) != 3:
        raise ValueError(f"smooth={smooth} needs images [channels, height, width]; inputs have shape {records.shape}.")
    first = permutation(stream(seed, 0, "halves"), len(records)) % 2 == 0
    models = train(recipe, records, np.stack([first, ~first]), models=[0, 1], seed=seed)
    inputs = records.inputs()
    clip, blur = within(float(inputs.min()), float(inputs.max())), smoothed(smooth) if smooth else None

    def process(x: torch.Tensor) -> torch.Tensor:
        return clip(x if blur is None else blur(x))

    found = invert(
        lambda x: models.forward(x)[0], records.shape, classes=records.classes, rate=rate, momentum=momentum,
        steps=steps, process=process,
    )  # fmt: skip
    others = records.only(~first)
    return InversionReport(found, judge(found, lambda x: models.forward(x)[1], others), others, recipe, seed)
