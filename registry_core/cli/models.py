"""`mlreg evaluate`, `export`, `import`: measuring again, and models to and from files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from registry_core.cli.registered import show_registered, watched
from registry_core.formatting import literal, size
from registry_core.refs import parse_words
from registry_core.terminal import output
from registry_core.terminal.tables.exports import show_export
from registry_core.terminal.tables.runs import show_reevaluation

if TYPE_CHECKING:
    from registry_core.results import ExaminedFile

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
    ref = parse_words(reference)
    registry = session.open()
    with watched(quiet) as (observer, interrupts):
        found = registry.evaluate(
            ref, split, data_dir=data_dir, observer=observer, interrupts=interrupts
        )
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([found.version.ref])
    else:
        show_reevaluation(found)


@app.command(
    examples=(
        "mlreg export cifar10@production",
        "mlreg export cifar10@3 -o classifier.onnx",
        "mlreg export cifar10@3 --format savedmodel -o serving/cifar10",
        "mlreg export cifar10@3 --format litert --int8",
        "mlreg export cifar10@3 --format figures",
        "mlreg export cifar10@3 --format files",
    )
)
def export(
    reference: ReferenceArgument,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="The format, as in keras, onnx, savedmodel, hub, files.",
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
    int8: Annotated[
        bool,
        typer.Option("--int8", help="LiteRT in 8-bit integers, with what that costs."),
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a version's model or figures to files.

    Without --format, the name decides: .keras, .h5 or .hdf5, .onnx, .tflite (litert). Without -o,
    the format is keras. savedmodel is a folder that TensorFlow Serving watches: PATH/3 for version
    3, beside other numbers; hub is one for the Hugging Face Hub, with a model card. A converted
    model is run beside the Keras model on 100 test examples, and is not written if its outputs
    differ.
    """
    ref, registry = parse_words(reference), session.open()
    with watched(quiet) as (observer, interrupts):
        written = registry.export(
            ref,
            form,
            out,
            overwrite,
            int8=int8,
            data_dir=data_dir,
            observer=observer,
            interrupts=interrupts,
        )
    if as_json:
        output.print_json(written.to_json())
    elif quiet:
        output.print_text(written.path)
    else:
        show_export(written)


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
    registry = session.open(create=True)
    with watched(quiet) as (observer, interrupts):
        what: dict[str, Any] = {
            "preset": preset,
            "name": name,
            "data_dir": data_dir,
            "max_memory_gb": max_memory,
            "max_seconds": max_seconds,
            "observer": observer,
            "interrupts": interrupts,
        }
        if dry_run:
            _show_examined(registry.examine(dataset, file, **what), as_json)
            return
        version = registry.import_model(dataset, file, **what)
    show_registered(version, registry, as_json, quiet)


def _show_examined(found: ExaminedFile, as_json: bool) -> None:
    if as_json:
        output.print_json(found.to_json())
        return
    spec = found.spec
    output.print_text(
        f"{literal(found.file.name)} ({size(found.size)}, sha256 {found.sha256}) can be imported."
        f"\nWould measure it on the test split of {spec.dataset}, preset {spec.preset};\n"
        f"and register it as the next version of '{spec.model}' in {found.registry}."
    )
