"""What a plugin prints goes to stderr: stdout belongs to mlreg alone."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest
from cli_helpers import (
    faked,
    fill,
    forked_mlreg,
    process_environment,
)
from clumsy_plugins import HOOKS, assert_registered, doing
from fakes import TABLE_PLUGIN

from registry_core.cli.completion_scripts import LINE, SHELL

pytestmark = pytest.mark.processes


PRINTS = {
    "print": "print('noise')",
    "write": "sys.stdout.write('noise\\n')",
    "buffer": "sys.stdout.buffer.write(b'noise\\n')",
    "saved": "print('noise', file=sys.__stdout__)",
    "descriptor": "os.write(1, b'noise\\n')",
    "native": "libc = ctypes.CDLL(None); libc.puts(b'noise'); libc.fflush(None)",
    "child": "subprocess.run(['echo', 'noise'])",
    "shell": "os.system('echo noise')",
    "thread": "threading.Thread(target=print, args=['noise']).start()",
    "fork": "pid = os.fork(); (os.write(1, b'noise\\n'), os._exit(0)) if not pid else os.wait()",
    "late": "atexit.register(print, 'noise')",
}


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("way", PRINTS)
def test_a_plugins_output_goes_to_stderr(project, way):
    """However it is written; stdout has one JSON object."""
    folder = project(doing("mlreg_dataset", PRINTS[way]))
    done = faked("run", "flowers", "--json", cwd=folder)
    assert_registered(done, folder, "noise")


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.parametrize("hook", ["import", *HOOKS, "mlreg_report", "mlreg_registered"])
def test_output_of_every_hook_goes_to_stderr(project, hook):
    """Also at import; with -q, stdout has only the version's reference."""
    folder = project(
        doing(hook, "print('noise')", *(["return []"] if hook == "mlreg_report" else []))
    )
    done = faked("run", "flowers", "-q", cwd=folder)
    assert (done.status, done.stdout) == (0, "flowers@1\n")
    assert "noise" in done.stderr


@pytest.mark.gate
def test_a_plugins_output_is_in_order_with_mlregs(project):
    """A log of stderr reads in the order of events."""
    folder = project(
        doing("mlreg_dataset", "print('first')", "progress.say('second')", "print('third')")
    )
    said = faked("run", "flowers", cwd=folder).stderr
    assert said.index("first") < said.index("second") < said.index("third")


def test_a_plugins_output_does_not_disturb_completion(project):
    """Completion prints only words, on both streams."""
    folder = project(
        doing("import", "print('noise'); sys.stderr.write('noise'); os.system('echo noise')")
    )
    done = forked_mlreg(cwd=folder, **{SHELL: "bash", LINE: "mlreg run flowers --preset qu"})
    assert done.stdout.splitlines()[1:] == ["quick"]
    assert done.stderr == ""


@pytest.mark.gate
def test_mlreg_starts_with_closed_streams(project):
    """With `mlreg run … >&-` there is nothing to write to, and the version is registered."""
    for closed in ("<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        folder = project(doing("mlreg_dataset", "print('noise')"))
        command = f'exec "{sys.executable}" -m registry_core run flowers --dry-run {closed}'
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env=process_environment({}),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (closed, done.stderr)
        assert ("Would train" in done.stdout) == (">&-" not in closed.replace("2>&-", "")), closed


@pytest.mark.parametrize("columns", [60, 150])
def test_a_table_is_as_wide_as_the_terminal_that_stdout_is(project, columns):
    """Though stdin and stderr are none, and descriptor 1 leads to stderr."""
    folder = project(TABLE_PLUGIN)
    fill(folder / "registry", 0.5, model="flowers")
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "registry_core", "list", "flowers"],
        cwd=folder,
        env=process_environment({"TERM": "xterm", "NO_COLOR": "1"}),
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=subprocess.DEVNULL,
    )
    os.close(end)
    shown = b""
    with suppress(OSError):  # what a terminal says at its end
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    assert process.wait() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    assert max(map(len, lines)) <= columns
    assert any("train time" in line for line in lines) == (columns == 150)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_can_show_any_text(project, encoding):
    """What an encoding has not is shown with escapes; JSON stays JSON."""
    folder = project(TABLE_PLUGIN.replace("three passes", "drei Läufe → ½ \\N{snowman} \\udc80"))

    def shown(*words):
        done = subprocess.run(
            [sys.executable, "-m", "registry_core", *words],
            cwd=folder,
            env=process_environment({"PYTHONIOENCODING": encoding}),
            capture_output=True,
        )
        return done.returncode, done.stdout.decode(encoding)

    status, text = shown("run", "flowers", "--print-config")
    assert status == 0
    assert "\\udc80" in text
    assert ("Läufe" in text) == (encoding != "ascii")
    status, text = shown("run", "flowers", "--preset", "ü→", "--json")
    assert status == 2
    assert "ü→" in json.loads(text)["error"]["what"]
    assert shown("--help")[0] == 0
