"""Every format that a model is exported to: size, difference, latency, and what int8 costs.

Each export is run beside the Keras model, in the same process and in turn, on 100 test examples.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import report

# side -> format, and whether in 8-bit integers
SIDES = {
    "h5": ("h5", False),
    "hub": ("hub", False),
    "savedmodel": ("savedmodel", False),
    "onnx": ("onnx", False),
    "litert": ("litert", False),
    "litert --int8": ("litert", True),
}


def main(arguments: list[str]) -> None:
    """`python -m benchmarks exports cifar10@1 --registry FOLDER`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks exports", description=__doc__)
    parser.add_argument("reference", help="a version: cifar10@1")
    parser.add_argument("--registry", type=Path, help="its registry; default: as for mlreg")
    parser.add_argument("--data-dir", help="as for mlreg export; default: the cache")
    parser.add_argument("--rounds", type=int, default=3, help="exports of each format")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    from registry_core import open_registry

    registry = open_registry(options.registry)
    version = registry.version(options.reference)

    def once(form: str, int8: bool) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "export"
            return registry.export(
                version, form, output, int8=int8, data_dir=options.data_dir
            ).check

    rows = measured(once, options.rounds)
    keras_size = rows[0].pop("keras_size")
    for row in rows[1:]:
        del row["keras_size"]
    report(
        "exports",
        rows,
        options.record,
        timed=False,
        version=version.ref,
        dataset=version.dataset,
        preset=version.preset,
        keras_size=keras_size,
        rounds=options.rounds,
    )


def measured(once: Callable[[str, bool], Any], rounds: int) -> list[dict[str, Any]]:
    """A row for each side, from the round in which its latency was the median.

    Args:
        once: writes a format and returns its check; the paired test of int8 is made in one round.
        rounds: how often each format is written.
    """
    rows = []
    for side, (form, int8) in SIDES.items():
        checks = [once(form, int8) for _ in range(1 if int8 else rounds)]
        check = sorted(checks, key=lambda each: each.milliseconds)[len(checks) // 2]
        row = {
            "side": side,
            "size": check.size,
            "keras_size": check.keras_size,
            "inputs": check.inputs,
            "examples": check.examples,
            "largest_difference": check.largest_difference,
            "largest_output": check.largest_output,
            "milliseconds": round(check.milliseconds, 3),
            "keras_milliseconds": round(check.keras_milliseconds, 3),
        }
        if check.int8:
            row["int8"] = check.int8.to_json()
        rows.append(row)
        print(row, flush=True)
    return rows
