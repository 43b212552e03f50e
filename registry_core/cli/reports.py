"""`mlreg report`: one version, or several side by side, as an HTML file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import JsonOption, QuietOption
from registry_core.refs import parse_many, parse_ref
from registry_core.terminal import output

if TYPE_CHECKING:
    from registry_core.reports.report import Report

# The default name of a file names this many versions.
_NAMED = 4


@app.command(
    examples=(
        "mlreg report cifar10@production --open",
        "mlreg report cifar10@1 cifar10@2 -o comparison.html",
        "mlreg report ab12cd34",
    )
)
def report(
    references: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL@VERSION...",
            help="A version; with more, all against the first; or a sweep.",
            autocompletion=completed_by("many references or a sweep"),
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write to this file.",
            autocompletion=completed_by("files"),
        ),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the file in a browser.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a report of a version, of several, or of a sweep.

    The report is one HTML file that needs no network: curves, mistakes, data, settings, promotion
    checks. Without -o, its name is made of the model and the numbers. With --json, the content is
    printed, and written only with -o or --open. If a damaged file leaves it incomplete, it is
    written all the same, and the exit status is 6.
    """
    from registry_core.cli.sweep_names import may_name_sweep, sweep_named
    from registry_core.terminal.progress import report_progress

    with report_progress() as observer:
        registry = session.open(needs_versions=not may_name_sweep(references))
        if (sweep := sweep_named(registry, references)) is not None:
            found, usual = registry.sweep_report(sweep), Path(f"sweep-{sweep.id[-8:]}.html")
        else:
            named = parse_many(references, set(registry.model_names()).__contains__, "report")
            found = registry.report(*named, observer=observer)
            usual = Path(f"{file_stem(found.versions)}.html")
    path = (out or usual) if out or open_it or not as_json else None
    if path is not None:
        _write(found, path, usual, overwrite, references if sweep else found.versions)
    if as_json:
        output.print_json({**found.to_json(), "path": None if path is None else str(path)})
    elif quiet:
        output.print_text(path)
    else:
        what = f"{found.title[:1].lower()}{found.title[1:]}" if sweep else found.title
        output.print_text(f"Wrote the report of {what} to {path}")
    if open_it and path is not None:
        from registry_core.cli.opening import open_file

        open_file(path)
    if found.error is not None:
        raise found.error


def file_stem(versions: Sequence[str]) -> str:
    """`flowers-3`; `flowers-3-vs-2`; `flowers-3-vs-trees-1`."""
    refs = [parse_ref(each) for each in versions]
    parts = [f"{refs[0].model}-{refs[0].selector}"]
    for ref in refs[1:_NAMED]:
        same = ref.model == refs[0].model
        parts.append(str(ref.selector) if same else f"{ref.model}-{ref.selector}")
    more = [f"and-{len(refs) - _NAMED}-more"] if len(refs) > _NAMED else []
    return "-".join(["-vs-".join(parts), *more])


def _write(found: Report, path: Path, usual: Path, overwrite: bool, words: Sequence[str]) -> None:
    """Write the page; it appears complete or not at all.

    Args:
        found: the report.
        path: where to.
        usual: the name that it has in a folder.
        overwrite: replace an existing file.
        words: of the command line.
    """
    from registry_core.exports.outputs import Output
    from registry_core.reports.html import ENDINGS

    command = f"mlreg report {shlex.join(words)} -o"
    place = Output(path, False, overwrite, command, fallback=usual, endings=ENDINGS)
    place.check()
    place.write_text(found.to_html())
