"""Every command that reads, in surroundings that nobody would choose: it is never a bug of ours."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cli_helpers import FAKED, fill, process_environment, python, stop
from fakes import TABLE_PLUGIN, write_plugin, write_settings

pytestmark = pytest.mark.processes

# docs/commands.md; 1 is a bug in mlreg, and these commands get no signal
DOCUMENTED = {0, 2, 3, 4, 5, 6, 7, 8, 9}

READING = [
    "list",
    "list flowers",
    "list flowers --removed --json",
    "list -q",
    "show flowers@1",
    "history",
    "history flowers@production --at 2030-01-01",
    "compare flowers@1 flowers@2",
    "report flowers@1 -o written.html --overwrite",
    "runs",
    "alias flowers",
    "tag flowers@1",
    "promote flowers@2 production --dry-run",
    "rollback flowers production --dry-run",
    "rm flowers@3 --dry-run",
    "gc --older-than 0",
    "verify",
    "env",
    "env --json",
    "plugins list",
    "plugins show flowers",
    "data path flowers",
    "run flowers --dry-run",
    "run flowers --print-config",
    "export flowers@1 -o written.keras --overwrite",
    "show flowers@99",
    "lsit",
    "--version",
    "--help",
    "run --help",
]

# Forks for every command line, so that what they import is imported once; tells each one's status.
_FORKED = """
import json, os, sys

lines, told = json.loads(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
from registry_core.cli import main
from registry_core.cli.app import register_commands
from registry_core.process.variables import prepared_environment

register_commands([])
with prepared_environment():
    import registry_core.evaluation.comparison, registry_core.exports, registry_core.promotion.gates
    import registry_core.evaluation.groups, registry_core.lifecycle.spec
    import registry_core.lifecycle.seeds, registry_core.plugins.manager
    import registry_core.registry, registry_core.terminal.progress, rich.progress, platformdirs
statuses = {}
for line in lines:
    child = os.fork()
    if not child:
        os.close(told)
        main(line.split())
    statuses[line] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os.write(told, json.dumps(statuses).encode())
"""


@dataclass(frozen=True)
class Odd:
    """Surroundings that are not a user's usual ones.

    Args:
        environment: variables that are set; an empty one is unset.
        prepare: called with the project's folder; returns more variables.
        closed: descriptors that are closed.
        terminal: whether stdout and stderr are one.
        around: called with the project's folder; returns what is put before the command.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], Mapping[str, str]] = lambda folder: {}
    closed: tuple[int, ...] = ()
    terminal: bool = False
    around: Callable[[Path], list[str]] = lambda folder: []


def _fake_clock(folder: Path) -> Mapping[str, str]:
    """A clock that says 1 March 1975, for Python's own calls."""
    (folder / "clock").mkdir()
    (folder / "clock" / "sitecustomize.py").write_text(
        "import time\n_time, _ns = time.time, time.time_ns\n_back = _time() - 162_864_000\n"
        "time.time = lambda: _time() - _back\n"
        "time.time_ns = lambda: _ns() - int(_back * 1e9)\n"
    )
    return {"PYTHONPATH": str(folder / "clock")}


def _no_temporary_folder(folder: Path) -> Mapping[str, str]:
    (folder / "untemporary").mkdir()
    (folder / "untemporary" / "sitecustomize.py").write_text(
        "import tempfile\ntempfile._candidate_tempdir_list = lambda: ['/nowhere']\n"
    )
    return {"PYTHONPATH": str(folder / "untemporary")}


def _damaged_distributions(folder: Path) -> Mapping[str, str]:
    """Packages whose metadata is not UTF-8, has no name, or cannot be read."""
    path = folder / "site"
    for name, files in {
        "latin-1.0.dist-info": {
            "METADATA": b"Name: latin\nVersion: 1.0\n",
            "entry_points.txt": b"[mlreg.plugins]\nna\xefve = x\n",
        },
        "metadata-1.0.dist-info": {
            "METADATA": b"Name: m\xe9tadata\nVersion: 1.0\n",
            "entry_points.txt": b"[mlreg.plugins]\nother = othermodule\n",
        },
        "nothing-1.0.dist-info": {"entry_points.txt": b"[mlreg.plugins]\nnone = nonemodule\n"},
        "malformed-1.0.dist-info": {
            "METADATA": b"Name: malformed\nVersion: 1.0\n",
            "entry_points.txt": b"no section\n[mlreg.plugins]\nno equals sign\n",
        },
    }.items():
        (path / name).mkdir(parents=True)
        for file, content in files.items():
            (path / name / file).write_bytes(content)
    return {"PYTHONPATH": str(path)}


def _beside_the_plugins(folder: Path) -> Mapping[str, str]:
    """An editor's lock, a folder and an archive that are named like modules."""
    (folder / ".#flowers_plugin.py").symlink_to("someone@machine.1234:5678")
    (folder / "folder.py").mkdir()
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("archived.py", TABLE_PLUGIN)
    (folder / "broken.zip").write_bytes(b"no archive")
    settings = folder / "plugins.toml"
    more = 'folder = "folder"\narchived = "archived"\nzip = "archive.zip"\ndots = "a..b"\n'
    settings.write_text(settings.read_text() + more + 'own = "flowers_plugin.py"\n')
    return {}


def _no_registry_named(folder: Path) -> Mapping[str, str]:
    (folder / "plugins.toml").write_text("[plugins]\nflowers = 'flowers_plugin'\n")
    return {}


def _byte_order_marks(folder: Path) -> Mapping[str, str]:
    for file in (folder / "plugins.toml", folder / "flowers_plugin.py"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    return {}


def _working_folder_gone(folder: Path) -> list[str]:
    (folder / "gone").mkdir()
    return ["sh", "-c", 'cd gone && rmdir "$PWD" && exec "$@"', "sh"]


def _as_nobody_known(folder: Path) -> list[str]:
    """A user without a name and a home."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become a user who has no name, with setpriv")
    for place in (folder, *folder.parents[:-2]):
        place.chmod(place.stat().st_mode | 0o055)
    shutil.chown(folder, 54321)
    become = ["setpriv", "--reuid", "54321", "--clear-groups"]
    start = [*become, sys.executable, "-c", "import registry_core, rich, typer"]
    if subprocess.run(start, cwd="/", capture_output=True).returncode:
        pytest.skip(f"other users may not read what {sys.executable} imports")
    return become


_ASCII = {"PYTHONIOENCODING": "ascii"}
_LATIN = {"PYTHONIOENCODING": "latin-1"}
_C = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}

_NO_HOME = {"HOME": "", "USER": "", "LOGNAME": "", "USERNAME": "", "LNAME": ""}

SURROUNDINGS = {
    "ASCII": Odd(_ASCII),
    "strict Latin-1, colours forced": Odd(
        {"PYTHONIOENCODING": "latin-1:strict", "FORCE_COLOR": "1"}
    ),
    "UTF-16": Odd({"PYTHONIOENCODING": "utf-16"}),
    "the C locale": Odd(_C),
    "an ASCII terminal": Odd(_ASCII, terminal=True),
    "a Latin-1 terminal": Odd(_LATIN, terminal=True),
    "a Latin-1 terminal one wide": Odd({**_LATIN, "COLUMNS": "1", "LINES": "1"}, terminal=True),
    "a dumb terminal in the C locale": Odd({"TERM": "dumb", **_C}, terminal=True),
    "a terminal of no type and no width": Odd(
        {"TERM": "", "COLUMNS": "0", "LINES": "0"}, terminal=True
    ),
    "variables that name what is not there": Odd(
        {
            "LC_ALL": "xx_YY.UTF-8",
            "COLUMNS": "wide",
            "TZ": "Nowhere/Nothing",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "KERAS_BACKEND": "jax",
            "EDITOR": "nothing",
            "PATH": "",
            "PYTHONOPTIMIZE": "2",
        },
        terminal=True,
    ),
    "no stdin": Odd(closed=(0,)),
    "no stdout": Odd(closed=(1,)),
    "no stderr": Odd(closed=(2,)),
    "no streams": Odd(closed=(0, 1, 2)),
    "a registry and a cache in the home of nobody": Odd(
        {"MLREG_HOME": "~nosuch/registry", "MLREG_CACHE": "~nosuch/cache"}
    ),
    "a registry below a file": Odd({"MLREG_HOME": "/dev/null/registry"}),
    "no home and no name": Odd(_NO_HOME, prepare=_no_registry_named),
    "a home that is a file": Odd({"HOME": "/dev/null"}, prepare=_no_registry_named),
    "a user whom nobody knows": Odd(_NO_HOME, _no_registry_named, around=_as_nobody_known),
    "a working folder that is gone": Odd(around=_working_folder_gone),
    "no temporary folder": Odd(prepare=_no_temporary_folder),
    "1975": Odd(prepare=_fake_clock),
    "damaged distributions": Odd(prepare=_damaged_distributions),
    "what looks like modules": Odd(prepare=_beside_the_plugins),
    "byte order marks": Odd(prepare=_byte_order_marks),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A registry with a group of versions, an alias, a tag that is not ASCII, a stopped run."""
    folder = tmp_path_factory.mktemp("surroundings") / "project"
    folder.mkdir()
    write_plugin(folder, "flowers_plugin", TABLE_PLUGIN)
    write_settings(folder, {"flowers": "flowers_plugin"}, registry="registry")
    store = fill(folder / "registry", 0.5, 0.6, 0.7, dataset="flowers", group="seeds")
    one, two, three = reversed(store.versions("flowers"))
    store.tag(one, {"note": "naïve → 日本"})
    store.move_alias(one, "production", "the first – of all")
    store.move_alias(two, "production", "better")
    store.removals.remove(three, 0.0, "a duplicate")
    stop(store)
    return folder


def run_in(odd: Odd, folder: Path, lines: list[str]) -> tuple[dict[str, int], str]:
    """Run the command lines there; returns the status of each, and all that they wrote."""
    environment = process_environment(
        {"HOME": str(folder), **odd.environment, **odd.prepare(folder)}
    )
    environment = {name: value for name, value in environment.items() if value}
    told = folder / "statuses.json"
    words = [*odd.around(folder), sys.executable, "-c", _FORKED, json.dumps(lines), str(told)]
    written = folder / "written.txt"
    with written.open("wb") as file:
        master, output = pty.openpty() if odd.terminal else (None, file.fileno())

        def begin() -> None:
            for fd in odd.closed:
                os.close(fd)

        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=begin,
        )
        if master is not None:
            os.close(output)
            while True:
                try:
                    file.write(os.read(master, 65536))
                except OSError:  # the last writer is gone
                    break
            os.close(master)
        assert process.wait(timeout=120) == 0, written.read_text(errors="replace")
    return json.loads(told.read_text()), written.read_bytes().decode(errors="replace")


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_no_surroundings_make_a_bug_of_a_command_that_reads(original, tmp_path, name):
    """Each ends with a documented status; "A bug in mlreg" and a traceback are never seen."""
    folder = tmp_path / "project"
    shutil.copytree(original, folder, symlinks=True)
    statuses, said = run_in(SURROUNDINGS[name], folder, READING)
    assert "A bug in mlreg" not in said, said[: said.index("A bug in mlreg") + 500]
    assert "Traceback" not in said, said[said.index("Traceback") :]
    assert {line: each for line, each in statuses.items() if each not in DOCUMENTED} == {}
    if "ASCII" in name:
        # Click writes help pages, and these alone, in UTF-8 where it finds ASCII
        assert r"na\xefve" in said
        assert {character for character in said if ord(character) > 127} <= {"…", "–"}


# without a terminal nobody can be asked: 2, unless the answer is given
CHANGING = {
    "promote flowers@1 production": 0,
    "promote flowers@1 new": 0,
    "tag flowers@1 note=naïve": 0,
    "gc --older-than 0": 2,
    "gc --older-than 0 --yes": 0,
    "runs --discard {run}": 2,
    "runs --discard {run} --yes": 0,
}


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("name", ["no stdin", "no streams", "the C locale"])
def test_what_changes_something_needs_nobody_at_a_keyboard(original, tmp_path, name):
    """A service and a cron job have no stdin; what would ask says how to answer beforehand."""
    folder = tmp_path / "project"
    shutil.copytree(original, folder, symlinks=True)
    (run,) = (folder / "registry" / "runs").iterdir()
    expected = {line.replace("{run}", run.name): status for line, status in CHANGING.items()}
    statuses, said = run_in(SURROUNDINGS[name], folder, list(expected))
    assert "A bug in mlreg" not in said, said
    assert statuses == expected, said


_WITHOUT = """
import sys
from registry_core.cli import run_command

for name in sys.argv[1].split():
    setattr(sys, name, None)
lines = ["list", "show flowers@1 --json", "gc --older-than 0", "show flowers@99", "promote", "env"]
statuses = [run_command(line.split()) for line in lines]
raise SystemExit(0 if statuses == [0, 0, 2, 2, 2, 0] else 1)
"""


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("names", ["stdin", "stdout", "stderr", "stdin stdout stderr"])
def test_a_program_without_streams_can_run_commands(original, names):
    """A service may have None in place of a stream; the status says what came of the command."""
    done = python("-c", _WITHOUT, names, cwd=original)
    assert done.status == 0, done.stderr
    assert "A bug in mlreg" not in done.stderr


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_run_is_shown_with_what_the_terminal_has(tmp_path, encoding):
    """Bars, boxes and marks of the live view, where the terminal cannot show them."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN.replace("setosa", "sëtosa → 日本"))
    write_settings(tmp_path, {"flowers": "flowers_plugin"}, registry="registry")
    master, output = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", FAKED, "run", "flowers"],
        cwd=tmp_path,
        env=process_environment({"PYTHONIOENCODING": encoding, "TERM": "xterm", "COLUMNS": "80"}),
        stdin=output,
        stdout=output,
        stderr=output,
    )
    os.close(output)
    said = b""
    try:
        while part := os.read(master, 65536):
            said += part
    except OSError:  # the process has ended
        pass
    os.close(master)
    assert process.wait(timeout=60) == 0, said.decode(errors="replace")
    assert b"Registered flowers@1" in said
