"""What each change to a preset does to validation accuracy and to the operations of its training.

Each variant is trained on the training images without 5,000 that are held out, and validated once
on these, with all seeds; the test images are never looked at. Every training that ends becomes a
line of the log at once. Those in the log are not repeated, so a stopped ablation can be continued
by the same command.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.load import Load
from benchmarks.log import Log
from benchmarks.measure import command_cost, report

BASE = "whole"
HELD_OUT = 5_000

# of a preset that trains all of its blocks on whole images in every epoch
WHOLE: Mapping[str, Any] = {"small_epochs": 0, "first_block_epochs": None}

# name -> what it changes in such a preset
VARIANTS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    BASE: lambda preset: {},
    "24px": lambda preset: _small(preset, 24),
    "24px-narrow": lambda preset: {**_small(preset, 24), **_narrow(preset)},
    "20px": lambda preset: _small(preset, 20),
    "20px-narrow": lambda preset: {**_small(preset, 20), **_narrow(preset)},
    "narrow": lambda preset: _narrow(preset),
    "block": lambda preset: {"first_block_epochs": round(preset.epochs * 7 / 9)},
    "proxy": lambda preset: _proxy(preset),
    "24px-proxy": lambda preset: {**_proxy(preset), **_small(preset, 24)},
}


def _small(preset: Any, pixels: int) -> dict[str, Any]:
    return {"small_epochs": round(preset.epochs * 5 / 7), "small_pixels": pixels}


def _proxy(preset: Any) -> dict[str, Any]:
    return {"proxy_epochs": max(1, round(preset.epochs / 4)), "kept_share": 0.75}


def _narrow(preset: Any) -> dict[str, Any]:
    first, second, third = preset.widths
    return {"widths": [first, second * 3 // 4, third]}


def main(arguments: list[str]) -> None:
    """`python -m benchmarks ablation --preset airbench94 --seeds 5 --log ablation.jsonl`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ablation", description=__doc__)
    parser.add_argument("--preset", default="airbench94")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each, from seed 0 on")
    parser.add_argument("--epochs", type=int, help="of each; default: the preset's")
    parser.add_argument("--images", type=int, help="training images; default: all others")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", default=[], help="of " + ", ".join(VARIANTS)
    )
    parser.add_argument(
        "--add",
        nargs="+",
        action="append",
        metavar=("NAME", "KEY=VALUE"),
        default=[],
        help="another variant; may be repeated: --add tiny epochs=4 'widths=[8, 8, 8]'",
    )
    parser.add_argument("--log", type=Path, help="JSON lines; default: a temporary file")
    parser.add_argument("--data-dir", help="as for mlreg run; default: the cache")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    try:
        variants = _variants(options)
    except ValueError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as folder:
        log = Log(options.log or Path(folder) / "ablation.jsonl")
        trained = _trained(variants, options, log)
    name = f"ablation-{options.preset}"
    report(name, table(trained), options.record, False, preset=options.preset, trainings=trained)


@dataclass(frozen=True)
class Variant:
    """A preset that is changed.

    Args:
        changes: what differs from the preset.
        settings: all of them, apart from the seed.
    """

    changes: Mapping[str, Any]
    settings: Mapping[str, Any]


def _variants(options: Any) -> dict[str, Variant]:
    """The variants by name; raises ValueError if one cannot be."""
    from cifar_plugin.presets import PRESETS
    from mlreg import MlregError
    from registry_core.config import parse_overrides

    if options.preset not in PRESETS:
        raise ValueError(f"No preset {options.preset!r}; there are {', '.join(PRESETS)}.")
    first = {"validation_examples": HELD_OUT, "watch_test": False}
    first |= {"epochs": options.epochs} if options.epochs else {}
    first |= {"train_examples": options.images} if options.images else {}
    own = PRESETS[options.preset].values()
    whole = {key: value for key, value in WHOLE.items() if own.get(key)}
    try:
        added = {name: parse_overrides(texts) for name, *texts in options.add}
        chosen = options.only or [*VARIANTS, *added]
        if unknown := [name for name in chosen if name not in VARIANTS and name not in added]:
            known = ", ".join([*VARIANTS, *added])
            raise ValueError(f"No variant {', '.join(unknown)}; there are {known}.")
        preset = PRESETS[options.preset].changed({**first, **whole})
        changes = {
            name: {**whole, **(added[name] if name in added else VARIANTS[name](preset))}
            for name in chosen
        }
        changed = {name: preset.changed(each).values() for name, each in changes.items()}
    except MlregError as error:
        raise ValueError(str(error)) from error
    except AttributeError as error:
        raise ValueError(f"{options.preset} has no {error.name}; choose with --only.") from error
    return {
        name: Variant(
            {key: values[key] for key in changes[name]},
            {key: value for key, value in values.items() if key != "seed"},
        )
        for name, values in changed.items()
    }


def _trained(variants: Mapping[str, Variant], options: Any, log: Log) -> list[dict[str, Any]]:
    """The trainings of all variants and seeds; seed by seed, so that a stop leaves whole pairs."""
    trainings = []
    for seed in range(options.seeds):
        for name, variant in variants.items():
            settings = {**variant.settings, "seed": seed}
            known = {_key(each): each for each in log.read()}
            training = known.get(_key({"preset": options.preset, "settings": settings}))
            if training is None:
                training = {
                    "preset": options.preset,
                    "seed": seed,
                    "epochs": settings["epochs"],
                    **_train(options, settings),
                    "settings": settings,
                }
                log.append({"variant": name, **training})
            training = {**training, "variant": name, "changes": variant.changes}
            shown = {key: value for key, value in training.items() if key != "settings"}
            print(json.dumps(shown), flush=True)
            trainings.append(training)
    return trainings


def _key(training: Mapping[str, Any]) -> str:
    """Equal for two trainings that would give the same."""
    return json.dumps([training["preset"], training["settings"]], sort_keys=True)


def _train(options: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.ablation_training"]
    words += [options.preset, json.dumps(settings), *filter(None, [options.data_dir])]
    load = Load()
    lines = command_cost(words, folder=machine.ROOT).report.splitlines()
    return {**json.loads(lines[-1]), **load.facts(), **machine.commit()}


def table(trainings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each variant, in the order of the trainings.

    The difference to the preset as it is, and its deviation, are over the seeds that both have.
    Accuracies and operations do not depend on other work on the machine. CPU seconds do; the row
    has the largest share of the cores that others took.
    """
    of_variant: dict[str, list[Mapping[str, Any]]] = {}
    for each in trainings:
        of_variant.setdefault(each["variant"], []).append(each)
    base = {each["seed"]: each for each in of_variant.get(BASE, ())}
    rows = []
    for name, several in of_variant.items():
        accuracies = [each["validation_accuracy"] for each in several]
        row = {
            "variant": name,
            "n": len(several),
            "validation_accuracy": round(statistics.fmean(accuracies), 4),
            "deviation": _deviation(accuracies),
            "validation_loss": round(
                statistics.fmean(each["validation_loss"] for each in several), 4
            ),
        }
        pairs = [(each, base[each["seed"]]) for each in several if each["seed"] in base]
        if pairs and name != BASE:
            differences = [
                ours["validation_accuracy"] - other["validation_accuracy"] for ours, other in pairs
            ]
            row["difference"] = round(statistics.fmean(differences), 4)
            row["difference_deviation"] = _deviation(differences)
        row["epochs"] = several[0]["epochs"]
        row["operations"] = several[0]["operations"]
        if pairs and row["operations"] and pairs[0][1]["operations"]:
            row["share_of_operations"] = round(row["operations"] / pairs[0][1]["operations"], 3)
        row["cpu_seconds"] = round(statistics.median(each["cpu_seconds"] for each in several), 1)
        row["others_share"] = max(each["others_share"] for each in several)
        row["changes"] = several[0]["changes"]
        rows.append(row)
    return rows


def _deviation(values: Sequence[float]) -> float | None:
    return round(statistics.stdev(values), 4) if len(values) > 1 else None
