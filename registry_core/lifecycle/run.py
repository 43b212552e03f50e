"""How a run goes: data, model, fit, evaluate, save, plot, register.

`execute` trains and measures, in whatever process; `make_version` writes the files of a version,
in the same one; `register` makes a version of them, in the process that has the store; `run` does
all of it in a run folder of the store. What is trained comes from the plugins, how from the
backend, where it is kept from the store. Nothing here knows TensorFlow.
"""

from __future__ import annotations

import shlex
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from registry_core.formatting import metrics_line
from registry_core.lifecycle.context import RunContext, Workspace
from registry_core.lifecycle.fitting import NOTHING_REGISTERED, fit_model
from registry_core.lifecycle.messages import say_what
from registry_core.lifecycle.publishing import (
    MadeVersion,
    VersionFolder,
    draw_figures,
    files_below,
    kept_files,
    notify,
    run_result,
    save_log,
    save_model,
    save_results,
)
from registry_core.lifecycle.record import (
    Artifacts,
    add_late_imports,
    build_record,
    measure,
    training_line,
)
from registry_core.lifecycle.report_files import save_examples, save_report, save_sections
from registry_core.lifecycle.run_curves import ProgressWriter
from registry_core.lifecycle.run_log import ObserverPair, logged
from registry_core.lifecycle.spec import RunSpec
from registry_core.lifecycle.stages import Stages
from registry_core.lifecycle.sweep_evidence import is_confirmation, is_evidence, reason_of
from registry_core.plugins import custom_code
from registry_core.records import KEPT_FOLDER, MODEL_FILE, Version
from registry_core.store import Store, translate_storage_errors
from registry_core.store import Workspace as StoreWorkspace


def run(spec: RunSpec, store: Store, context: RunContext) -> Version:
    """Train, evaluate, save, plot and register one version, or resume a run that was stopped.

    Args:
        spec: what to run.
        store: where the version goes.
        context: what the run needs beside that.

    Raises:
        MlregError: of the kind that is at fault. No version was registered.
        Interrupted: a signal asked to stop; its outcome says whether a version was registered.
    """
    began = time.monotonic() if context.began is None else context.began
    context.interrupts.outcome = NOTHING_REGISTERED
    with (
        store.reopen_run(spec.resumes) if spec.resumes else store.start_run(spec.model) as folder,
        logged(context.observer, folder) as observer,
    ):
        observer = ObserverPair(observer, ProgressWriter(folder, observer))
        inside = replace(context, observer=observer, began=began)
        say_what(spec, folder.id, observer)
        context.observer.say(f"Registry: {store.place}")  # not logged: a registry can be moved
        if context.tensorboard is not None:
            context.observer.say(
                f"TensorBoard: tensorboard --logdir {shlex.quote(str(context.tensorboard))}"
            )
        with translate_storage_errors(
            store.folder, "keeping what the run makes", outcome=NOTHING_REGISTERED
        ):
            artifacts = execute(spec, folder, inside)
        version = publish(artifacts, store, folder, inside)
    notify(context.plugins, "mlreg_registered", context.observer, version=version)
    return version


def execute(spec: RunSpec, workspace: Workspace, context: RunContext) -> Artifacts:
    """Load the data, build the model, train it from where the workspace stands, and measure it.

    Args:
        spec: what to train.
        workspace: where checkpoints are kept; one that was begun before is resumed.
        context: what the run needs beside that.

    Raises:
        MlregError: of the kind that is at fault.
        Interrupted: a signal asked to stop.
    """
    with ExitStack() as stack:
        stages = Stages(context.observer)
        fitted = fit_model(spec, workspace, context, stages, stack)
        with (
            stages.timed("evaluate"),
            context.plugins.attribute_errors("mlreg_inference_model"),
        ):
            inference = fitted.inference_model(spec, context)
            backend, data = fitted.backend, fitted.data
            evaluation = backend.evaluate(inference, fitted.trained, data.test)
        results, metrics = measure(evaluation, data, fitted.described, context)
        validation = None
        if is_confirmation(spec.sweep):  # measured as the trials were
            with stages.timed("validate"):
                validation = fitted.validate(inference, context)
        return Artifacts(
            spec,
            backend,
            data,
            add_late_imports(fitted.origin, context),
            fitted.history,
            inference,
            evaluation,
            results,
            metrics,
            stages.seconds,
            backend.digest(inference),
            validation=validation,
        )


def publish(
    artifacts: Artifacts, store: Store, folder: StoreWorkspace, context: RunContext
) -> Version:
    """Save the model, draw the figures, and register them as the next version.

    Plugins do not hear of it yet: `notify` them when the folder has been left.

    Args:
        artifacts: what `execute` returned.
        store: where the version goes.
        folder: the run's folder in it, still open.
        context: that of `execute`; it says when the command began.

    Raises:
        MlregError: of the kind that is at fault. No version was registered.
        Interrupted: a signal asked to stop; its outcome says whether a version was registered.
    """
    made = make_version(artifacts, folder, store.folder, context)
    return register(made, store, folder, context)


def make_version(
    artifacts: Artifacts, folder: VersionFolder, place: Path, context: RunContext
) -> MadeVersion:
    """Save the model, draw the figures and write the report: the files of a version.

    Args:
        artifacts: what `execute` returned.
        folder: where the files are written.
        place: what a message about a full disk names.
        context: that of `execute`; it says when the command began.

    Raises:
        MlregError: of the kind that is at fault.
        Interrupted: a signal asked to stop.
    """
    model, observer = artifacts.spec.model, context.observer
    nothing = context.interrupts.outcome
    stages = Stages(observer, artifacts.seconds)
    extra: dict[str, object] = {}
    with (
        stages.timed("save"),
        translate_storage_errors(place, "saving the model", outcome=nothing),
    ):
        if artifacts.imported is None:  # an imported model's file is in the folder already
            extra[custom_code.KEY] = save_model(artifacts, folder.files, context)
        save_results(artifacts, folder.files)
    with stages.timed("plot"):
        result = run_result(artifacts)
        figures = draw_figures(result, folder.files, context)
        examples = save_examples(artifacts, folder.files, context)
        sections = save_sections(result, folder.files, context)

    observer.stage_began("register")
    if artifacts.imported is None:
        observer.say(metrics_line(artifacts.metrics))
        if line := training_line(artifacts):
            observer.say(line)
        observer.say(stages.summary())
    took = 0.0 if context.began is None else time.monotonic() - context.began
    record = extra | build_record(artifacts, stages.seconds, round(took, 3), figures.missing)
    save_report(
        {**record, "model": model, "run": folder.id},
        artifacts,
        examples,
        sections,
        figures.from_plugins,
        folder.files,
        observer,
    )
    return MadeVersion(
        record,
        lambda files: artifacts.backend.check_saved(
            artifacts.model, files[MODEL_FILE], artifacts.data.test
        ),
        f"imported from {artifacts.imported['file']}"
        if artifacts.imported
        else ledger_reason(artifacts.spec),
    )


def ledger_reason(spec: RunSpec) -> str:
    """Why the version of a run is registered, for the ledger; empty for a run of its own."""
    reasons = [f"starts from {spec.start_from.ref}"] if spec.start_from else []
    reasons += [reason_of(spec.sweep)] if spec.sweep and is_evidence(spec.sweep) else []
    reasons += [spec.reason] if spec.reason else []
    return "; ".join(reasons)


def register(
    made: MadeVersion, store: Store, folder: StoreWorkspace, context: RunContext
) -> Version:
    """Register the files in a run's folder, and its log, as the next version.

    Args:
        made: what `make_version` returned, in this process or in another.
        store: where the version goes.
        folder: the run's folder in it, still open, with the version's files.
        context: its observer hears warnings.

    Raises:
        MlregError: of the kind that is at fault. No version was registered.
        Interrupted: a signal asked to stop; its outcome says whether a version was registered.
    """
    observer, interrupts = context.observer, context.interrupts
    with translate_storage_errors(
        store.folder, "keeping the run's log", outcome=interrupts.outcome
    ):
        save_log(folder, observer)
    files = files_below(folder.files, observer)
    if not made.uploaded:  # otherwise they are of the last checkpoint, and the worker's are newer
        files |= kept_files(folder.path / KEPT_FOLDER, observer)
    model = folder.model
    interrupts.outcome = f"It was being registered: `mlreg list {model}` says whether it was."
    with interrupts.defer_interrupts():
        version = store.publish(
            folder, made.record, files, made.load_check, made.reason, made.uploaded, observer
        )
        interrupts.outcome = f"{version.ref} was registered before."
    return version
