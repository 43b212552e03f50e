"""What a sweep finds out before its first trial: the data, and what a trial will measure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from registry_core.config import RunConfig
from registry_core.data.checks import describe
from registry_core.data.recorded import validation_split
from registry_core.dataclass import dataclass
from registry_core.errors import UsageError
from registry_core.lifecycle.assembly import assemble, load_data
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.reproduce import EphemeralWorkspace
from registry_core.lifecycle.spec import RunSpec
from registry_core.lifecycle.trial_parents import say_parent, say_what_fits, with_first
from registry_core.tasks import Objective
from registry_core.types import SealedSplit, Split


@dataclass(frozen=True)
class TrialMetrics:
    """What a trial measures.

    Args:
        objective: of the task.
        in_epochs: the metrics after each epoch, without `val_`.
    """

    objective: Objective
    in_epochs: Sequence[str]

    @property
    def names(self) -> list[str]:
        """What the sweep can go by, such as `val_loss`."""
        return [f"val_{name}" for name in dict.fromkeys([self.objective.name, *self.in_epochs])]


def describe_for_sweep(
    spec: RunSpec,
    context: RunContext,
    command: str,
    tried: Mapping[str, Sequence[Any]],
    say: Callable[[str], object],
) -> tuple[dict[str, Any], TrialMetrics]:
    """Describe every split, and find out what the model measures. Trains nothing.

    Args:
        spec: of a run with the settings that no trial changes, and values for the others.
        context: what a run needs.
        command: what was typed, without the setting that would help.
        tried: setting -> values that trials may have, such as both ends of a range.
        say: takes what is said of all trials.

    Returns:
        Split -> what `describe` says of it, and what a trial measures.

    Raises:
        UsageError: there is no validation split, or it is another split too; or nothing fits of
            the version to start from.
        MlregError: of the kind that is at fault.
    """
    if spec.start_from is not None:
        spec = with_first(spec, tried)  # with the preset's own values nothing may fit
    with ExitStack() as stack:
        data = load_data(spec, context)
        with context.plugins.attribute_errors("mlreg_dataset"):
            splits = describe(data, context.observer)["splits"]
        _check_validation(splits, spec, command)
        data = replace(data, test=cast(Split, SealedSplit()))
        backend = context.load_backend(spec.config)
        stack.enter_context(backend.precision())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        with context.plugins.attribute_errors("mlreg_dataset"):
            data = backend.check_data(data, read=False)
        assembly = assemble(spec, data, backend, EphemeralWorkspace(Path(folder)), context)
        with context.plugins.attribute_errors("mlreg_model"):
            names = backend.metric_names(assembly)
        if spec.start_from is not None:
            say_parent(spec.start_from, assembly.parent or {}, say)
            say_what_fits(spec, tried, data, backend, context, say)
    assert data.task is not None  # noqa: S101 - load_data found it
    return splits, TrialMetrics(data.task.resolved_objective, names)


def _check_validation(splits: Mapping[str, Any], spec: RunSpec, command: str) -> None:
    if "validation" not in splits:
        what = "has no validation split"
    elif (other := validation_split(splits)) is not None:
        what = f"validates on the {other} split itself"
    else:
        return
    setting = holds_out(spec.config, splits["train"]["examples"])
    raise UsageError(
        f"The preset '{spec.preset}' of {spec.dataset} {what}, so no values can be chosen by it.",
        "Hold out training examples: a sweep never chooses by the test split."
        if setting
        else "The plugin has to hold out training examples: a sweep never chooses by the test "
        "split.",
        f"{command} -p {setting}" if setting else "",
    )


def holds_out(config: RunConfig, examples: int) -> str:
    """The setting that holds out validation examples, with a value; empty if none looks like it.

    Args:
        config: of the plugin's own class.
        examples: of the training split.
    """
    for name, value in config.values().items():
        words = set(name.split("_"))
        if not words & {"validation", "val", "holdout"} or isinstance(value, bool):
            continue
        is_share = isinstance(value, float) or words & {"fraction", "share", "split", "ratio"}
        tenth = max(1, examples // 10)
        text = (
            "0.1"
            if is_share
            else str(tenth // 10 ** (len(str(tenth)) - 1)) + "0" * (len(str(tenth)) - 1)
        )
        try:
            config.changed({name: text})
        except UsageError:
            continue
        return f"{name}={text}"
    return ""
