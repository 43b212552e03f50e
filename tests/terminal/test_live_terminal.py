"""A whole run on a terminal: a live view where it can be redrawn, lines where it cannot."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest
from cli_helpers import FAKED, faked, mlreg, process_environment
from fakes import write_project
from rich.console import Console

from registry_core.terminal.live import LiveView
from registry_core.terminal.redraw import RewrappedRender

pytestmark = pytest.mark.processes


def on_a_terminal(folder, *words: str, columns: int = 80, **environment: str) -> str:
    """Everything that a command writes to a terminal that is its stdin, stdout and stderr."""
    home = {"CI": "", "TERM": "xterm", "MLREG_HOME": str(folder / "r")}
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", FAKED, *words],
        cwd=folder,
        env=process_environment(home | environment),
        stdin=end,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    written = b""
    with suppress(OSError):  # raised when the other end is closed
        while part := os.read(terminal, 65536):
            written += part
    os.close(terminal)
    assert process.wait() == 0, written
    return written.decode()


@pytest.fixture
def project(tmp_path):
    write_project(tmp_path)
    return tmp_path


@pytest.mark.gate
def test_the_live_view_disappears_and_the_epochs_stay(project):
    """Header, epochs and the registered version each stay on the screen once."""
    shown = on_a_terminal(project, "run", "flowers")
    assert "\x1b[?25l" in shown
    assert "Loading the data" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    lines = [line.rpartition("\r")[2] for line in plain.replace("\r\n", "\n").splitlines()]
    for start in (
        "flowers, preset baseline, seed 0",
        "epoch 1/3",
        "epoch 3/3",
        "Registered flowers@1",
    ):
        assert sum(line.startswith(start) for line in lines) == 1, (start, lines)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"CI": "true"}])
def test_a_terminal_that_cannot_be_redrawn_gets_lines(project, environment):
    """TERM=dumb is an editor's shell; in CI the terminal is a log."""
    shown = on_a_terminal(project, "run", "flowers", **environment)
    assert "\x1b[?25l" not in shown
    assert "\x1b[2K" not in shown
    assert [n for n in (1, 2, 3) if f"epoch {n}/3  loss" in shown] == [1, 2, 3]
    assert "Training …" in shown


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_group_shows_the_current_run_and_the_total(project):
    """The line above the bar names the run; each version leaves a line."""
    shown = on_a_terminal(project, "run", "flowers", "--seeds", "3")
    assert "Run 2 of 3, seed 1  all runs:" in shown
    assert shown.count("Registered flowers@") == 3


@pytest.mark.gate
def test_the_log_of_a_run_is_shown_by_its_version_and_by_its_id(project):
    """`show --log` takes both, also with `--json`; an unknown id is wrong usage."""
    home = {"MLREG_HOME": str(project / "r")}
    made = faked("run", "flowers", "--json", cwd=project, **home).json["version"]
    shown = mlreg("show", "flowers@1", "--log", cwd=project, **home)
    assert shown.status == 0, shown.stderr
    assert "epoch 3/3" in shown.stdout
    by_id = mlreg("show", made["run"][-8:], "--log", "--json", cwd=project, **home).json
    assert by_id["log"] == shown.stdout.splitlines()
    assert (by_id["run"], by_id["version"]) == (made["run"], "flowers@1")
    assert mlreg("show", "0123abcd", "--log", cwd=project, **home).status == 2


def test_the_view_is_erased_after_the_terminal_became_narrower():
    """A line of 60 characters takes two rows of 40 columns; both are erased."""
    console = Console(force_terminal=True, width=80, height=20, color_system=None)
    view = LiveView(console)
    view.stage_began("model")
    view.__exit__()
    render = RewrappedRender(view, console)
    render._line_widths, render._shape = [60, 30, 81], (80, 3)
    console.width = 40
    render.position_cursor()
    assert render.last_render_height == 2 + 1 + 3
