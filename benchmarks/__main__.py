"""``python -m benchmarks COMMAND``: speed, and tables of papers measured again; ``--help`` shows every option."""

from __future__ import annotations

import argparse
import importlib
import inspect
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine, papers, table
from benchmarks.cases import Disagreement

OPTIONS = {"device", "data_dir", "rounds", "repetitions", "workdir"}  # handed to the benchmarks that know them


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in (
        ("ops", "each op against its rivals"),
        ("train", "stacked training against one model at a time"),
        ("audit", "a whole audit, stage by stage"),
        ("influence", "internal influence against one record at a time"),
        ("climbing", "synthesis by hill climbing against one record at a time"),
        ("papers", "a paper's tables, measured again"),
        ("systems", "poisoning, inversion, exposure, extraction: what each finds"),
        ("debugging-dp", "DP-SGD with planted mistakes, audited"),
    ):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("--only", action="append", metavar="NAME", help="run this case (may be repeated)")
        if name == "ops":
            command.add_argument("--rounds", type=int, default=15, help="rounds at most (%(default)s)")
            command.add_argument(
                "--device", help="time the twins on this device: cuda (cpu: their interpreter, to try)"
            )
        command.add_argument("--smoke", action="store_true", help="tiny sizes, in seconds; nothing is saved")
        command.add_argument("--out", type=Path, default=table.RESULTS, help="folder of the results (%(default)s)")
        if name in ("train", "audit"):
            command.add_argument("--device", default="cpu", help="where models run: cpu or cuda (%(default)s)")
        if name in ("train", "audit", "papers", "systems", "debugging-dp"):
            command.add_argument("--data-dir", type=Path, help="where data sets that are files lie; without it, none")
        if name in ("papers", "systems"):
            command.add_argument("--workdir", type=Path, help="keeps what is trained here, to go on after a stop")
        if name == "papers":
            command.add_argument("paper", choices=papers.PAPERS, help="whose tables")
            command.add_argument("--repetitions", type=int, help="targets per table (default: the table's own)")
    return run(parser.parse_args())


def run(asked: argparse.Namespace) -> int:
    """Run the asked cases one by one, print and save; 1 when a way disagrees with the truth."""
    on_device = asked.command == "ops" and asked.device is not None
    bench = importlib.import_module(
        "benchmarks.device_ops" if on_device else f"benchmarks.{asked.command.replace('-', '_')}"
    )
    bench = bench.paper(asked.paper) if asked.command == "papers" else bench
    if unknown := set(asked.only or ()) - set(bench.CASES):
        sys.exit(f"--only {', '.join(sorted(unknown))} is not known; choose from {', '.join(bench.CASES)}")
    where = machine.describe(bandwidth_mib=16 if asked.smoke else 1024)
    speed = 1e9 * where.get("device_copy_gb_per_s" if on_device else "read_gb_per_s", where["read_gb_per_s"])
    known, options = inspect.signature(bench.run).parameters, {"smoke": asked.smoke}
    if "read_bytes_per_s" in known:
        options["read_bytes_per_s"] = speed
    for name in OPTIONS & vars(asked).keys():
        value = vars(asked)[name]
        if value is not None and name not in known:
            sys.exit(f"--{name}: these tables have no use for it")
        if name in known and (value is not None or known[name].default is inspect.Parameter.empty):
            options[name] = value
    failed = []
    for name in asked.only or bench.CASES:
        try:
            run_case = partial(bench.run, name, **options)
            done = alone(run_case) if asked.command == "ops" and not (on_device or asked.smoke) else run_case()
        except Disagreement as error:
            failed.append(str(error))
            continue
        if done:
            print(bench.section(done).markdown(), end="\n\n", flush=True)
        if done and not asked.smoke:
            print(f"saved to {table.save(bench.section(done), where, asked.out)}", end="\n\n", flush=True)
    for reason in failed:
        print(f"not timed: {reason}", file=sys.stderr)
    return 1 if failed else 0


def alone(run_case: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Run a case in a process of its own: the threads and the memory of those before have no part in its times."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run_case).result()


if __name__ == "__main__":
    sys.exit(main())
