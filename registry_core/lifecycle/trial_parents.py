"""Whether the trials of a sweep can start from a version: which settings change what they take."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry_core.config import RunConfig
from registry_core.errors import MlregError, UsageError
from registry_core.formatting import as_typed, counted
from registry_core.lifecycle.assembly import new_model
from registry_core.lifecycle.backend import TrainingBackend
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.observers import SilentObserver
from registry_core.lifecycle.parents import NothingFitsError, start_model
from registry_core.lifecycle.reproduce import EphemeralWorkspace
from registry_core.lifecycle.spec import RunSpec, StartFrom
from registry_core.types import DataSplits

# The settings of every run; none of them decides a shape.
_OF_EVERY_RUN = frozenset(RunConfig.model_fields)
# A line names this many layers.
_NAMED = 3


class _Mute(SilentObserver):
    def warn(self, text: str) -> None:
        pass


def with_first(spec: RunSpec, tried: Mapping[str, Sequence[Any]]) -> RunSpec:
    """A specification with the first of the values that are tried, as far as they go together."""
    for key, values in tried.items():
        with suppress(UsageError):
            spec = replace(spec, config=spec.config.changed({key: values[0]}, recorded=True))
    return spec


def say_parent(start: StartFrom, parent: Mapping[str, Any], say: Callable[[str], object]) -> None:
    """Say what a trial takes of the version that all of them start from.

    Args:
        start: the version.
        parent: what `start_model` returned.
        say: takes the line.
    """
    layers = len(parent["taken"]) + len(parent["fresh"])
    say(
        f"Every trial starts from {start.ref}: takes the weights of {len(parent['taken']):,} of "
        f"{counted(layers, 'layer')}, {parent['parameters']:,} of {parent['of_parameters']:,} "
        "parameters"
    )


def say_what_fits(
    spec: RunSpec,
    tried: Mapping[str, Sequence[Any]],
    data: DataSplits,
    backend: TrainingBackend,
    context: RunContext,
    say: Callable[[str], object],
) -> None:
    """Say once which settings decide shapes, so that layers of some trials start fresh.

    Args:
        spec: of a run with the settings that no trial changes; starts from a version.
        tried: setting -> values of it, such as both ends of a range.
        data: the splits.
        backend: of the run.
        context: opens the version.
        say: takes each line.

    Raises:
        UsageError: with one of the values nothing of the version fits.
    """
    assert spec.start_from is not None  # noqa: S101 - the caller looked
    usual = _fresh(spec, data, backend, context)
    for key, values in tried.items():
        if key in _OF_EVERY_RUN:
            continue
        found = {}
        for value in values:
            try:
                one = replace(spec, config=spec.config.changed({key: value}, recorded=True))
                found[as_typed(value)] = _fresh(one, data, backend, context)
            except NothingFitsError as error:
                error.what = f"With {key}={as_typed(value)}: {error.what}"
                raise
            except MlregError:  # the trial that has this value says why
                continue
        if any(fresh != usual for fresh in found.values()):
            parts = [f"{_some(fresh)} with {key}={text}" for text, fresh in found.items()]
            say(
                f"{key} changes shapes. Layers that start fresh, and not from "
                f"{spec.start_from.ref}: {'; '.join(parts)}"
            )


def _fresh(
    spec: RunSpec, data: DataSplits, backend: TrainingBackend, context: RunContext
) -> list[str]:
    """The layers of a new model that take no weights."""
    silent = replace(context, observer=_Mute())
    _, model = new_model(spec, data, backend, silent)
    with tempfile.TemporaryDirectory() as folder:
        parent = start_model(model, spec, data, backend, EphemeralWorkspace(Path(folder)), silent)
    assert parent is not None  # noqa: S101 - the specification has one
    return [*parent["fresh"]]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED]) or 'none'}{more}"
