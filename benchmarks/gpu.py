"""Training throughput on a GPU: baseline and airbench94, beside their networks in PyTorch.

A run's images/s are those of its epochs after the first, validation included; PyTorch's are those
of its epochs or steps after the first. Without `--data-dir` the images are random, which does not
change how long they take.

Each side that ends becomes a line of the log at once, unless others used the machine meanwhile.
Those in the log are not repeated, so what was stopped is continued by the same command.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks import machine
from benchmarks.load import Load, shared_because
from benchmarks.log import Log
from benchmarks.measure import command_cost, report
from registry_core.process.machine import graphics_cards

FOLDER = Path(__file__).parent

# of what mlreg offers for each preset; the first is what it does by itself
SETTINGS = {
    "baseline": (
        (),
        ("deterministic=false",),
        ("precision=mixed_bfloat16",),
    ),
    "airbench94": ((), ("deterministic=false",)),
}

_SECONDS_OF_A_LOOK = 0.5

# images/s of each epoch, and clocks of the card in MHz
_Measured: TypeAlias = tuple[list[float], list[int]]


def main(arguments: list[str]) -> None:
    """`python -m benchmarks gpu --torch PYTHON`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    parser.add_argument("--data-dir", help="as for mlreg run; default: random images")
    parser.add_argument("--only", choices=(*SETTINGS, "torch"), nargs="+")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=20_000, help="of an epoch of baseline")
    parser.add_argument("--log", type=Path, help="JSON lines; default: a temporary file")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    cards = graphics_cards()
    if not cards:
        raise SystemExit("nvidia-smi finds no GPU on this machine: run it where there is one.")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        log = Log(options.log or Path(folder, "gpu.jsonl"))
        counts = {"epochs": options.epochs, "images": options.images}
        for side, measure in _sides(options, Path(folder)):
            asked = {"side": side, **counts, "card": cards[0]["name"]}
            known = next((each for each in log.read() if asked.items() <= each.items()), None)
            if known is None:
                load = Load()
                known = {**asked, **_speeds(*measure()), **machine.commit()}
                if not shared_because(load.facts()):
                    log.append(known)
            rows.append({key: value for key, value in known.items() if key not in counts})
            print(json.dumps(rows[-1]), flush=True)
    report("gpu", rows, options.record, **counts)


def _sides(options: Any, folder: Path) -> Iterator[tuple[str, Callable[[], _Measured]]]:
    """What is measured: its name, and a function that returns its images/s and clocks."""
    only = options.only or (*SETTINGS, "torch")
    data = options.data_dir or str(_random_images(folder / "random.npz"))
    mlreg = [sys.executable, "-m", "registry_core", "--registry", str(folder / "registry")]
    run = [*mlreg, "run", "cifar10", "-q", "--data-dir", data, "--epochs", str(options.epochs)]
    show = [*mlreg, "show", "cifar10@latest", "--json"]
    for preset, each in SETTINGS.items():
        for settings in each if preset in only else ():
            words = [*run, "--preset", preset]
            if preset == "baseline":
                words += ["-p", f"train_examples={options.images}"]
            words += [word for setting in settings for word in ("-p", setting)]
            yield f"mlreg {' '.join((preset, *settings))}", partial(_of_run, words, show)
    if not (options.torch and "torch" in only):
        return
    baseline = [options.torch, str(FOLDER / "torch_side.py"), data, "--device", "cuda"]
    baseline += ["--epochs", str(options.epochs), "--images", str(options.images)]
    airbench = [options.torch, str(FOLDER / "airbench_twin.py"), "--device", "cuda"]
    airbench += ["--batch", "2000", "--steps", "25", "--series", str(options.epochs)]
    for name, words in (("baseline", baseline), ("airbench94", airbench)):
        for more in (["--compile"], ["--compile", "--half"]):
            said = " ".join(word.strip("-") for word in more)
            yield f"PyTorch {name} {said}", partial(_of_torch, [*words, *more])


def _speeds(speeds: Sequence[float], clocks: Sequence[int]) -> dict[str, Any]:
    """The median and the range of images/s, and the clock of the card meanwhile."""
    return {
        "images_per_second": round(statistics.median(speeds)),
        "least": round(min(speeds)),
        "most": round(max(speeds)),
        "n": len(speeds),
        "clock_mhz": round(statistics.median(clocks)) if clocks else None,
    }


def _of_run(run: Sequence[str], show: Sequence[str]) -> _Measured:
    with _clocks() as clocks:
        command_cost(run)
    manifest = json.loads(command_cost(show).report)["manifest"]
    examples = manifest["data"]["splits"]["train"]["examples"]
    return [examples / seconds for seconds in manifest["epoch_seconds"][1:]], clocks


def _of_torch(words: Sequence[str]) -> _Measured:
    """The other side prints `images/s 12345.6` for each epoch."""
    with _clocks() as clocks:
        said = command_cost(words).report
    lines = [line.split() for line in said.splitlines()]
    speeds = [float(words[1]) for words in lines if words[:1] == ["images/s"]]
    if len(speeds) < 2:
        raise SystemExit(f"The other side did not print 'images/s …' for two epochs:\n{said}")
    return speeds[1:], clocks


@contextmanager
def _clocks() -> Iterator[list[int]]:
    """The clock of the first card's multiprocessors, in MHz, whenever it worked in the block."""
    found: list[int] = []
    ended = threading.Event()
    ask = ["nvidia-smi", "--query-gpu=utilization.gpu,clocks.sm", "--format=csv,noheader,nounits"]

    def look() -> None:
        while not ended.wait(_SECONDS_OF_A_LOOK):
            done = subprocess.run([*ask, "--id=0"], capture_output=True, text=True, check=False)
            numbers = done.stdout.split(",")
            if len(numbers) == 2 and numbers[0].strip() not in ("0", "[N/A]"):
                found.append(int(numbers[1]))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        ended.set()
        looking.join()


def _random_images(file: Path) -> Path:
    """The four arrays of CIFAR-10 in their shapes."""
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 50_000), ("test", 10_000)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count, dtype=np.uint8)[:, None] % 10
    np.savez(file, **arrays)
    return file
