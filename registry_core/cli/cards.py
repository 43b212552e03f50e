"""`mlreg card`, `bom`: documents about a version, for people and programs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import JsonOption, ReferenceArgument
from registry_core.refs import parse_words
from registry_core.results import BillOfMaterials, ModelCard
from registry_core.terminal import output

OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Write to this file, not to the terminal.",
        autocompletion=completed_by("files"),
    ),
]

# where both go without -o
_STDOUT = Path("-")

# what the names of the files may end in
_MARKDOWN = (".md", ".markdown", ".txt")
_JSON = (".json",)

OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]


@app.command(examples=("mlreg card cifar10@production", "mlreg card cifar10@3 -o README.md"))
def card(
    reference: ReferenceArgument,
    out: OutputOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a version's model card, in Markdown.

    It has what the registry recorded, and says what is not recorded. The tags card.intended-use,
    card.not-for and card.license of a version add what only a person knows.
    """
    made = session.open().card(parse_words(reference))
    _show(made, "card", "mlreg card", _MARKDOWN, out, overwrite, as_json)


@app.command(examples=("mlreg bom cifar10@production", "mlreg bom cifar10@3 -o cifar10.cdx.json"))
def bom(
    reference: ReferenceArgument,
    out: OutputOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a version's bill of materials (CycloneDX).

    A version has the same bill of materials whenever it is written: its files, data, plugins,
    libraries and metrics, as CycloneDX 1.6 in JSON.
    """
    made = session.open().bom(parse_words(reference))
    _show(made, "bill of materials", "mlreg bom", _JSON, out, overwrite, as_json)


def _show(
    made: ModelCard | BillOfMaterials,
    what: str,
    command: str,
    endings: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a document to a file, where it appears complete or not at all, or to the terminal."""
    out = None if out == _STDOUT else out
    if out is not None:
        from registry_core.exports.outputs import Output

        again = f"{command} {made.version} -o"
        Output(out, False, overwrite, again, fallback=out, endings=endings).write_text(made.text)
    if as_json:
        output.print_json({**made.to_json(), "path": None if out is None else str(out)})
    elif out is None:
        output.print_text(made.text.rstrip("\n"))
    else:
        output.print_text(f"Wrote the {what} of {made.version} to {out}")
