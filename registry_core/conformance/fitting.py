"""Rules about short runs on a few examples: they repeat, resume, save and report."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from registry_core.conformance.models import (
    augmentation_repeats_by_seed,
    model_fits_task,
    untrained_model_loads,
)
from registry_core.conformance.rule import DATASET, NotApplicable, RuleFailure, rule
from registry_core.conformance.subject import Subject, TrialObserver
from registry_core.errors import Interrupted, TrainingError
from registry_core.lifecycle.assembly import assemble
from registry_core.lifecycle.publishing import draw_figures, notify, run_result
from registry_core.lifecycle.record import Artifacts
from registry_core.lifecycle.report_files import REGISTERED_ALL_THE_SAME, save_sections
from registry_core.lifecycle.reproduce import EphemeralWorkspace
from registry_core.lifecycle.run import execute, publish
from registry_core.process.interrupts import StopRequest
from registry_core.records import Objection
from registry_core.sections import Section
from registry_core.store import Store

# The loss of one batch has to fall by this share within so many steps.
LEAST_FALL = 0.25
MOST_STEPS = 100


class TrialWorkspace(EphemeralWorkspace):
    """A workspace that keeps a checkpoint, so that a run can be stopped and resumed."""

    def keep(self, write: Callable[[BinaryIO], object]) -> None:
        """Write the checkpoint."""
        file = self.path / "checkpoint"
        with file.open("wb") as stream:
            write(stream)
        self.checkpoint = file


@rule(
    "It trains to a finite loss",
    remedy="Lower the learning rate, and check that inputs are scaled in the model.",
    cost="fit",
    needs=[model_fits_task, untrained_model_loads],
)
def trains(subject: Subject) -> object:
    """Run two epochs on a few examples, validation and evaluation included."""
    return _first_run(subject)


@rule(
    "It can overfit one batch",
    remedy="Check that the loss fits the output (logits or probabilities), that layers are "
    "trainable, and the learning rate.",
    cost="fit",
    tier="recommended",
    kinds=DATASET,
    needs=[trains],
)
def overfits_one_batch(subject: Subject) -> None:
    """Train on one batch without augmentation, until the loss has fallen by a quarter.

    At most 100 steps, at the schedule's highest learning rate, or a tenth of it if that diverges.
    """
    try:
        losses = _losses_of_one_batch(subject, "one-batch")
    except TrainingError:
        losses = _losses_of_one_batch(subject, "one-batch-slower", 0.1)
    if min(losses) > (1 - LEAST_FALL) * losses[0]:
        raise RuleFailure(
            f"The loss of one batch was {losses[0]:.4g} at first and {min(losses):.4g} at best in "
            f"{len(losses)} steps."
        )


def _losses_of_one_batch(subject: Subject, name: str, factor: float = 1.0) -> list[float]:
    """The loss of each step on one batch, until it has fallen; `factor` is of the rate."""
    from registry_core.training.trial import at_its_highest

    losses: list[float] = []
    stop = StopRequest()

    def heard(loss: float) -> None:
        losses.append(loss)
        if loss <= (1 - LEAST_FALL) * losses[0]:
            stop.receive(signal.SIGINT)

    spec = subject.short(epochs=MOST_STEPS)
    observer = TrialObserver(on_epoch=heard)
    context = subject.context(observer, stop)
    backend = context.load_backend(spec.config)
    folder = EphemeralWorkspace(subject.new_folder(name))
    data = backend.check_data(subject.one_batch(spec.config.batch_size))
    with (
        backend.precision(),
        suppress(Interrupted),
        subject.plugins.attribute_errors("mlreg_model"),
        stop.defer_interrupts(),
    ):
        assembly = assemble(spec, data, backend, folder, context)
        bare = replace(
            assembly,
            augmentation=None,
            callbacks=[],
            schedule=at_its_highest(assembly.schedule, spec.config.epochs, factor),
            # the last phase trains most of the model
            phases=[replace(each, epochs=spec.config.epochs) for each in assembly.phases[-1:]],
        )
        backend.fit(bare, observer, stop, folder)
    return losses


@rule(
    "Two runs with the same seed make the same weights",
    remedy="Draw with keras.random and a keras.random.SeedGenerator, and seed what else you draw.",
    cost="fit",
    needs=[trains, augmentation_repeats_by_seed],
)
def runs_repeat(subject: Subject) -> None:
    """Run the same specification again in the same process, and compare digests of the weights."""
    if not subject.spec.config.deterministic:
        raise NotApplicable("The preset has deterministic=false.")
    again = _run(subject, "again", TrialObserver())
    if again.weights != _first_run(subject).weights:
        raise RuleFailure("The second run has other weights.")


@rule(
    "A run that was stopped and resumed makes the same weights",
    remedy="Keep a callback's state in plain attributes, and draw random numbers with keras.random "
    "and a keras.random.SeedGenerator. docs/callbacks.md has the details.",
    cost="fit",
    needs=[runs_repeat],
)
def resumes_to_same_weights(subject: Subject) -> None:
    """Stop a run in its second epoch, as Ctrl-C does, resume it, and compare the weights."""
    if not subject.spec.config.deterministic:
        raise NotApplicable("The preset has deterministic=false.")
    stop = StopRequest()

    def stop_in_second_epoch(epoch: int) -> None:
        if epoch == 1:
            stop.receive(signal.SIGINT)

    workspace = TrialWorkspace(subject.new_folder("resumed"))
    observer = TrialObserver(on_batch=stop_in_second_epoch)
    spec = subject.short()
    try:
        execute(spec, workspace, subject.context(observer, stop))
    except Interrupted:
        pass
    else:
        raise NotApplicable("The run ended before it could be stopped in its second epoch.")
    resumed = execute(spec, workspace, subject.context(TrialObserver()))
    if resumed.weights != _first_run(subject).weights:
        raise RuleFailure("The resumed run has other weights than the one that was never stopped.")


@rule(
    "The run warns of nothing",
    remedy="Do what the warning says, or list this rule as an expected failure with the reason.",
    cost="fit",
    tier="recommended",
    needs=[trains],
)
def run_warns_of_nothing(subject: Subject) -> None:
    """Look at the run's warnings: what cannot be resumed or repeated, and callbacks' state."""
    warnings = subject.first_run_warnings
    if warnings:
        more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
        raise RuleFailure(f"{warnings[0]}{more}")


@rule(
    "The trained model has the same outputs after loading",
    remedy="Put a layer's state into weights or get_config.",
    cost="fit",
    needs=[trains],
)
def trained_model_loads(subject: Subject) -> None:
    """Save what is evaluated and registered, load it, and compare outputs on test examples."""
    run = _first_run(subject)
    file = subject.new_folder("trained") / "model.keras"
    with run.backend.precision(), subject.plugins.attribute_errors("mlreg_inference_model"):
        run.backend.save(run.model, file)
        run.backend.check_saved(run.model, file, run.data.test)


@rule(
    "The files of the report can be opened",
    remedy="Write complete files into out_dir, close them, and return their paths.",
    cost="fit",
    needs=[trains],
)
def report_files_open(subject: Subject) -> None:
    """Call mlreg_report, and look into each PNG, SVG, PDF and text file that it returns."""
    if subject.source.name not in subject.plugins.providers("mlreg_report"):
        raise NotApplicable("It has no mlreg_report; mlreg draws its standard figures.")
    folder, observer = subject.new_folder("report"), subject.observer()
    result = run_result(_first_run(subject))
    if why := draw_figures(result, folder, subject.context(observer)).missing:
        raise RuleFailure(why)
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        if fault := _fault(file):
            raise RuleFailure(f"{file.name} {fault}.")


@rule(
    "The sections of the report can be kept and read",
    remedy="Return a list of mlreg.Section, made of the blocks that docs/plugins.md lists.",
    cost="fit",
    needs=[trains],
)
def report_sections_kept(subject: Subject) -> None:
    """Call mlreg_report_sections, write what it returns as a version keeps it, and read it back."""
    if subject.source.name not in subject.plugins.providers("mlreg_report_sections"):
        raise NotApplicable("It has no mlreg_report_sections.")
    folder, observer = subject.new_folder("sections"), subject.observer()
    context = subject.context(observer)
    kept = save_sections(run_result(_first_run(subject)), folder, context)
    if observer.warnings:
        raise RuleFailure(observer.warnings[0].removesuffix(REGISTERED_ALL_THE_SAME))
    if [Section.from_json(each.to_json()) for each in kept] != kept:
        raise RuleFailure("A section is not the same when it is read back.")


@rule(
    "A version is registered, and the hooks about promotion work",
    remedy="Correct what the message names.",
    cost="fit",
    needs=[trained_model_loads],
)
def registers_and_promotes(subject: Subject) -> None:
    """Register the run in a registry of its own, and call the hooks for an alias that moves."""
    heard, plugins = TrialObserver(), subject.plugins
    store = Store(subject.new_folder("registry"))
    with store.start_run("checked") as folder:
        version = publish(_first_run(subject), store, folder, subject.context(TrialObserver()))
    notify(plugins, "mlreg_registered", heard, version=version)
    plugins.collect(
        "mlreg_check_promotion", Objection, candidate=version, incumbent=None, alias="production"
    )
    notify(plugins, "mlreg_promoted", heard, version=version, alias="production", previous=None)
    if heard.warnings:
        raise RuleFailure(heard.warnings[0].removesuffix(" It is done all the same."))


def _fault(file: Path) -> str:
    """What is wrong with a file of a report; empty if nothing is known to be."""
    content = file.read_bytes()
    kind = file.suffix.lower()
    if not content:
        return "is empty"
    if kind == ".png":
        whole = content.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" in content[-16:]
        return "" if whole else "is not a whole PNG file"
    if kind == ".pdf" and not content.startswith(b"%PDF"):
        return "is not a PDF file"
    try:
        if kind == ".svg" and not ElementTree.fromstring(content).tag.endswith("svg"):  # noqa: S314 - the plugin's own file
            return "is not an SVG file"
        if kind in (".txt", ".md", ".csv", ".json", ".html"):
            content.decode()
    except ElementTree.ParseError as error:
        return f"is not an SVG file: {error}"
    except UnicodeDecodeError:
        return "is not UTF-8"
    return ""


def _first_run(subject: Subject) -> Artifacts:
    """The run that the others are compared with."""
    if subject.first_run is None:
        observer = TrialObserver()
        subject.first_run = _run(subject, "first", observer)
        subject.first_run_warnings = observer.warnings
    return subject.first_run


def _run(subject: Subject, name: str, observer: TrialObserver) -> Artifacts:
    workspace = EphemeralWorkspace(subject.new_folder(name))
    return execute(subject.short(), workspace, subject.context(observer))


RULES = (
    trains,
    overfits_one_batch,
    runs_repeat,
    resumes_to_same_weights,
    run_warns_of_nothing,
    trained_model_loads,
    report_files_open,
    report_sections_kept,
    registers_and_promotes,
)
