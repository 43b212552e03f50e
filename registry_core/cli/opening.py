"""Opens a file for a person with a display; elsewhere says how to look at it."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from registry_core.terminal import output

if TYPE_CHECKING:
    from registry_core.records import Version
    from registry_core.registry import Registry
    from registry_core.sweeps.record import Sweep


def has_display() -> bool:
    """Whether a window can be opened here."""
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_file(path: Path) -> None:
    """Open a file with the program for its kind; without a display, say how to get it."""
    path = path.absolute()
    if has_display():
        typer.launch(str(path))
        return
    output.print_warning(f"There is no display to open a browser on. The file is {path}")
    if command := _copy_command(path):
        output.print_note(f"On your own machine: {command}")


def open_report(registry: Registry, version: Version) -> None:
    """Write a version's report to a folder that is the user's alone, and open it."""
    _open_page(registry.report(version).to_html(), f"{version.model}-{version.version}")


def open_sweep(registry: Registry, sweep: Sweep) -> None:
    """The same with the report of a sweep."""
    _open_page(registry.sweep_report(sweep).to_html(), f"sweep-{sweep.id[-8:]}")


def _open_page(page: str, name: str) -> None:
    path = Path(tempfile.mkdtemp(prefix=f"{name}-")) / f"{name}.html"
    path.write_text(page, "utf-8")
    open_file(path)


def _copy_command(path: Path) -> str:
    """What to type on the machine that a person logged in from; empty without a login by ssh."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    if len(words) != 4:
        return ""
    _, _, address, port = words
    host = f"[{address}]" if ":" in address else address
    options = [] if port == "22" else ["-P", port]
    source = f"{getpass.getuser()}@{host}:{path}"
    return shlex.join(["scp", *options, source, "."])
