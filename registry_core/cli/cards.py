"""`mlreg card`, `bom`: documents about a version, for people and programs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import JsonOption, ReferenceArgument
from registry_core.refs import parse_words
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
    out = None if out == _STDOUT else out
    if out is not None:
        _write(made.text, out, overwrite, f"mlreg card {made.version} -o", _MARKDOWN)
    if as_json:
        output.print_json({**made.to_json(), "path": None if out is None else str(out)})
    elif out is None:
        output.print_text(made.text.rstrip("\n"))
    else:
        output.print_text(f"Wrote the card of {made.version} to {out}")


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
    out = None if out == _STDOUT else out
    if out is not None:
        _write(made.text, out, overwrite, f"mlreg bom {made.version} -o", _JSON)
    if as_json:
        output.print_json({**made.to_json(), "path": None if out is None else str(out)})
    elif out is None:
        output.print_text(made.text.rstrip("\n"))
    else:
        output.print_text(f"Wrote the bill of materials of {made.version} to {out}")


def _write(text: str, path: Path, overwrite: bool, command: str, endings: tuple[str, ...]) -> None:
    """Write a document; it appears complete or not at all."""
    from registry_core.exports.outputs import Output

    Output(path, False, overwrite, command, fallback=path, endings=endings).write_text(text)
