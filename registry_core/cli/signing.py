"""`mlreg sign`: sign a version with a private key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from registry_core.cli.app import app, completed_by, session
from registry_core.cli.options import JsonOption, QuietOption, ReasonOption, VersionArgument
from registry_core.process import streams
from registry_core.refs import parse_target
from registry_core.signing.keys import read_key_file
from registry_core.terminal import output

_PASSWORD = "MLREG_KEY_PASSWORD"  # noqa: S105 - the name of a variable


@app.command(examples=("mlreg sign cifar10@3 --key release.pem",))
def sign(
    reference: VersionArgument,
    key: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Sign with this private key, in PEM form.",
            autocompletion=completed_by("files"),
        ),
    ],
    reason: ReasonOption = "",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Sign a version's files and manifest.

    The signature has the OpenSSF model-signing format and is made offline. The password of an
    encrypted key is read from MLREG_KEY_PASSWORD, or asked for on a terminal.
    """
    ref, _ = parse_target(reference, after=0, command="sign")
    registry = session.open()
    version = registry.version(ref)
    found = registry.sign(version, key, password=_password(key), reason=reason)
    if as_json:
        output.print_json(found.to_json())
    elif quiet:
        output.print_references([found.version.ref])
    else:
        done = "is signed" if found.changed else "was signed before"
        output.print_text(f"{found.version.ref} {done} by key {found.signature.key}.")
        if found.changed:
            output.print_hint(f"To check it: mlreg verify {found.version.ref} --key PUBLIC-KEY")


def _password(key: Path) -> str:
    """The password of an encrypted key; empty for another one."""
    given = os.environ.get(_PASSWORD, "")
    if given or b"ENCRYPTED" not in read_key_file(key) or not streams.can_ask():
        return given
    return str(typer.prompt(f"Password of {key}", hide_input=True, err=True))
