"""What a run says of itself: what is trained, where, and what changed since it was specified."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from registry_core.data.checks import validation_split
from registry_core.errors import DataError, IntegrityError
from registry_core.lifecycle.record_diff import changed_since
from registry_core.lifecycle.spec import RunSpec
from registry_core.store.checkpoint import read_state
from registry_core.types import Checkpoints, Observer


def say_what(spec: RunSpec, run_id: str, observer: Observer) -> None:
    """Say what is trained, and what it becomes: the first lines of a run."""
    config = spec.config
    epochs = f"{config.epochs:,} epoch{'' if config.epochs == 1 else 's'}"
    observer.say(
        f"{spec.dataset}, preset {spec.preset}, seed {config.seed}: {epochs}, "
        f"batches of {config.batch_size:,}"
    )
    observer.say(f"Run {run_id[-8:]} registers the next version of {spec.model}")


def say_where(origin: Mapping[str, Any], checkpoints: Checkpoints, observer: Observer) -> None:
    """Say which device trains, and in which epoch a run is resumed."""
    environment, splits = origin["environment"], origin["data"]["splits"]
    library = f", TensorFlow {environment['tensorflow']}" if "tensorflow" in environment else ""
    # without a graphics card the device is named by the processor's architecture alone
    is_processor = environment["device"] == platform.machine()
    device = environment["processor"] if is_processor else environment["device"]
    observer.say(f"On {device}; {environment['cpus']} cores{library}")
    if (other := validation_split(splits)) is not None:
        observer.say(f"The validation split is the {other} split itself")
    if (file := checkpoints.checkpoint) is not None:
        with suppress(IntegrityError):  # fit says what is wrong with it
            state = read_state(file)
            observer.resumed(state["epoch"], state["step"])


def warn_of_changes(
    then: Mapping[str, Any] | None, now: Mapping[str, Any], observer: Observer
) -> None:
    """Warn of what changed since a resumed run began.

    Args:
        then: what the run began with; None for a new run.
        now: the same of this process.
        observer: receives the warnings.

    Raises:
        DataError: the data changed.
    """
    for change in changed_since(then, now) if then else []:
        if change.kind == "data":
            raise DataError(
                f"The data is not what the run began with: {change.what} has {change.now}, and had "
                f"{change.then}.",
                "A resumed run needs the data that it began with: start a new run.",
                f"mlreg run {now['dataset']} --preset {now['preset']}",
            )
        observer.warn(
            f"Not as it was when the run began: {change}. It may end in other weights than it "
            "would have."
        )
