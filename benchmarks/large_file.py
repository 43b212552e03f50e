"""Registers, verifies, copies and exports a version with a large model file.

Beside `sha256sum`, `cp` and `sync` of the same file. `register`: a process that has just written
the file into its run's folder registers it, as a run does after its training; the check that Keras
can load the file, which takes Keras's own time, is left out. The bytes that a command reads and
writes are those of its system calls, whether the disk or the page cache serves them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.cli import record
from benchmarks.measure import Cost, alternate, report, side

MODEL = "large"

MAKE = """
import sys
import keras
units = int(float(sys.argv[2]) * 1e9 / 4 / 1000)
layer = keras.layers.Dense(units, use_bias=False)
keras.Sequential([keras.Input((1000,)), layer]).save(sys.argv[1])
"""


def main(arguments: list[str]) -> None:
    """`python -m benchmarks large_file`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks large_file", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the model's file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the files are; default: temporary")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--register", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.register:
        _register(*options.register)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        bench = _Bench(Path(name), options.gigabytes)
        costs = alternate(bench.sides(), options.rounds)
    rows = []
    for name, each in costs.items():
        rows.append(side(name, each, **bench.used[name]))
    report("large_file", rows, options.record, gigabytes=options.gigabytes, rounds=options.rounds)


class _Bench:
    """The sides of a round, and what each used.

    Args:
        folder: for all files.
        gigabytes: size of the model's file.
    """

    def __init__(self, folder: Path, gigabytes: float) -> None:
        self._folder, self._file = folder, folder / "model.keras"
        self.used: dict[str, dict[str, int]] = {}
        words = [sys.executable, "-c", MAKE, str(self._file), str(gigabytes)]
        subprocess.run(words, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}, check=True)

    def sides(self) -> dict[str, Callable[[], Cost]]:
        home, other = self._folder / "registry", self._folder / "other"
        mlreg = [sys.executable, "-m", "registry_core", "--registry", str(home)]
        copy = self._folder / "copy"
        shell = 'sha256sum "$0" && cp "$0" "$1" && sync "$1"'

        def registered(place: str) -> Callable[[], Cost]:
            child = [sys.executable, "-m", "benchmarks", "large_file", "--register"]

            def run() -> Cost:
                if home.exists():
                    shutil.rmtree(home)
                return self._cost(place, [*child, str(self._file), place])

            return run

        def command(name: str, words: Sequence[str], *made: Path) -> Callable[[], Cost]:
            def run() -> Cost:
                cost = self._cost(name, words)
                for path in made:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                return cost

            return run

        return {
            "sha256sum, cp, sync": command(
                "sha256sum, cp, sync", ["sh", "-c", shell, str(self._file), str(copy)], copy
            ),
            "sha256sum": command("sha256sum", ["sha256sum", str(self._file)]),
            "register from another folder": registered("register from another folder"),
            "register": registered("register"),
            "verify": command("verify", [*mlreg, "verify"]),
            "push": command("push", [*mlreg, "push", f"{MODEL}@1", str(other)], other),
            "export": command(
                "export", [*mlreg, "export", f"{MODEL}@1", "--output", f"{copy}.keras"],
                self._folder / "copy.keras",
            ),
            "promote": command("promote", [*mlreg, "promote", f"{MODEL}@1", "candidate"]),
            "show": command("show", [*mlreg, "show", f"{MODEL}@1"]),
            "report": command(
                "report", [*mlreg, "report", f"{MODEL}@1", "--output", f"{copy}.html"],
                self._folder / "copy.html",
            ),
        }  # fmt: skip

    def _cost(self, name: str, words: Sequence[str]) -> Cost:
        """Run a command in the folder, and keep what it used."""
        _settle()
        began = time.perf_counter()
        with tempfile.TemporaryFile("w+") as out:
            environment = {**os.environ, "MLREG_HOME": str(self._folder / "registry")}
            environment["PYTHONPATH"] = str(Path(__file__).parents[1])
            process = subprocess.Popen(
                words, cwd=self._folder, env=environment, stdout=out, stderr=subprocess.STDOUT
            )
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            wall = time.perf_counter() - began
            counted = _io(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            said = out.read()
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {process.returncode}:\n{said}")
        cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
        if said.startswith('{"registered"'):
            own = json.loads(said)["registered"]
            wall, cpu, peak = own["wall_seconds"], own["cpu_seconds"], own["peak_kilobytes"]
            counted = own["io"]
        self.used[name] = {
            "peak_megabytes": round(peak * 1024 / 1e6),
            "read_megabytes": round(counted["rchar"] / 1e6),
            "written_megabytes": round(counted["wchar"] / 1e6),
        }
        return Cost(wall, cpu)


def _register(source: str, name: str) -> None:
    """Register a copy of a file as a run does, in a process of its own; prints what that used."""
    from registry_core.store import Store

    store = Store(Path(os.environ["MLREG_HOME"]))
    with store.start_run(MODEL) as run:
        inside = run.files / "model.keras"
        if name == "register":
            shutil.copyfile(source, inside)
        files = {"model.keras": inside if name == "register" else Path(source)}
        before, clock, began = _io(os.getpid()), time.process_time(), time.perf_counter()
        store.publish(run, record(7), files, lambda paths: None)
        wall, cpu = time.perf_counter() - began, time.process_time() - clock
        after = _io(os.getpid())
    peak = next(
        int(line.split()[1])
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    used = {
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "peak_kilobytes": peak,
        "io": {key: after[key] - before[key] for key in after},
    }
    print(json.dumps({"registered": used}))


def _io(process: int) -> dict[str, int]:
    """The bytes that a process has read and written, with those of its children that ended."""
    lines = Path(f"/proc/{process}/io").read_text().splitlines()
    return {key: int(value) for key, value in (line.split(": ") for line in lines)}


def _settle() -> None:
    """Write what is not on the disk yet, which would be charged to the next command's `fsync`."""
    os.sync()
