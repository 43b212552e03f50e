"""`mlreg evaluate`, `export`, `import`: versions measured again, given away, taken in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.cli.app import app, session
from registry_core.cli.options import (
    DataDirOption,
    DatasetArgument,
    DryRunOption,
    JsonOption,
    PresetOption,
    QuietOption,
    ReferenceArgument,
    finite,
)
from registry_core.errors import UsageError
from registry_core.refs import parse_words, shown
from registry_core.ui import output
from registry_core.ui.tables.runs import show_reevaluation

if TYPE_CHECKING:
    from registry_core.config import RunConfig
    from registry_core.training import KerasAdopter

# More than any machine has and than anyone waits for; limits of the system are whole numbers.
_MOST_GIGABYTES = 1_000_000
_MOST_SECONDS = 10_000_000


@app.command()
def evaluate(
    reference: ReferenceArgument,
    split: Annotated[
        str, typer.Option(metavar="SPLIT", help="test, validation or train.")
    ] = "test",
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a version again, and compare with what was recorded; nothing is changed."""
    from registry_core import custom_code, reevaluation
    from registry_core.cli.recorded import load_recorded
    from registry_core.cli.starting import require_training
    from registry_core.signals import stop_on_signals
    from registry_core.ui.watchers import watch

    registry = session.open()
    version = registry.version(parse_words(reference))
    if split not in reevaluation.SPLITS:
        raise UsageError(
            f"There is no split {shown(split)}.", f"Splits: {', '.join(reevaluation.SPLITS)}."
        )
    manifest = registry.store.manifest(version)
    custom_code.check_here(version, manifest, registry.settings)
    plugins = load_recorded(registry.settings, version.ref, manifest)
    plan = reevaluation.plan_of(plugins, manifest, data_dir)
    require_training()
    registry.store.check(version)
    with stop_on_signals() as stop, watch(quiet) as observer:
        stop.outcome = "Nothing was changed."
        found = reevaluation.evaluate(
            plan,
            version,
            split,
            registry.outcomes(version),
            imported="imported" in manifest,
            plugins=plugins,
            load_evaluator=_load_adopter,
            load_model=lambda version: registry.load(version.ref),
            observer=observer,
        )
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([version.ref])
    else:
        show_reevaluation(found)


@app.command()
def export(
    reference: ReferenceArgument,
    form: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="keras, h5, savedmodel or figures."),
    ] = "keras",
    out: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PATH", help="Where to write it.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a version's model for other tools: .keras, .h5 or a SavedModel; or its figures."""
    registry = session.open()
    version = registry.version(parse_words(reference))
    written = registry.export(version.ref, form, out, overwrite)
    if as_json:
        output.print_json({"version": version.ref, "format": form, "path": str(written)})
    elif quiet:
        output.print_text(written)
    else:
        output.print_text(f"Wrote {version.ref} to {written}")


@app.command("import")
def import_model(
    dataset: DatasetArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The model: a .keras file.")],
    name: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Register under this name; else the plugin's."),
    ] = None,
    preset: PresetOption = None,
    data_dir: DataDirOption = None,
    max_memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            min=0.1,
            max=_MOST_GIGABYTES,
            help="Memory the model may ask for; else by its size.",
            callback=finite,
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            min=1,
            max=_MOST_SECONDS,
            help="Seconds to load and to answer a batch; the same.",
            callback=finite,
        ),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Inspect, measure and register a model that was made elsewhere."""
    from registry_core import adoption
    from registry_core.cli.runs import standard_report, tell_version
    from registry_core.cli.starting import require_training
    from registry_core.model_import import Examiner
    from registry_core.plans import plan_run
    from registry_core.plugins import KnownPlugins
    from registry_core.signals import stop_on_signals
    from registry_core.ui.text import literal, size
    from registry_core.ui.watchers import watch

    registry = session.open(create=True)
    plugins = KnownPlugins(registry.settings).load(dataset)
    plan = plan_run(plugins, preset, None, name, data_dir)
    require_training()
    memory_bytes = None if max_memory is None else round(max_memory * 1e9)
    if dry_run:
        with stop_on_signals() as stop, watch(quiet) as observer, _allow_more(dataset, file):
            examiner = Examiner(memory_bytes, max_seconds, stop.obey, observer.warn)
            count, sha256 = adoption.examine(file, examiner)
        if as_json:
            found = {"path": str(file), "size": count, "sha256": sha256}
            output.print_json({**plan.to_json(), "file": found, "dry_run": True})
            return
        output.print_text(
            f"Nothing in {literal(file.name)} ({size(count)}, sha256 {sha256}) speaks against it.\n"
            f"Would measure it on the test split of {plan.dataset}, preset {plan.preset};\n"
            f"and register it as the next version of '{plan.model}' in {registry.folder}."
        )
        return
    with stop_on_signals() as stop, watch(quiet) as observer, _allow_more(dataset, file):
        version = adoption.adopt(
            plan,
            file,
            plugins=plugins,
            store=registry.store,
            load_adopter=_load_adopter,
            standard_report=standard_report,
            observer=observer,
            stop=stop,
            project=registry.settings.folder,
            examiner=Examiner(memory_bytes, max_seconds, stop.obey, observer.warn),
        )
    tell_version(version, registry, as_json, quiet)


@contextmanager
def _allow_more(dataset: str, file: Path) -> Iterator[None]:
    """Add to the error of a file that asks for too much the command that allows more."""
    from registry_core.model_import.limits import LimitError

    try:
        yield
    except LimitError as error:
        error.command = f"mlreg import {dataset} {shlex.quote(str(file))} {error.option}"
        raise


def _load_adopter(config: RunConfig) -> KerasAdopter:
    from registry_core.training import KerasAdopter  # TensorFlow loads here

    return KerasAdopter(config)
