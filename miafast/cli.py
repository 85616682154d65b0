"""The command line: `miafast audit | score | report | audit-dp | explain …`. Thin: it names options, calls, prints."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import miafast as mf
from miafast import cli_systems
from miafast.attacks import ATTACKS, ON_DEMAND
from miafast.audit import report_on
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
)
from miafast.plan import Attack, compared_attacks
from miafast.queries import Query
from miafast.report import Report
from miafast.store import reopen, write_array
from miafast.tables import Array, Signals

app = typer.Typer(
    help="Measure what a trained model leaks about its training set.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


ScoresForm = Annotated[str, option("Form of the scores: csv or parquet.")]
Attacks = Annotated[str, option(f"Names with commas between, the headline first, or all (but {', '.join(ON_DEMAND)}).")]
Variance = Annotated[str, option("LiRA's variance: auto, per-record, pooled, shrunken or total.")]
Center = Annotated[str, option("LiRA's centres: mean or median.")]
Tail = Annotated[str, option("Offline LiRA's test: one-sided or two-sided.")]


@app.command()
def audit(
    data: Data,
    out: Out = Path("report"),
    data_dir: DataDir = None,
    label: Label = None,
    part: Part = "all",
    standardise: Annotated[bool, typer.Option(help="Scale a file's columns to mean 0, deviation 1.")] = False,
    shadows: Annotated[int, option("Shadow models to train.")] = 64,
    seed: Seed = 0,
    membership: Annotated[str, option("balanced: each record IN half the models; coins: fair coins.")] = "balanced",
    queries: Annotated[Text, option("1, 2, 18, 162, or names: identity,mirror. [default: 2 if trained so]")] = None,
    attacks: Attacks = "lira-online",
    variance: Variance = "auto",
    center: Center = "mean",
    tail: Tail = "one-sided",
    white_box: Annotated[
        Text, option("Layers, such as 1,2: a target trained on half of the records is attacked from inside as well.")
    ] = None,
    target_logits: Annotated[File, option("Your model's logits: .npy [records(, queries), classes].")] = None,
    is_member: Annotated[File, option("Which records your model was trained on: .npy bool [records].")] = None,
    model: Annotated[Text, recipe_option("logistic, mlp, conv or resnet9.")] = None,
    hidden: Annotated[Text, recipe_option("Hidden layers of an mlp: 128 or 256,128.")] = None,
    activation: Annotated[Text, recipe_option("relu or tanh.")] = None,
    optimizer: Annotated[Text, recipe_option("sgd, adam or adamw.")] = None,
    learning_rate: Annotated[float | None, recipe_option("")] = None,
    momentum: Annotated[float | None, recipe_option("For sgd.")] = None,
    weight_decay: Annotated[float | None, recipe_option("")] = None,
    epochs: Annotated[int | None, recipe_option("")] = None,
    batch_size: Annotated[int | None, recipe_option("")] = None,
    schedule: Annotated[Text, recipe_option("constant, cosine, linear, step or triangle.")] = None,
    dropout: Annotated[float | None, recipe_option("")] = None,
    label_smoothing: Annotated[float | None, recipe_option("")] = None,
    augment: Annotated[Text, recipe_option("mirror, shift, mirror,shift or none.")] = None,
    dtype: Annotated[Text, recipe_option("float32 or bfloat16.")] = None,
    defense: Annotated[Text, option("Such as top-k:3, label-only, l2:0.001 or dp-sgd:8; commas for several.")] = None,
    device: Annotated[str, option("cpu or cuda.")] = "cpu",
    workdir: Annotated[File, option("Folder of the resumable run. [default: OUT/run]")] = None,
    scores: ScoresForm = "csv",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Train shadow models on a data set, attack, and write a report.

    Without --target-logits every trained model is the target in turn, attacked with all the others.
    """
    from miafast.shadow import recipe_for

    workdir = out / "run" if workdir is None else workdir
    check_out(out, scores)
    chosen = _attacks(attacks, variance=variance, center=center, tail=tail)
    records = mf.load(data, data_dir=data_dir, label=label, part=part, standardise=standardise or None)
    options: dict[str, Any] = {
        "hidden": numbers(hidden, "--hidden"), "activation": activation, "optimizer": optimizer,
        "learning_rate": learning_rate, "momentum": momentum, "weight_decay": weight_decay, "epochs": epochs,
        "batch_size": batch_size, "schedule": schedule, "dropout": dropout, "label_smoothing": label_smoothing,
        "augment": _names(augment), "dtype": dtype,
    }  # fmt: skip
    recipe = replace(
        recipe_for(records, model=model), **{name: given for name, given in options.items() if given is not None}
    )
    target = None if target_logits is None else _array(target_logits, "--target-logits")
    members = None if is_member is None else _array(is_member, "--is-member")
    layers = _names(white_box)
    if layers is not None:
        if target is not None:
            raise ValueError("--white-box looks inside the model, --target-logits has none; use miafast.audit for it.")
        target, members = mf.whitebox.drawn_target(recipe, records, seed=seed, model=shadows, layers=layers)
    try:
        report = mf.audit(
            records, recipe, attack=chosen, shadows=shadows, seed=seed, membership=membership,
            queries=_queries(queries), target=target, is_member=members, workdir=workdir, device=device,
            progress=not quiet, defense=defense, white_box=layers,
        )  # fmt: skip
    except KeyboardInterrupt:
        again = shlex.join(["miafast", *sys.argv[1:]])
        print(f"\nStopped. Complete models are kept in {workdir}. To resume, repeat:\n  {again}", file=sys.stderr)
        raise typer.Exit(130) from None
    _finish(report, out, scores)


@app.command()
def score(
    shadow: Annotated[Path, option("Signals phi, .npy [models, records(, queries)]; logits with --labels.")],
    in_mask: Annotated[Path, option("Which model was trained on what: .npy bool [models, records].")],
    target: Annotated[File, option("The target's phi (or logits); without it every model in turn.")] = None,
    is_member: Annotated[File, option("The target's members, .npy bool [records]: adds a report.")] = None,
    labels: Annotated[File, option("Labels, .npy [records]: the arrays are logits with a last axis classes.")] = None,
    out: Out = Path("report"),
    attacks: Attacks = "lira-online",
    variance: Variance = "auto",
    center: Center = "mean",
    tail: Tail = "one-sided",
    scores: ScoresForm = "csv",
) -> None:
    """Score arrays on disk: no training and no torch. Writes scores.npy, and a report where membership is known."""
    with_report = target is None or is_member is not None
    check_out(out, scores, report=with_report)
    chosen = _attacks(attacks, variance=variance, center=center, tail=tail)
    classes = None if labels is None else _array(labels, "--labels")
    phi, mask = _phi(_array(shadow, "--shadow"), classes), _array(in_mask, "--in-mask")
    if target is None:
        if is_member is not None:
            raise ValueError("--is-member is given without --target; give --target, or drop it.")
        verdict = chosen[0].score_all(phi, mask)
        signals = _signals(phi, mask, classes, has_target=False)
    else:
        asked = _phi(_array(target, "--target"), classes)
        verdict = chosen[0].score(asked, phi, mask)
        if is_member is not None:
            rows = np.vstack([mask, _array(is_member, "--is-member")])
            signals = _signals(np.concatenate([phi, asked[None]]), rows, classes, has_target=True)
    write_array(out / "scores.npy", np.asarray(verdict))
    print(f"{out / 'scores.npy'}: {verdict.dtype}{list(verdict.shape)}, higher = more likely a member")
    if with_report:
        _finish(report_on(signals, compared_attacks(chosen), seconds={}), out, scores)


@app.command()
def report(
    workdir: Annotated[Path, typer.Argument(help="The workdir of an audit.")],
    out: Out = Path("report"),
    attacks: Attacks = "lira-online",
    variance: Variance = "auto",
    center: Center = "mean",
    tail: Tail = "one-sided",
    scores: ScoresForm = "csv",
) -> None:
    """Attack again and rebuild the report from a finished run; nothing is trained."""
    check_out(out, scores)
    chosen = _attacks(attacks, variance=variance, center=center, tail=tail)
    with reopen(workdir) as store:
        seconds = {name: store.seconds(f"{name}_seconds") for name in ("train", "query")}
        made = report_on(store.signals(), compared_attacks(chosen), seconds=seconds)
    _finish(made, out, scores)


@app.command()
def audit_dp(
    data: Data,
    out: Out = Path("report"),
    data_dir: DataDir = None,
    label: Label = None,
    part: Part = "all",
    records: First = None,
    epsilon: Annotated[float | None, option("The claim. [default: what an accountant says]")] = None,
    delta: Annotated[float, option("Of (epsilon, delta)-DP.")] = 1e-5,
    mode: Annotated[str, option("many-runs (with and without one canary) or one-run (many canaries).")] = "many-runs",
    canary: Annotated[Text, option("mislabelled, blank, random or gradient. [default: fits the mode]")] = None,
    runs: Annotated[int, option("many-runs: models with the canary, and as many without.")] = 1000,
    canaries: Annotated[int, option("one-run: how many.")] = 1000,
    guesses: Annotated[int | None, option("one-run: on how many; the others abstain. [default: a fifth]")] = None,
    method: Annotated[Text, option("clopper-pearson, gdp, bayesian, one-run or f-dp one-run.")] = None,
    confidence: Annotated[float, option("That epsilon is not overstated.")] = 0.95,
    sees: Annotated[str, option("final or last-update: what is looked at of the models.")] = "final",
    seed: Seed = 0,
    hidden: Annotated[Text, option("Hidden layers: 32 or 64,32; none for logistic regression.")] = "32",
    learning_rate: Annotated[float, option("Of DP-SGD.")] = 0.5,
    steps: Annotated[int, option("Batches to train on.")] = 300,
    batch_size: Annotated[int, option("Expected records per Poisson batch.")] = 64,
    clip: Annotated[float, option("Length that gradients are clipped to.")] = 1.0,
    noise_multiplier: Annotated[float, option("Standard deviation of the noise over the clipping norm.")] = 1.0,
    mistake: Annotated[str, option("Plant a mistake: see miafast.shadow.private.MISTAKES.")] = "none",
) -> None:
    """Try to refute DP-SGD's privacy claim: train with and without canaries, and bound epsilon from below."""
    check_out(out)
    pool = load(data, data_dir=data_dir, label=label, part=part, records=records)
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


@app.command()
def explain(
    record: Annotated[int, typer.Argument(help="Which record, counted from 0.")],
    data: Data,
    layer: Annotated[str, option("Where the model is cut; what follows is retrained without the record.")],
    out: Annotated[Path, option("Folder for explanation.html.")] = Path("report"),
    data_dir: DataDir = None,
    label: Label = None,
    part: Part = "all",
    standardise: Annotated[bool, typer.Option(help="Scale a file's columns to mean 0, deviation 1.")] = False,
    proxies: Annotated[int, option("How many to compare the target with.")] = 3,
    seed: Annotated[int, option("All randomness follows from it, the half that the target is trained on too.")] = 0,
    model: Annotated[Text, recipe_option("logistic, mlp or conv.")] = None,
    hidden: Annotated[Text, recipe_option("Hidden layers of an mlp: 128 or 256,128.")] = None,
    learning_rate: Annotated[float | None, recipe_option("")] = None,
    epochs: Annotated[int | None, recipe_option("")] = None,
    batch_size: Annotated[int | None, recipe_option("")] = None,
) -> None:
    """Draw what the inputs of one record do in a target, and in proxies that were not trained on the record.

    The target is trained on a random half of the records, the proxies on the other half.
    """
    from miafast.shadow import recipe_for

    check_out(out, "csv")
    records = mf.load(data, data_dir=data_dir, label=label, part=part, standardise=standardise or None)
    if not 0 <= record < len(records):
        raise ValueError(f"RECORD {record} is not there; {records.name} has records 0 … {len(records) - 1}.")
    options: dict[str, Any] = {
        "model": model, "hidden": numbers(hidden, "--hidden"), "learning_rate": learning_rate, "epochs": epochs,
        "batch_size": batch_size,
    }  # fmt: skip
    recipe = replace(recipe_for(records), **{name: given for name, given in options.items() if given is not None})
    target, is_member = mf.whitebox.drawn_target(recipe, records, seed=seed, layers=(layer,))
    mine = ~is_member
    mine[record] = False
    found = mf.whitebox.explain(
        target, records, record, recipe=recipe, layer=layer, mine=mine, proxies=proxies, seed=seed + 1
    )
    from miafast.report.explanation import headline, save_explanation

    page = save_explanation(found, records, out, is_member=bool(is_member[record]))
    print(f"{headline(found, is_member=bool(is_member[record]))}\nPage: {page}")


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


for command in (cli_systems.poison, cli_systems.invert, cli_systems.exposure, cli_systems.extract):
    app.command()(command)


@app.command()
def backends() -> None:
    """Show what can run here: op, backend, yes or why not."""
    print(mf.backends())


def main() -> None:
    """Run the command line; a mistake in the input is one line on standard error and exit status 2."""
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"miafast: {error}", file=sys.stderr)
        sys.exit(2)


def _attacks(names: str, *, variance: str, center: str, tail: str) -> tuple[Attack, ...]:
    """The attacks of a list of names, the headline first; the options go to every LiRA among them."""
    wanted = [name for name in ATTACKS if name not in ON_DEMAND] if names == "all" else names.split(",")
    for name in wanted:
        if name not in ATTACKS:
            raise ValueError(f"--attacks {name!r} is not known; choose all, or from {', '.join(ATTACKS)}.")
    tails = {"lira-offline": tail, "lira-online": tail if names == "lira-online" else "one-sided"}
    return tuple(
        mf.LiRA(mode=name.removeprefix("lira-"), variance=variance, center=center, tail=tails[name])
        if name in tails
        else ATTACKS[name]()
        for name in wanted
    )


def _queries(given: str | None) -> int | tuple[Query, ...] | None:
    """A count, or names; the comma inside shift:DOWN,RIGHT is kept."""
    if given is None:
        return None
    return int(given) if given.isdigit() else tuple(re.split(r",(?=[a-z])", given))


def _names(given: str | None) -> tuple[str, ...] | None:
    return None if given is None else () if given == "none" else tuple(given.split(","))


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


def _phi(array: Array, labels: Array | None) -> Array:
    """phi as it is, or of logits [..., records(, queries), classes]."""
    if labels is None:
        return array
    queries_first = array.shape[-2] != len(labels)
    logits = np.moveaxis(array, -2, -3) if queries_first else array
    phi = mf.logit_confidence(logits, labels)
    return np.moveaxis(phi, -2, -1) if queries_first else phi


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
