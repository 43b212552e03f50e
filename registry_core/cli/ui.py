"""`mlreg ui`: the registry in a browser."""

from __future__ import annotations

import getpass
import os
import shlex
import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry_core.cli.app import app, session
from registry_core.process import streams
from registry_core.terminal import output

if TYPE_CHECKING:
    from registry_core.web.serving import Place


@app.command(examples=("mlreg ui", "mlreg ui --port 9000 --open"))
def ui(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Listen on this port; 0 is any.")
    ] = 8321,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Listen on this address; needs --allow-host."),
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Answer to this host name, such as a proxy's."),
    ] = None,
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="Where a proxy shows the pages, as in /mlreg.")
    ] = "",
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it in a browser here.")
    ] = False,
) -> None:
    """Show the registry in a browser on this machine.

    The address works once; another one is printed for the next browser. Ctrl-C stops the server.
    """
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.process.requirements import require_extra
    from registry_core.web import serve

    require_extra("ui", "mlreg ui")
    registry = session.open(needs_versions=False)
    registry.newest_versions(1)  # a registry that cannot be read is an error here, not on a page
    with tempfile.TemporaryDirectory() as folder, stop_on_signals() as interrupts:
        interrupts.outcome = "The server has ended."

        is_first = True

        def ready(place: Place) -> None:
            nonlocal is_first
            if not is_first:
                for url in (place.url, *place.proxied):
                    output.print_note(f"For another browser: {url}")
                return
            is_first = False
            output.print_note(f"Registry: {registry.place.name}")
            output.print_text(place.url)
            streams.out().flush()
            for url in place.proxied:
                output.print_note(f"Through a proxy: {url}")
            _print_tunnel(place)
            if open_browser:
                _open(place, Path(folder))

        serve(
            registry,
            host=host,
            port=port,
            allowed_hosts=allow_host or (),
            root_path=root_path,
            ready=ready,
        )


def _print_tunnel(place: Place) -> None:
    """On a server that a person has logged in to, print what to type on their own machine."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    if len(words) != 4:
        return
    _, _, address, ssh_port = words
    tunnel = ["ssh", "-N", "-L", f"{place.port}:127.0.0.1:{place.port}"]
    tunnel += [] if ssh_port == "22" else ["-p", ssh_port]
    command = shlex.join([*tunnel, f"{getpass.getuser()}@{address}"])
    output.print_note(f"On your own machine, type this first: {command}")


def _open(place: Place, folder: Path) -> None:
    """Open a browser on a page of the user's alone that leads on.

    The arguments of a process can be read by every user of the machine; the address has a token.
    """
    page = folder / "mlreg.html"
    page.touch(mode=0o600)
    page.write_text(
        '<!doctype html><meta charset="utf-8"><title>mlreg</title>'
        f'<meta http-equiv="refresh" content="0; url={escape(place.url)}">',
        "utf-8",
    )
    typer.launch(page.as_uri())
