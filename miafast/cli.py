"""The command line: `miafast audit | score | report | bench | backends …`. Thin: it names options, calls, prints."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import miafast as mf
from miafast import cli_options as options, cli_systems
from miafast.attacks import ATTACKS, ON_DEMAND
from miafast.audit import report_on
from miafast.cli_options import File, Text, one_of, option
from miafast.defenses import DEFENSES
from miafast.ops.lira import CENTERS, TAILS
from miafast.ops.variance_prior import VARIANCES
from miafast.plan import Attack, attack_with, compared_attacks, signals_of
from miafast.queries import COUNTS, Query
from miafast.report import Report
from miafast.report.scores import KINDS
from miafast.spelling import did_you_mean
from miafast.store import reopen, write_array
from miafast.tables import Array, Signals

app = typer.Typer(
    help="Measure what a trained model leaks about its training set.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


Attacks = Annotated[
    str,
    option(f"Commas between, the headline first: {', '.join(ATTACKS)}; all: all but {', '.join(ON_DEMAND)}."),
]
Variance = Annotated[str, option(f"LiRA's variance: {one_of(('auto', *VARIANCES))}.")]
Center = Annotated[str, option(f"LiRA's centres: {one_of(CENTERS)}.")]
Tail = Annotated[str, option(f"Offline LiRA's test: {one_of(TAILS)}.")]
Scores = Annotated[str, option(f"Form of the scores: {one_of(KINDS)}.")]


@app.command()
def audit(
    data: options.Data,
    out: options.Out = Path("report"),
    data_dir: options.DataDir = None,
    label: options.Label = None,
    part: options.Part = "all",
    standardise: options.Standardise = False,
    shadows: Annotated[int, option("Shadow models to train.")] = 64,
    seed: options.Seed = 0,
    membership: Annotated[str, option("balanced: each record IN half the models; coins: fair coins.")] = "balanced",
    queries: Annotated[
        Text, option(f"{one_of(map(str, COUNTS))}, or names: identity,mirror. [default: 2 if trained so]")
    ] = None,
    attacks: Attacks = "lira-online",
    variance: Variance = "auto",
    center: Center = "mean",
    tail: Tail = "one-sided",
    white_box: Annotated[
        Text,
        option("Layers, such as 2 or 2,4: a target trained on half of the records is attacked from inside as well."),
    ] = None,
    target_logits: Annotated[File, option("Your model's logits: .npy [records(, queries), classes].")] = None,
    is_member: Annotated[File, option("Which records your model was trained on: .npy bool [records].")] = None,
    model: options.Model = None,
    hidden: options.Hidden = None,
    activation: options.Activation = None,
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    momentum: options.Momentum = None,
    nesterov: options.Nesterov = None,
    weight_decay: options.WeightDecay = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    schedule: options.Schedule = None,
    dropout: options.Dropout = None,
    label_smoothing: options.LabelSmoothing = None,
    augment: options.Augment = None,
    dtype: options.Dtype = None,
    defense: Annotated[Text, option(f"{one_of(DEFENSES)}, with its number as in top-k:3; commas for several.")] = None,
    device: Annotated[str, option("cpu or cuda.")] = "cpu",
    workdir: options.Workdir = None,
    scores: Scores = "csv",
    quiet: options.Quiet = False,
) -> None:
    """Train shadow models on a data set, attack, and write a report.

    Without --target-logits every trained model is the target in turn, attacked with all the others.
    """
    workdir = out / "run" if workdir is None else workdir
    options.check_out(out, scores)
    chosen = _attacks(attacks, variance=variance, center=center, tail=tail)
    records = options.load(data, data_dir=data_dir, label=label, part=part, standardise=standardise)
    given = {
        "model": model, "hidden": hidden, "activation": activation, "optimizer": optimizer,
        "learning_rate": learning_rate, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay,
        "epochs": epochs, "batch_size": batch_size, "schedule": schedule, "dropout": dropout,
        "label_smoothing": label_smoothing, "augment": augment, "dtype": dtype,
    }  # fmt: skip
    recipe = options.recipe(records, given)
    target = None if target_logits is None else _array(target_logits, "--target-logits")
    members = None if is_member is None else _array(is_member, "--is-member")
    layers = options.names(white_box)
    if layers is not None:
        if target is not None:
            raise ValueError("--white-box looks inside the model, --target-logits has none; use miafast.audit for it.")
        target, members = mf.whitebox.drawn_target(recipe, records, seed=seed, model=shadows, layers=layers)
    with options.resumable(workdir):
        report = mf.audit(
            records, recipe, attack=chosen, shadows=shadows, seed=seed, membership=membership,
            queries=_queries(queries), target=target, is_member=members, workdir=workdir, device=device,
            progress=not quiet, defense=defense, white_box=layers,
        )  # fmt: skip
    _finish(report, out, scores)


@app.command()
def score(
    shadow: Annotated[Path, option("Signals phi, .npy [models, records(, queries)]; logits with --labels.")],
    in_mask: Annotated[Path, option("Which model was trained on what: .npy bool [models, records].")],
    target: Annotated[File, option("The target's phi (or logits); without it every model in turn.")] = None,
    is_member: Annotated[File, option("The target's members, .npy bool [records]: adds a report.")] = None,
    labels: Annotated[File, option("Labels, .npy [records]: the arrays are logits with a last axis classes.")] = None,
    out: options.Out = Path("report"),
    attacks: Attacks = "lira-online",
    variance: Variance = "auto",
    center: Center = "mean",
    tail: Tail = "one-sided",
    scores: Scores = "csv",
) -> None:
    """Score arrays on disk: no training and no torch. Writes scores.npy, and a report where membership is known."""
    with_report = target is None or is_member is not None
    options.check_out(out, scores, report=with_report)
    chosen = _attacks(attacks, variance=variance, center=center, tail=tail)
    classes = None if labels is None else _array(labels, "--labels")
    chosen = _readable(chosen, attacks, measured=("phi",), labels=classes is not None)
    phi, mask = _phi(shadow, "--shadow", classes, axes="models, records"), _array(in_mask, "--in-mask")
    further = {"labels": classes} if getattr(chosen[0], "labels", False) else {}
    if target is None:
        if is_member is not None:
            raise ValueError("--is-member is given without --target; give --target, or drop it.")
        signals = _signals(phi, mask, classes, has_target=False)
        verdict = attack_with(chosen[0], signals)
    else:
        asked = _phi(target, "--target", classes, axes="records")
        verdict = chosen[0].score(asked, phi, mask, **further)
        if is_member is not None:
            members = _array(is_member, "--is-member")
            if members.dtype != np.bool_ or members.shape != mask.shape[1:]:
                raise ValueError(
                    f"--is-member holds {members.dtype} {members.shape}; give bool [records] = {mask.shape[1:]}."
                )
            signals = _signals(
                np.concatenate([phi, asked[None]]), np.vstack([mask, members]), classes, has_target=True
            )  # fmt: skip
    made = report_on(signals, compared_attacks(chosen), seconds={}) if with_report else None
    write_array(out / "scores.npy", np.asarray(verdict))
    print(f"{out / 'scores.npy'}: {verdict.dtype}{list(verdict.shape)}, higher = more likely a member")
    if made is not None:
        _finish(made, out, scores)


@app.command()
def report(
    workdir: Annotated[Path, typer.Argument(help="The workdir of an audit.")],
    out: options.Out = Path("report"),
    attacks: Attacks = "lira-online",
    variance: Variance = "auto",
    center: Center = "mean",
    tail: Tail = "one-sided",
    scores: Scores = "csv",
) -> None:
    """Attack again and rebuild the report from a finished run; nothing is trained."""
    options.check_out(out, scores)
    chosen = _attacks(attacks, variance=variance, center=center, tail=tail)
    with reopen(workdir) as store:
        seconds = {name: store.seconds(f"{name}_seconds") for name in ("train", "query")}
        signals = store.signals()
        chosen = _readable(chosen, attacks, measured=("phi", *signals.arrays))
        made = report_on(signals, compared_attacks(chosen), seconds=seconds)
    _finish(made, out, scores)


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="A hundredth of the data: does all run?")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Show how fast this machine is, in about a minute: scoring, training and inference, GPU included."""
    from miafast.bench import machine, throughput

    where = machine.describe(bandwidth_mib=16 if quick else 1024)
    found = throughput.measure_all(where, quick=quick)
    if as_json:
        print(json.dumps({"machine": where, "measured": [each.facts() for each in found]}, indent=1))
        return
    print("\n".join(machine.lines(where)), end="\n\n")
    print(throughput.HEADER)
    for each in found:
        print(each, flush=True)


for command in cli_systems.COMMANDS:
    app.command()(command)


@app.command()
def backends() -> None:
    """Show what can run here: op, backend, yes or why not."""
    print(mf.backends())


def main() -> None:
    """Run the command line; a mistake in the input is one line on standard error and exit status 2."""
    warnings.showwarning = lambda message, *_, **__: print(f"miafast: warning: {message}", file=sys.stderr)
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        remedy = ": pip install 'miafast[train]'." if getattr(error, "name", None) == "torch" else ""
        print(f"miafast: {error}{remedy}", file=sys.stderr)
        sys.exit(2)


def _attacks(names: str, *, variance: str, center: str, tail: str) -> tuple[Attack, ...]:
    """The attacks of a list of names, the headline first; the options go to every LiRA among them."""
    wanted = [name for name in ATTACKS if name not in ON_DEMAND] if names == "all" else options.names(names) or ()
    for name in wanted:
        if name not in ATTACKS:
            raise ValueError(
                f"--attacks {name!r} is not known; {did_you_mean(name, ATTACKS)}choose all, or from "
                f"{', '.join(ATTACKS)}."
            )
    tails = {"lira-offline": tail, "lira-online": tail if names == "lira-online" else "one-sided"}
    return tuple(
        mf.LiRA(mode=name.removeprefix("lira-"), variance=variance, center=center, tail=tails[name])
        if name in tails
        else ATTACKS[name]()
        for name in wanted
    )


def _readable(
    attacks: tuple[Attack, ...], names: str, *, measured: Sequence[str], labels: bool = True
) -> tuple[Attack, ...]:
    """Those of the attacks that read what was measured and nothing else. Of names, each must; "all" are those."""
    fit = tuple(
        each
        for each in attacks
        if set(signals_of(each)) <= set(measured) and (labels or not getattr(each, "labels", False))
    )
    if names != "all" and (others := [each for each in attacks if each not in fit]):
        wanted = [*signals_of(others[0]), *(["labels"] if getattr(others[0], "labels", False) else [])]
        here = [*measured, *(["labels"] if labels else [])]
        raise ValueError(
            f"{others[0].name} reads {', '.join(wanted)}; here are {', '.join(here)} only: leave it out, or run "
            "miafast audit with it, which measures what its attacks read."
        )
    return fit


def _queries(given: str | None) -> int | tuple[Query, ...] | None:
    """A count, or names; the comma inside shift:DOWN,RIGHT is kept."""
    if given is None:
        return None
    return int(given) if given.isdigit() else tuple(re.split(r",(?=[a-z])", given))


def _array(path: Path, option: str) -> Array:
    """An array from a .npy file, memory-mapped; pickles inside are refused."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{option} {str(path)!r} cannot be read as a .npy array ({error}); save it with numpy.save."
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{option} {str(path)!r} holds several arrays; give a .npy file with one.")
    return array


def _phi(path: Path, option: str, labels: Array | None, *, axes: str) -> Array:
    """phi [axes(, queries)] as it is, or of logits with a last axis classes."""
    array = _array(path, option)
    records = axes.count(",")  # which axis they are on
    if array.ndim - (labels is not None) - records not in (1, 2):
        wanted = f"phi [{axes}(, queries)]" if labels is None else f"logits [{axes}(, queries), classes]"
        raise ValueError(f"{option} has shape {array.shape}; give {wanted}.")
    if labels is None:
        return array
    if array.shape[records] != labels.size:
        raise ValueError(f"{option} is about {array.shape[records]} records, --labels about {labels.size}.")
    return np.moveaxis(mf.logit_confidence(np.moveaxis(array, records, -2), labels), -1, records)


def _signals(phi: Array, in_mask: Array, labels: Array | None, *, has_target: bool) -> Signals:
    return Signals(
        phi=phi if phi.ndim == 3 else phi[:, :, None], in_mask=in_mask, has_target=has_target,
        labels=np.zeros(phi.shape[1], np.int64) if labels is None else np.asarray(labels),
    )  # fmt: skip


def _finish(report: Report, out: Path, scores: str) -> None:
    report.save(out, scores=scores)
    print(report)
    print(f"\n{report.headline}\nReport: {out / 'report.html'}")


if __name__ == "__main__":
    main()
