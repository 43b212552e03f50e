"""What a run says of itself: what is trained, where, and what changed since it was specified."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from registry_core.data.recorded import validation_split
from registry_core.errors import DataError, IntegrityError
from registry_core.lifecycle.record_diff import changed_code, changed_data, changed_since
from registry_core.lifecycle.spec import RunSpec
from registry_core.process.machine import graphics_cards
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


def say_where(origin: Mapping[str, Any], observer: Observer) -> None:
    """Say which device trains."""
    environment, splits = origin["environment"], origin["data"]["splits"]
    library = f", TensorFlow {environment['tensorflow']}" if "tensorflow" in environment else ""
    # without a graphics card the device is named by the processor's architecture alone
    is_processor = environment["device"] == platform.machine()
    device = environment["processor"] if is_processor else environment["device"]
    observer.say(f"On {device}; {environment['cpus']} cores{library}")
    if (other := validation_split(splits)) is not None:
        observer.say(f"The validation split is the {other} split itself")


def say_epoch(checkpoints: Checkpoints, observer: Observer) -> None:
    """Say in which epoch a run is resumed."""
    if (file := checkpoints.checkpoint) is not None:
        with suppress(IntegrityError):  # fit says what is wrong with it
            state = read_state(file)
            observer.resumed(state["epoch"], state["step"])


def warn_of_overruled(environment: Mapping[str, Any], observer: Observer) -> None:
    """Warn of settings of the user's environment that this run does not follow.

    Args:
        environment: of the run's record.
        observer: receives the warnings.
    """
    for name, value in environment.get("overruled", {}).items():
        if name.startswith("floatx"):
            observer.warn(
                f"The {name} is {value}, which a run does not follow: its precision is a setting, "
                "such as -p precision=mixed_float16."
            )
        else:
            observer.warn(f"{name} is {value}, and mlreg trains with the TensorFlow backend.")
    if environment["variables"].get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        observer.warn(
            "TF_USE_LEGACY_KERAS is set: tf.keras is Keras 2, whose models mlreg cannot train. "
            "Plugins have to build their models with `import keras`."
        )


def warn_of_unused_gpus(environment: Mapping[str, Any], observer: Observer) -> None:
    """Warn of graphics cards of this machine that TensorFlow does not find, unless they are hidden.

    Args:
        environment: of the run's record.
        observer: receives the warning.
    """
    hidden = environment["variables"].get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if environment["device"] != platform.machine() or environment.get("gpus") == 0 or hidden:
        return
    if cards := [card["name"] for card in graphics_cards()]:
        observer.warn(
            f"TensorFlow does not find this machine's {' and '.join(cards)}, so the processor "
            "trains. It needs CUDA's libraries: pip install 'tensorflow[and-cuda]'. With --gpus 0 "
            "a run uses no GPU and says nothing."
        )


class OtherExamplesError(DataError):
    """A trial has other examples than its sweep, so it cannot be compared."""


def refuse_other_data(
    spec: RunSpec, began_with: Mapping[str, Any] | None, data: Mapping[str, Any]
) -> None:
    """Refuse data that is not what a run was specified for, or began with.

    Args:
        spec: what is run.
        began_with: what a resumed run began with; None for a new run.
        data: what `describe` says of the splits.

    Raises:
        DataError: names a split.
    """
    known = [spec.data, began_with["data"]["splits"] if began_with else None]
    for splits in filter(None, known):
        # the examples to train on may depend on what a sweep searches
        of_trial = spec.sweep is not None and "trial" in spec.sweep
        names = splits if of_trial else data["splits"]
        now = {name: split for name, split in data["splits"].items() if name in names}
        for change in changed_data(splits, now):
            if of_trial:
                raise OtherExamplesError(
                    f"The {change.what} of a trial has {change.now}, and that of its sweep "
                    f"{change.then}.",
                    "Trials are compared on the same examples: search no setting that changes "
                    "them, and start another sweep if the data changed.",
                )
            what, need = "was specified for", "This run"
            if spec.resumes:
                what, need = "began with", "A resumed run"
            raise DataError(
                f"The data is not what the run {what}: {change.what} has {change.now}, and had "
                f"{change.then}.",
                f"{need} needs the data that it {what}: start a new run.",
                f"mlreg run {spec.dataset} --preset {spec.preset}",
            )


def warn_of_changes(
    spec: RunSpec,
    began_with: Mapping[str, Any] | None,
    now: Mapping[str, Any],
    observer: Observer,
) -> None:
    """Warn of what changed since a run was specified, or began.

    Args:
        spec: what is run.
        began_with: what a resumed run began with; None for a new run.
        now: the same of this process.
        observer: receives the warnings.
    """
    for change in changed_code(spec.code, now) if spec.code else []:
        observer.warn(
            f"Not as it was when the run was specified: {change}. Its weights may differ."
        )
    for change in changed_since(began_with, now) if began_with else []:
        observer.warn(
            f"Not as it was when the run began: {change}. Its weights may differ from those of "
            "a run that was never stopped."
        )
