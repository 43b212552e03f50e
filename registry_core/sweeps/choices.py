"""What a user chooses of a sweep, how it is typed, and what of it can be refused at once."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from registry_core.errors import UsageError
from registry_core.executors.cluster_address import check_place
from registry_core.executors.interface import HERE, Placement
from registry_core.formatting import as_typed, counted
from registry_core.sweeps.record import MAXIMIZE, MINIMIZE

# More trials than this are a typing error: at a minute each they take a week.
MOST_TRIALS = 10_000
DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class SweepChoices:
    """What a user chooses of a sweep.

    Args:
        overrides: key -> what `-p` has: a value, a range, choices.
        trials: how many; None is every combination of a grid, or 20.
        sampler: `tpe`, `random` or `grid`.
        metric: such as `val_loss`, or `val_score:max`; empty takes the task's objective.
        prune: `median` or `hyperband`; None prunes nothing.
        minutes: after which no new trial begins.
        register: `best`, `none` or the number of a trial.
        confirm: with how many other seeds the winner is trained.
        placement: where trials run, how many at a time, and what each gets.
        named: its name in plugins.toml.
        start_from: the version that every trial starts from, as `flowers@3`; empty for none.
    """

    overrides: Mapping[str, Any] = field(default_factory=dict)
    trials: int | None = None
    sampler: str = "tpe"
    metric: str = ""
    prune: str | None = None
    minutes: float | None = None
    register: str = "best"
    confirm: int = 0
    placement: Placement = HERE
    named: str = ""
    start_from: str = ""


@dataclass(frozen=True)
class TypedSweep:
    """What asked for a sweep, to be written as a command.

    Args:
        dataset: the plugin's name.
        preset: as it was chosen.
        name: as it was chosen.
        data_dir: as it was chosen.
        choices: of the user; of a named sweep, those of plugins.toml and the command line together.
    """

    dataset: str
    preset: str | None
    name: str | None
    data_dir: Path | None
    choices: SweepChoices

    def command(self, without: Sequence[str] = ()) -> str:
        """The command line, without some of its options."""
        chosen, usual = self.choices, SweepChoices()
        words = ["mlreg", "sweep", self.dataset]
        for option, value in (("preset", self.preset), ("name", self.name)):
            words += [f"--{option}", value] if value and option not in without else []
        words += ["--from", chosen.start_from] if chosen.start_from else []
        words += ["--data-dir", str(self.data_dir)] if self.data_dir else []
        for key, value in chosen.overrides.items():
            text = ",".join(map(as_typed, value)) if isinstance(value, list) else as_typed(value)
            words += ["-p", f"{key}={text}"]
        for option in ("trials", "sampler", "metric", "prune", "minutes", "register", "confirm"):
            value = getattr(chosen, option)
            if option not in without and value != getattr(usual, option):
                words += [f"--{option}", str(value)]
        for option in ("on", "parallel", "cpus", "gpus", "stall_minutes"):
            value = getattr(chosen.placement, option)
            if option not in without and value != getattr(HERE, option):
                words += [f"--{option.replace('_', '-')}", str(value)]
        return shlex.join(words)

    def corrected(self, fragment: str) -> str:
        """The command line with a setting or an option as a suggestion has it.

        Args:
            fragment: `-p units=4..8`, or `--sampler tpe`.
        """
        words = shlex.split(fragment)
        if words[0] != "-p":
            options = [word.removeprefix("--") for word in words if word.startswith("--")]
            return f"{self.command(without=options)} {fragment}"
        key, _, value = words[1].partition("=")
        overrides = {**self.choices.overrides, key: value}
        return replace(self, choices=replace(self.choices, overrides=overrides)).command()


def check_numbers(choices: SweepChoices, count: int) -> None:
    if not 1 <= count <= MOST_TRIALS:
        raise UsageError(
            f"--trials {count:,} is not possible.",
            f"A sweep has 1 to {MOST_TRIALS:,} trials.",
            f"--trials {DEFAULT_TRIALS}",
        )
    placement = choices.placement
    if placement.parallel is not None and placement.parallel < 1:
        raise UsageError(f"--parallel {placement.parallel} is too few.", "At least 1.")
    check_place(placement.on)
    if placement.on != "local" and placement.parallel is None:
        raise UsageError(
            f"--on {placement.on} needs to know how many trials run at a time.",
            "What a trial tries follows from those that ended before it began.",
            f"--on {placement.on} --parallel 4",
        )
    if choices.minutes is not None and not choices.minutes > 0:
        raise UsageError(f"--minutes {choices.minutes:g} is too few.", "Name a number above 0.")
    if choices.confirm == 1 or choices.confirm < 0:
        raise UsageError(
            f"--confirm {choices.confirm} is too few.",
            "Two seeds or more have a spread; leave it out for none.",
            "--confirm 5",
        )
    register = choices.register
    if register not in ("best", "none") and not register.isdigit():
        raise UsageError(
            f"--register {register} is not possible.",
            "It is best, none, or the number of a trial.",
            "--register best",
        )
    if register.isdigit() and int(register) >= count:
        raise UsageError(
            f"--register {register} names none of the {counted(count, 'trial')}.",
            f"They are numbered from 0 to {count - 1}.",
            "--register best",
        )
    if choices.confirm and register == "none":
        raise UsageError(
            "--confirm needs a winner, and --register none registers none.",
            "Leave one of them out.",
        )


def metric_and_direction(text: str) -> tuple[str, str]:
    """The metric and its direction, as far as they were chosen; empty for what was not."""
    metric, _, direction = text.partition(":")
    if metric.startswith("test_"):
        raise UsageError(
            f"A sweep cannot go by {metric}: it never looks at the test split.",
            "Name a metric of the validation split.",
            f"--metric val_{metric.removeprefix('test_')}",
        )
    if direction not in ("", "max", "min"):
        raise UsageError(
            f"--metric {text}: '{direction}' is no direction.",
            "It is max if more is better, min if less is.",
            f"--metric {metric}:max",
        )
    if metric and not metric.startswith("val_"):
        metric = f"val_{metric}"
    return metric, {"": "", "max": MAXIMIZE, "min": MINIMIZE}[direction]
