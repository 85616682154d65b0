"""The commands of the other attacks: `miafast poison | invert | exposure | extract`. Thin, as `miafast.cli` is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import miafast as mf
from miafast.cli_options import (
    Data,
    DataDir,
    File,
    First,
    Label,
    Out,
    Part,
    Seed,
    Text,
    check_out,
    load,
    numbers,
    option,
    recipe_option,
)  # fmt: skip
from miafast.tables import Records

Hidden = Annotated[Text, recipe_option("Hidden layers of an mlp: 128 or 256,128.")]
LearningRate = Annotated[float | None, recipe_option("")]
Epochs = Annotated[float | None, recipe_option("")]
BatchSize = Annotated[int | None, recipe_option("")]
Schedule = Annotated[Text, recipe_option("constant, cosine, linear or step.")]

TextFile = Annotated[Path, typer.Option("--text", help="A text file in UTF-8 to train on.")]
Characters = Annotated[int | None, option("Use the first so many characters. [default: all]")]
Width = Annotated[int, option("Units of the small recurrent language model.")]
TextEpochs = Annotated[int, option("Passes over the text.")]


def poison(
    data: Data,
    out: Out = Path("report"),
    data_dir: DataDir = None,
    label: Label = None,
    part: Part = "all",
    records: First = None,
    targets: Annotated[int, option("How many records to expose, drawn at random.")] = 100,
    copies: Annotated[str, option("Poison records per target, a table line for each: 0,8.")] = "0,8",
    mislabel: Annotated[Text, option("Untargeted poison too: mislabelled records of the pool, such as 500.")] = None,
    shadows: Annotated[int, option("Shadow models to train at every dose.")] = 64,
    fpr: Annotated[float, option("The false-alarm rate of the table.")] = 1e-3,
    seed: Seed = 0,
    hidden: Hidden = None,
    learning_rate: LearningRate = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    schedule: Schedule = None,
    workdir: Annotated[File, option("Folder of the resumable runs. [default: OUT/run]")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Truth Serum: what mislabelled poison in the training set makes models give away of chosen records."""
    check_out(out)
    pool = load(data, data_dir=data_dir, label=label, part=part, records=records)
    recipe = _recipe(pool, hidden, learning_rate, epochs, batch_size, schedule)
    if not 1 <= targets <= len(pool):
        raise ValueError(f"--targets {targets} of {len(pool)} records; give at least 1 and at most all.")
    asked = np.random.default_rng(seed).choice(len(pool), targets, replace=False)
    doses = [mf.poison(pool, asked, copies=each, seed=seed) for each in numbers(copies, "--copies") or ()]
    doses += [mf.mislabel(pool, asked, count=each, seed=seed) for each in numbers(mislabel, "--mislabel") or ()]
    found = mf.truth_serum(
        doses, recipe, shadows=shadows, fpr=fpr, seed=seed, workdir=workdir or out / "run", progress=not quiet
    )  # fmt: skip
    found.save(out)
    print(f"{found}\n\nReport of every dose: {out / 'dose-0' / 'report.html'} …")


def invert(
    data: Data,
    out: Out = Path("report"),
    data_dir: DataDir = None,
    label: Label = None,
    part: Part = "all",
    records: First = None,
    shape: Annotated[Text, option("Flat inputs are images of this height and width: 8,8.")] = None,
    rate: Annotated[float, option("Size of a step of gradient descent.")] = 0.1,
    momentum: Annotated[float, option("Share of the last step that is added to the next.")] = 0.9,
    steps: Annotated[int, option("At most.")] = 5000,
    smooth: Annotated[float, option("0 to 1: how far every step blurs an image.")] = 0.0,
    seed: Seed = 0,
    hidden: Hidden = None,
    learning_rate: LearningRate = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    schedule: Schedule = None,
) -> None:
    """MI-Face: reconstruct what each class looks like from a model alone; a model of other records judges."""
    from miafast.inversion_report import audit_inversion

    check_out(out)
    pool = load(data, data_dir=data_dir, label=label, part=part, records=records)
    if shape is not None:
        pool = replace(pool, x=_images(pool, numbers(shape, "--shape") or ()))
    recipe = _recipe(pool, hidden, learning_rate, epochs, batch_size, schedule)
    found = audit_inversion(pool, recipe, rate=rate, momentum=momentum, steps=steps, smooth=smooth, seed=seed)
    found.save(out)
    print(f"{found}\nReport: {out / 'inversion.html'}")


def exposure(
    text: TextFile,
    canary: Annotated[str, option("What a secret looks like, # for every random digit: 'my pin is ####. '.")],
    out: Out = Path("report"),
    copies: Annotated[str, option("How often each canary, a secret of its own, is put into the text.")] = "0,1,10",
    characters: Characters = None,
    width: Width = 64,
    epochs: TextEpochs = 10,
    seed: Seed = 0,
) -> None:
    """Put secrets into a text, train a small language model on it, and measure how far it knows them, in bits."""
    from miafast.extraction.from_text import expose

    check_out(out)
    found = expose(
        _read(text, characters), canary, copies=numbers(copies, "--copies") or (), width=width, epochs=epochs, seed=seed
    )  # fmt: skip
    found.save(out)
    print(f"{found}\nReport: {out / 'exposure.html'}")


def extract(
    text: TextFile,
    out: Out = Path("report"),
    count: Annotated[int, option("Texts to generate.")] = 200,
    length: Annotated[int, option("Characters of each.")] = 200,
    run: Annotated[int, option("The shortest run of characters that counts as verbatim.")] = 30,
    prompt: Annotated[Text, option("What every text begins with. [default: a paragraph's or a line's end]")] = None,
    temperature: Annotated[float, option("Of sampling, after it has fallen.")] = 1.0,
    decay: Annotated[int, option("Over so many characters it falls, from 10; 0: not at all.")] = 20,
    characters: Characters = None,
    width: Width = 64,
    epochs: TextEpochs = 20,
    seed: Seed = 0,
) -> None:
    """Train a small language model on a text, let it write, and rank what is verbatim by six criteria."""
    from miafast.extraction.from_text import extract_from

    check_out(out)
    found = extract_from(
        _read(text, characters), count=count, length=length, run=run, prompt=prompt, temperature=temperature,
        decay=decay, width=width, epochs=epochs, seed=seed,
    )  # fmt: skip
    found.save(out)
    print(f"{found}\nReport: {out / 'extraction.html'}")


def _recipe(
    pool: Records, hidden: str | None, learning_rate: float | None, epochs: float | None, batch_size: int | None,
    schedule: str | None,
) -> mf.Recipe:  # fmt: skip
    from miafast.shadow import recipe_for

    given: dict[str, Any] = {
        "hidden": numbers(hidden, "--hidden"), "learning_rate": learning_rate, "epochs": epochs,
        "batch_size": batch_size, "schedule": schedule,
    }  # fmt: skip
    return replace(recipe_for(pool), **{name: value for name, value in given.items() if value is not None})


def _images(pool: Records, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[Any]]:
    """Inputs as grey images [records, 1, height, width]."""
    if len(shape) != 2 or int(np.prod(shape)) != int(np.prod(pool.shape)):
        raise ValueError(f"--shape {shape} does not hold inputs of shape {pool.shape}; give height,width of as many.")
    return pool.x.reshape(len(pool), 1, *shape)


def _read(path: Path, characters: int | None) -> str:
    try:
        return path.read_text(encoding="utf-8")[:characters]
    except UnicodeDecodeError:
        raise ValueError(f"--text {str(path)!r} is not UTF-8 text; convert it first.") from None
