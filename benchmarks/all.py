"""Runs every benchmark in turn, each in a process of its own, and makes the tables at the end.

One that fails does not stop the others. Those that cannot be run here are named before and after,
with what they need and how to get it. With `--record`, a machine that others use too is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks import machine, table
from benchmarks.catalog import BENCHMARKS, Benchmark
from benchmarks.load import MAX_OTHERS_SHARE, others_now
from benchmarks.measure import ended_with_this

# how long the machine may take to become quiet after the benchmark before
_SECONDS_TO_SETTLE = 60.0


def main(arguments: Sequence[str], catalog: Mapping[str, Benchmark] = BENCHMARKS) -> None:
    """`python -m benchmarks all`."""
    options = _options(arguments, catalog)
    chosen, left_out = _chosen(options, catalog)
    ready = [each for each in chosen if not each.missing(options)]
    _show(chosen, options)
    for why in dict.fromkeys(left_out.values()):
        names = [name for name, reason in left_out.items() if reason == why]
        print(f"Left out by {why}: {', '.join(names)}", flush=True)
    if options.list:
        return
    if options.record:
        if busy := _busy():
            raise SystemExit(busy)
        os.environ[machine.ONEDNN] = json.dumps(machine.onednn())
    failed = run_each(ready, options)
    if options.record and len(failed) < len(ready):
        table.main()
    not_run = [each.name for each in chosen if each not in ready]
    if not_run:
        print(f"Not run, as something is missing (see the list above): {', '.join(not_run)}")
    for name, why in failed.items():
        print(f"FAILED: {name}: {why}")
    if failed:
        raise SystemExit(f"{len(failed)} of {len(ready)} benchmarks failed.")


def run_each(ready: Sequence[Benchmark], options: Any) -> dict[str, str]:
    """Run benchmarks in turn; return why each of those failed that did."""
    failed: dict[str, str] = {}
    tried: list[list[str]] = []
    for number, each in enumerate(ready, 1):
        words = each.words(options)
        if options.trial and words in tried:  # presets have one trial
            print(f"\n{each.name}: as tried above", flush=True)
            continue
        tried.append(words)
        print(f"\n[{number} of {len(ready)}] python -m benchmarks {' '.join(words)}", flush=True)
        if options.record:
            if busy := _busy():
                failed[each.name] = busy.splitlines()[0]
                print(busy, flush=True)
                continue
            words = [*words, "--record"]
        began = time.perf_counter()
        try:
            status = _status(words)
        except KeyboardInterrupt:
            stopped = {left.name: "stopped by Ctrl-C" for left in ready[number - 1 :]}
            return {**failed, **stopped}
        minutes = (time.perf_counter() - began) / 60
        if status:
            failed[each.name] = f"exit status {status}, see above"
        print(f"{each.name}: {'FAILED' if status else 'done'}, {minutes:.1f} min", flush=True)
    return failed


def _status(words: Sequence[str]) -> int:
    """Run a benchmark in a process of its own, and return its exit status."""
    command = [sys.executable, "-m", "benchmarks", *words]
    process = subprocess.Popen(command, cwd=machine.ROOT)
    with ended_with_this(process):
        return process.wait()


def _options(arguments: Sequence[str], catalog: Mapping[str, Benchmark]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m benchmarks all", description=__doc__)
    parser.add_argument("--list", action="store_true", help="what each needs and takes; run none")
    parser.add_argument("--record", action="store_true", help="record each, and make the tables")
    parser.add_argument(
        "--trial", action="store_true", help="tiny sizes: shows whether each works; no record"
    )
    names = {"nargs": "+", "metavar": "NAME", "choices": list(catalog)}
    parser.add_argument("--only", help="run these alone", **names)
    parser.add_argument("--without", help="leave these out", default=[], **names)
    parser.add_argument(
        "--at-most", type=float, metavar="MINUTES", help="leave out what takes longer"
    )
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--npz", metavar="FILE", help="CIFAR-10's four arrays, for PyTorch")
    parser.add_argument("--against", metavar="COMMAND", help="for throughput: another program")
    parser.add_argument("--version", metavar="REF", help="for exports: a version of the baseline")
    parser.add_argument(
        "--registry", metavar="FOLDER", help="for exports: its registry; default: as for mlreg"
    )
    options = parser.parse_args(arguments)
    if options.record and options.trial:
        parser.error("--trial measures nothing that could be recorded")
    if not options.torch and find_spec("torch"):
        options.torch = sys.executable
    return options


def _chosen(
    options: Any, catalog: Mapping[str, Benchmark]
) -> tuple[list[Benchmark], dict[str, str]]:
    """What is to be run, and what the options leave out, with the option."""
    chosen, left_out = [], {}
    for name, each in catalog.items():
        if options.only and name not in options.only:
            left_out[name] = "--only"
        elif name in options.without:
            left_out[name] = "--without"
        elif options.at_most and each.estimate() > options.at_most:
            left_out[name] = f"--at-most {options.at_most:g}"
        else:
            chosen.append(each)
    return chosen, left_out


def _show(chosen: Sequence[Benchmark], options: Any) -> None:
    """A line for each, and what it lacks."""
    minutes = 0.0
    for each in chosen:
        missing = each.missing(options)
        estimate = each.estimate()
        minutes += 0 if missing else estimate
        print(f"{estimate:6.1f} min  {each.name:20}  {each.what}")
        for need in missing:
            print(f"{'':12}not run: needs {need.name}. Get it: {need.get}")
    about = "less: sizes are tiny" if options.trial else f"about {minutes:.0f} min"
    print(f"In all {about}.", flush=True)


def _busy(
    others: Callable[[], tuple[float, list[str]]] = others_now,
    seconds: float = _SECONDS_TO_SETTLE,
) -> str:
    """Why nothing can be recorded now; empty if the machine is quiet, or becomes so soon."""
    until = time.monotonic() + seconds
    while True:
        share, busiest = others()
        if share <= MAX_OTHERS_SHARE:
            return ""
        if time.monotonic() >= until:
            names = ", ".join(busiest) or "short ones"
            return (
                f"Other processes use {share:.0%} of the cores: {names}."
                f"\nAt most {MAX_OTHERS_SHARE:.0%} is allowed, so nothing is recorded."
                "\nStop them and try again, or leave out --record."
            )
