"""`mlreg evaluate`, `export`, `import`: measuring again, and models to and from files."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import (
    DataDirOption,
    DatasetArgument,
    DryRunOption,
    JsonOption,
    NameOption,
    PresetOption,
    QuietOption,
    ReferenceArgument,
    finite,
)
from registry_core.errors import UsageError
from registry_core.refs import parse_words, shown
from registry_core.terminal import output
from registry_core.terminal.tables.runs import show_reevaluation

# More than any machine has and than anyone waits for; limits of the system are whole numbers.
_MOST_GIGABYTES = 1_000_000
_MOST_SECONDS = 10_000_000


@app.command(examples=("mlreg evaluate cifar10@production --split validation",))
def evaluate(
    reference: ReferenceArgument,
    split: Annotated[
        str,
        typer.Option(
            metavar="SPLIT",
            help="Measure on test, validation or train.",
            autocompletion=completed_by("splits"),
        ),
    ] = "test",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a version again and compare with its record."""
    from registry_core.cli.runs import run_context
    from registry_core.cli.starting import require_training
    from registry_core.lifecycle import reevaluate as reevaluation
    from registry_core.lifecycle.record import RecordedVersion
    from registry_core.plugins import custom_code
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.terminal.progress import report_progress

    registry = session.open()
    version = registry.version(parse_words(reference))
    if split not in reevaluation.SPLITS:
        near = difflib.get_close_matches(split, reevaluation.SPLITS, n=1, cutoff=0.5) or ["test"]
        raise UsageError(
            f"No split {shown(split)}.",
            f"Splits: {', '.join(reevaluation.SPLITS)}.",
            f"mlreg evaluate {version.ref} --split {near[0]}",
        )
    manifest = registry.store.manifest(version)
    custom_code.check_here(version.ref, manifest, registry.settings)
    plugins = KnownPlugins(registry.settings).load(version.dataset)
    plan = reevaluation.spec_of_data(plugins, manifest, data_dir)
    require_training()
    registry.store.check(version)
    with stop_on_signals() as stop, report_progress(quiet) as observer:
        found = reevaluation.evaluate(
            plan,
            RecordedVersion(version, manifest, registry.per_example_results(version)),
            split,
            lambda version: registry.load(version.ref),
            run_context(registry, plugins, observer, stop),
        )
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([version.ref])
    else:
        show_reevaluation(found)


@app.command(
    examples=(
        "mlreg export cifar10@production",
        "mlreg export cifar10@3 -o classifier.h5",
        "mlreg export cifar10@3 --format figures",
    )
)
def export(
    reference: ReferenceArgument,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Write keras, h5, savedmodel or figures.",
            autocompletion=completed_by("formats"),
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="Write to this file or folder.",
            autocompletion=completed_by("files"),
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a version's model or figures to files.

    Without --format, the name decides: .keras is keras, .h5 and .hdf5 are h5. Without -o, the
    format is keras.
    """
    written = session.open().export(parse_words(reference), form, out, overwrite)
    if as_json:
        output.print_json(written.to_json())
    elif quiet:
        output.print_text(written.path)
    else:
        output.print_text(f"Wrote {written.version} to {written.path}")


@app.command("import", examples=("mlreg import cifar10 model.keras --name classifier",))
def import_model(
    dataset: DatasetArgument,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .keras file.", autocompletion=completed_by("files")),
    ],
    name: NameOption = None,
    preset: PresetOption = None,
    data_dir: DataDirOption = None,
    max_memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            min=0.1,
            max=_MOST_GIGABYTES,
            help="Allow the model this much memory.",
            callback=finite,
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            min=1,
            max=_MOST_SECONDS,
            help="Allow this long for loading and one batch.",
            callback=finite,
        ),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check, measure and register a model file.

    The file is examined in a process with limits before Keras opens it.
    """
    from registry_core.cli.runs import run_context, tell_version
    from registry_core.cli.starting import require_training
    from registry_core.lifecycle.spec import spec_from_preset
    from registry_core.model_import import Examiner
    from registry_core.model_import import import_model as adoption
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.terminal.progress import report_progress
    from registry_core.terminal.text import literal, size

    registry = session.open(create=True)
    plugins = KnownPlugins(registry.settings).load(dataset)
    plan = spec_from_preset(plugins, preset, None, name, data_dir)
    require_training()
    memory_bytes = None if max_memory is None else round(max_memory * 1e9)
    if dry_run:
        with (
            stop_on_signals() as stop,
            report_progress(quiet) as observer,
            _allow_more(dataset, file),
        ):
            examiner = Examiner(memory_bytes, max_seconds, stop.raise_if_requested, observer.warn)
            count, sha256 = adoption.examine(file, examiner)
        if as_json:
            found = {"path": str(file), "size": count, "sha256": sha256}
            output.print_json({**plan.to_json(), "file": found, "dry_run": True})
            return
        output.print_text(
            f"{literal(file.name)} ({size(count)}, sha256 {sha256}) can be imported.\n"
            f"Would measure it on the test split of {plan.dataset}, preset {plan.preset};\n"
            f"and register it as the next version of '{plan.model}' in {registry.folder}."
        )
        return
    with stop_on_signals() as stop, report_progress(quiet) as observer, _allow_more(dataset, file):
        version = adoption.import_model(
            plan,
            file,
            registry.store,
            run_context(registry, plugins, observer, stop),
            Examiner(memory_bytes, max_seconds, stop.raise_if_requested, observer.warn),
        )
    tell_version(version, registry, as_json, quiet)


@contextmanager
def _allow_more(dataset: str, file: Path) -> Iterator[None]:
    """Add to a limit's error the command that raises the limit."""
    from registry_core.model_import.limits import LimitError

    try:
        yield
    except LimitError as error:
        error.command = f"mlreg import {dataset} {shlex.quote(str(file))} {error.option}"
        raise
