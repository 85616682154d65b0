"""More commands: `miafast audit-dp | explain | poison | invert | exposure | extract`. Thin, as `miafast.cli` is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import miafast as mf
from miafast import cli_options as options
from miafast.canaries import KINDS
from miafast.cli_options import Text, numbers, one_of, option
from miafast.epsilon.lower_bound import METHODS
from miafast.shadow.private import MISTAKES
from miafast.tables import Records

TextFile = Annotated[Path, typer.Option("--text", help="A text file in UTF-8 to train on.")]
Characters = Annotated[int | None, option("Use the first so many characters. [default: all]")]
Width = Annotated[int, option("Units of the small recurrent language model.")]
TextEpochs = Annotated[int, option("Passes over the text.")]


def audit_dp(
    data: options.Data,
    out: options.Out = Path("report"),
    data_dir: options.DataDir = None,
    label: options.Label = None,
    part: options.Part = "all",
    records: options.First = None,
    epsilon: Annotated[float | None, option("The claim. [default: what an accountant says]")] = None,
    delta: Annotated[float, option("Of (epsilon, delta)-DP.")] = 1e-5,
    mode: Annotated[str, option("many-runs (with and without one canary) or one-run (many canaries).")] = "many-runs",
    canary: Annotated[Text, option(f"{one_of((*KINDS, 'gradient'))}. [default: fits the mode]")] = None,
    runs: Annotated[int, option("many-runs: models with the canary, and as many without.")] = 1000,
    canaries: Annotated[int, option("one-run: how many.")] = 1000,
    guesses: Annotated[int | None, option("one-run: on how many; the others abstain. [default: a fifth]")] = None,
    method: Annotated[Text, option(f"{one_of(METHODS)}. [default: fits the mode]")] = None,
    confidence: Annotated[float, option("That epsilon is not overstated.")] = 0.95,
    sees: Annotated[str, option("final or last-update: what is looked at of the models.")] = "final",
    seed: options.Seed = 0,
    hidden: Annotated[Text, option("Hidden layers: 32 or 64,32; none for logistic regression.")] = "32",
    learning_rate: Annotated[float, option("Of DP-SGD.")] = 0.5,
    steps: Annotated[int, option("Batches to train on.")] = 300,
    batch_size: Annotated[int, option("Expected records per Poisson batch.")] = 64,
    clip: Annotated[float, option("Length that gradients are clipped to.")] = 1.0,
    noise_multiplier: Annotated[float, option("Standard deviation of the noise over the clipping norm.")] = 1.0,
    mistake: Annotated[str, option(f"What to get wrong, to see it found: {one_of(MISTAKES)}.")] = "none",
) -> None:
    """Try to refute DP-SGD's privacy claim: train with and without canaries, and bound epsilon from below."""
    options.check_out(out)
    pool = options.load(data, data_dir=data_dir, label=label, part=part, records=records)
    recipe = mf.PrivateRecipe(
        hidden=() if hidden in (None, "none") else numbers(hidden, "--hidden") or (), learning_rate=learning_rate,
        steps=steps, batch_size=batch_size, clip=clip, noise_multiplier=noise_multiplier, mistake=mistake,
    )  # fmt: skip
    found = mf.audit_dp(
        pool, recipe, epsilon=epsilon, delta=delta, mode=mode, canary=canary, runs=runs, canaries=canaries,
        guesses=guesses, method=method, confidence=confidence, sees=sees, seed=seed,
    )  # fmt: skip
    found.save(out)
    print(found)
    print(f"\nReport: {out / 'dp.html'}")


def explain(
    record: Annotated[int, typer.Argument(help="Which record, counted from 0.")],
    data: options.Data,
    layer: Annotated[str, option("Where the model is cut; what follows is retrained without the record.")],
    out: options.Out = Path("report"),
    data_dir: options.DataDir = None,
    label: options.Label = None,
    part: options.Part = "all",
    standardise: options.Standardise = False,
    proxies: Annotated[int, option("How many to compare the target with.")] = 3,
    seed: options.Seed = 0,
    model: options.Model = None,
    hidden: options.Hidden = None,
    learning_rate: options.LearningRate = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    schedule: options.Schedule = None,
) -> None:
    """Draw what the inputs of one record do in a target, and in proxies that were not trained on the record.

    The target is trained on a random half of the records, the proxies on the other half.
    """
    from miafast.report.explanation import headline, save_explanation

    options.check_out(out)
    records = options.load(data, data_dir=data_dir, label=label, part=part, standardise=standardise)
    if not 0 <= record < len(records):
        raise ValueError(f"RECORD {record} is not there; {records.name} has records 0 … {len(records) - 1}.")
    given = {
        "model": model, "hidden": hidden, "learning_rate": learning_rate, "epochs": epochs, "batch_size": batch_size,
        "schedule": schedule,
    }  # fmt: skip
    recipe = options.recipe(records, given)
    target, is_member = mf.whitebox.drawn_target(recipe, records, seed=seed, layers=(layer,))
    mine = ~is_member
    mine[record] = False
    found = mf.whitebox.explain(
        target, records, record, recipe=recipe, layer=layer, mine=mine, proxies=proxies, seed=seed + 1
    )
    page = save_explanation(found, records, out, is_member=bool(is_member[record]))
    print(f"{headline(found, is_member=bool(is_member[record]))}\nPage: {page}")


def poison(
    data: options.Data,
    out: options.Out = Path("report"),
    data_dir: options.DataDir = None,
    label: options.Label = None,
    part: options.Part = "all",
    records: options.First = None,
    targets: Annotated[int, option("How many records to expose, drawn at random.")] = 100,
    copies: Annotated[str, option("Poison records per target, a table line for each: 0,8.")] = "0,8",
    mislabel: Annotated[Text, option("Untargeted poison too: mislabelled records of the pool, such as 500.")] = None,
    shadows: Annotated[int, option("Shadow models to train at every dose.")] = 64,
    fpr: Annotated[float, option("The false-alarm rate of the table.")] = 1e-3,
    seed: options.Seed = 0,
    hidden: options.Hidden = None,
    learning_rate: options.LearningRate = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    schedule: options.Schedule = None,
    workdir: options.Workdir = None,
    quiet: options.Quiet = False,
) -> None:
    """Truth Serum: what mislabelled poison in the training set makes models give away of chosen records."""
    options.check_out(out)
    pool = options.load(data, data_dir=data_dir, label=label, part=part, records=records)
    given = {
        "hidden": hidden, "learning_rate": learning_rate, "epochs": epochs, "batch_size": batch_size,
        "schedule": schedule,
    }  # fmt: skip
    recipe = options.recipe(pool, given)
    if not 1 <= targets <= len(pool):
        raise ValueError(f"--targets {targets} of {len(pool)} records; give at least 1 and at most all.")
    asked = np.random.default_rng(seed).choice(len(pool), targets, replace=False)
    doses = [mf.poison(pool, asked, copies=each, seed=seed) for each in numbers(copies, "--copies") or ()]
    doses += [mf.mislabel(pool, asked, count=each, seed=seed) for each in numbers(mislabel, "--mislabel") or ()]
    workdir = out / "run" if workdir is None else workdir
    with options.resumable(workdir):
        found = mf.truth_serum(
            doses, recipe, shadows=shadows, fpr=fpr, seed=seed, workdir=workdir, progress=not quiet
        )  # fmt: skip
    found.save(out)
    print(f"{found}\n\nReport of every dose: {out / 'dose-0' / 'report.html'} …")


def invert(
    data: options.Data,
    out: options.Out = Path("report"),
    data_dir: options.DataDir = None,
    label: options.Label = None,
    part: options.Part = "all",
    records: options.First = None,
    shape: Annotated[Text, option("Flat inputs are images of this height and width: 8,8.")] = None,
    rate: Annotated[float, option("Size of a step of gradient descent.")] = 0.1,
    momentum: Annotated[float, option("Share of the last step that is added to the next.")] = 0.9,
    steps: Annotated[int, option("At most.")] = 5000,
    smooth: Annotated[float, option("0 to 1: how far every step blurs an image.")] = 0.0,
    seed: options.Seed = 0,
    hidden: options.Hidden = None,
    learning_rate: options.LearningRate = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    schedule: options.Schedule = None,
) -> None:
    """MI-Face: reconstruct what each class looks like from a model alone; a model of other records judges."""
    from miafast.inversion_report import audit_inversion

    options.check_out(out)
    pool = options.load(data, data_dir=data_dir, label=label, part=part, records=records)
    if shape is not None:
        pool = replace(pool, x=_images(pool, numbers(shape, "--shape") or ()))
    given = {
        "hidden": hidden, "learning_rate": learning_rate, "epochs": epochs, "batch_size": batch_size,
        "schedule": schedule,
    }  # fmt: skip
    recipe = options.recipe(pool, given)
    found = audit_inversion(pool, recipe, rate=rate, momentum=momentum, steps=steps, smooth=smooth, seed=seed)
    found.save(out)
    print(f"{found}\nReport: {out / 'inversion.html'}")


def exposure(
    text: TextFile,
    canary: Annotated[str, option("What a secret looks like, # for every random digit: 'my pin is ####. '.")],
    out: options.Out = Path("report"),
    copies: Annotated[str, option("How often each canary, a secret of its own, is put into the text.")] = "0,1,10",
    characters: Characters = None,
    width: Width = 64,
    epochs: TextEpochs = 10,
    seed: options.Seed = 0,
) -> None:
    """Put secrets into a text, train a small language model on it, and measure how far it knows them, in bits."""
    from miafast.extraction.from_text import expose

    options.check_out(out)
    found = expose(
        _read(text, characters), canary, copies=numbers(copies, "--copies") or (), width=width, epochs=epochs, seed=seed
    )  # fmt: skip
    found.save(out)
    print(f"{found}\nReport: {out / 'exposure.html'}")


def extract(
    text: TextFile,
    out: options.Out = Path("report"),
    count: Annotated[int, option("Texts to generate.")] = 200,
    length: Annotated[int, option("Characters of each.")] = 200,
    run: Annotated[int, option("The shortest run of characters that counts as verbatim.")] = 30,
    prompt: Annotated[Text, option("What every text begins with. [default: a paragraph's or a line's end]")] = None,
    temperature: Annotated[float, option("Of sampling, after it has fallen.")] = 1.0,
    decay: Annotated[int, option("Over so many characters it falls, from 10; 0: not at all.")] = 20,
    characters: Characters = None,
    width: Width = 64,
    epochs: TextEpochs = 20,
    seed: options.Seed = 0,
) -> None:
    """Train a small language model on a text, let it write, and rank what is verbatim by six criteria."""
    from miafast.extraction.from_text import extract_from

    options.check_out(out)
    found = extract_from(
        _read(text, characters), count=count, length=length, run=run, prompt=prompt, temperature=temperature,
        decay=decay, width=width, epochs=epochs, seed=seed,
    )  # fmt: skip
    found.save(out)
    print(f"{found}\nReport: {out / 'extraction.html'}")


COMMANDS = (audit_dp, explain, poison, invert, exposure, extract)


def _images(pool: Records, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[Any]]:
    """Inputs as grey images [records, 1, height, width]."""
    if len(shape) != 2 or int(np.prod(shape)) != int(np.prod(pool.shape)):
        raise ValueError(f"--shape {shape} does not hold inputs of shape {pool.shape}; give height,width of as many.")
    return pool.x.reshape(len(pool), 1, *shape)


def _read(path: Path, characters: int | None) -> str:
    if characters is not None and characters < 1:
        raise ValueError(f"--characters {characters}; give at least 1.")
    try:
        return path.read_text(encoding="utf-8")[:characters]
    except UnicodeDecodeError:
        raise ValueError(f"--text {str(path)!r} is not UTF-8 text; convert it first.") from None
    except OSError as error:
        raise ValueError(f"--text {str(path)!r} cannot be read: {error.strerror}.") from error
