"""Plugins that are trusted and clumsy: what they do to the process is put back, told, or harmless.

Commands run as processes of their own, with the trainer of the fakes: descriptors, signals and the
end of a process are what is looked at.
"""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cli_helpers import assert_error, faked, fill, mlreg, process_environment, start_faked, stop
from fakes import TABLE_PLUGIN, write_plugin, write_settings

from registry_core.cli.completion_scripts import LINE, SHELL
from registry_core.errors import MlregError, PluginError, one_line, safe_repr
from registry_core.plugins.manager import KnownPlugins
from registry_core.process import guard as plugin_guard
from registry_core.process.guard import PluginGuard
from registry_core.process.interrupts import stop_on_signals
from registry_core.store import Store

pytestmark = pytest.mark.processes

HOOKS = {
    "mlreg_presets": "def mlreg_presets():\n",
    "mlreg_dataset": "def mlreg_dataset(config, data_dir, progress):\n",
    "mlreg_model": "def mlreg_model(config, data, learning_rate):\n",
}


def doing(hook: str, *lines: str) -> str:
    """The flowers plugin that does something first in one of its hooks; `import` for its import."""
    body = "".join(f"    {line}\n" for line in lines)
    head = "import os, sys, threading, time, signal, atexit, ctypes, subprocess, locale\n"
    if hook == "import":
        return head + "\n".join(lines) + "\n" + TABLE_PLUGIN
    if hook in HOOKS:
        return head + TABLE_PLUGIN.replace(HOOKS[hook], HOOKS[hook] + body)
    return f"{head}{TABLE_PLUGIN}\n\n@hookimpl\ndef {hook}():\n{body}"


@pytest.fixture
def project(tmp_path):
    """Writes a project with this plugin, and returns its folder."""

    def write(text: str):
        write_plugin(tmp_path, "flowers_plugin", text)
        write_settings(tmp_path, {"flowers": "flowers_plugin"}, registry="registry")
        return tmp_path

    return write


def assert_registered(done, folder, *said: str) -> None:
    """The command ended with the version told in one object, and the version is whole."""
    assert done.status == 0, done.stderr
    assert done.json["version"]["ref"] == "flowers@1"
    store = Store(folder / "registry")
    (version,) = store.versions("flowers")
    store.check(version)
    assert mlreg("verify", cwd=folder).status == 0
    for each in said:
        assert each in done.stderr, done.stderr


# --- stdout is mlreg's ---------------------------------------------------------------------------

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


@pytest.mark.gate(keep=3)
@pytest.mark.parametrize("way", PRINTS)
def test_what_a_plugin_prints_is_on_stderr(project, way):
    """However it is written; stdout has the one object."""
    folder = project(doing("mlreg_dataset", PRINTS[way]))
    done = faked("run", "flowers", "--json", cwd=folder)
    assert_registered(done, folder, "noise")


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("hook", ["import", *HOOKS, "mlreg_report", "mlreg_registered"])
def test_every_hook_prints_to_stderr(project, hook):
    """And the import; with -q too, the version's reference is all that stdout has."""
    folder = project(
        doing(hook, "print('noise')", *(["return []"] if hook == "mlreg_report" else []))
    )
    done = faked("run", "flowers", "-q", cwd=folder)
    assert (done.status, done.stdout) == (0, "flowers@1\n")
    assert "noise" in done.stderr


def test_what_is_printed_is_in_order_with_what_mlreg_says(project):
    """A log of stderr reads as it happened."""
    folder = project(
        doing("mlreg_dataset", "print('first')", "progress.say('second')", "print('third')")
    )
    said = faked("run", "flowers", cwd=folder).stderr
    assert said.index("first") < said.index("second") < said.index("third")


def test_a_plugin_that_asks_for_presets_does_not_disturb_the_shell(project):
    """Completion prints words alone, on both streams."""
    folder = project(
        doing("import", "print('noise'); sys.stderr.write('noise'); os.system('echo noise')")
    )
    done = mlreg(cwd=folder, **{SHELL: "bash", LINE: "mlreg run flowers --preset qu"})
    assert done.stdout.splitlines()[1:] == ["quick"]
    assert done.stderr == ""


def test_closed_streams_at_the_start_are_no_bug(project):
    """`mlreg run … >&-` and its like: nothing to write to, and the version is registered."""
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


@pytest.mark.gate(keep=1)
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


# --- text that no file can keep ------------------------------------------------------------------

UNWRITABLE = [
    ("setosa", "set\\udc80osa", 4, "A class name is not valid Unicode: 'set\\udc80osa'"),
    ('source="drawn"', 'source="dra\\ud800wn"', 4, "source is not valid Unicode"),
    (
        "units: int = 8",
        "units: int = 8\n    note: object = 'a\\udc80'",
        3,
        "note of the preset 'baseline'",
    ),
    ('"baseline": T', '"base\\udc80": T', 3, "The preset 'base\\udc80' is not valid Unicode"),
]


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(("old", "new", "status", "said"), UNWRITABLE)
def test_a_lone_surrogate_is_refused_before_training(project, old, new, status, said):
    """It could not be written into the version's record afterwards."""
    assert old in TABLE_PLUGIN
    folder = project(TABLE_PLUGIN.replace(old, new))
    done = faked("run", "flowers", "--json", cwd=folder)
    assert done.status == status, done.stderr
    assert "Training" not in done.stderr
    assert said in done.stderr
    assert json.loads(done.stdout)["error"]["exit_status"] == status
    assert mlreg("runs", cwd=folder).status == 0


def test_a_setting_that_is_no_text_is_wrong_usage(project):
    """2, for a byte that the shell let through."""
    free = TABLE_PLUGIN.replace("units: int = 8", "units: int = 8\n    note: object = 'plain'")
    folder = project(free)
    done = faked("run", "flowers", "-p", "note=\udcff", cwd=folder)
    assert_error(done, 2, "note", "\\udcff")
    assert mlreg("run", "flowers", "-p", "note=plain", "--dry-run", cwd=folder).status == 0


def test_an_exception_that_is_no_text_does_not_break_the_list_of_runs(project):
    """What a stopped run remembers of its end can be shown, as a table and as JSON."""
    folder = project(TABLE_PLUGIN)
    store = Store(folder / "registry")
    stop(store, failed="torn \udc80")
    assert mlreg("runs", cwd=folder).status == 0
    shown = mlreg("runs", "--json", cwd=folder)
    assert shown.status == 0
    assert "torn" in shown.json["runs"][0]["failed"]


@pytest.mark.parametrize("words", ["runs", "runs --json", "runs -q"])
def test_a_record_that_has_such_text_already_is_shown(project, words):
    """Older ones have it, in names, settings and what they failed with."""
    folder = project(TABLE_PLUGIN)
    store = Store(folder / "registry")
    config = {"epochs": 3, "seed": 7, "note": "n\udc80"}
    stop(store, preset="pre\udc80set", dataset="flow\udc80ers", config=config)
    run = stop(store, failed="x")
    from registry_core.store import workspaces as room

    path = folder / "registry" / "runs" / run
    record = room._record(path)
    room._write(path, {**record, "failed": "torn \udc80 \x1b[2J"})
    for encoding in ("utf-8", "ascii"):
        done = mlreg(*words.split(), cwd=folder, PYTHONIOENCODING=encoding)
        assert done.status == 0, done.stderr
        assert "\x1b" not in done.stdout
        if "--json" in words:
            assert len(done.json["runs"]) == 2


def test_an_objection_is_kept_as_it_can_be_written(project):
    """9 with the plugin's words, escaped and cut; the ledger has them too."""
    code = "return [Objection('sur\\udc80', 'torn \\ud800' + 'x' * 100_000), Objection(5, None)]"
    text = doing("mlreg_check_promotion", code)
    folder = project(text.replace("RunConfig, hook", "Objection, RunConfig, hook"))
    fill(folder / "registry", 0.5, dataset="flowers", model="flowers")
    done = mlreg("promote", "flowers@1", "production", "--json", cwd=folder)
    assert done.status == 9, done.stderr
    first, second = done.json["decision"]["checks"]
    assert first["name"] == "sur\\udc80"
    assert first["found"].startswith("torn \\ud800xxx")
    assert len(first["found"]) < 3000
    assert (second["name"], second["found"]) == ("5", "None")
    assert mlreg("history", cwd=folder).status == 0


def test_an_error_of_mlregs_is_always_text():
    """What a plugin raises on purpose is shown and kept as it can be written."""
    error = PluginError("torn \udc80", "mend \ud800", "mlreg \udcff")
    assert str(error) == "torn \\udc80\nmend \\ud800\nTry: mlreg \\udcff"
    assert PluginError(ValueError("no text")).what == "no text"


# --- exceptions that are not plain ---------------------------------------------------------------

CLASSES = """

class Mute(Exception):
    def __str__(self):
        raise KeyError("no words")
    __repr__ = __str__


class Quitter(Exception):
    def __str__(self):
        raise SystemExit


class Wordless(Exception):
    def __str__(self):
        return None


class Base(BaseException):
    pass


class Noteless(Exception):
    def add_note(self, note):
        raise TypeError(note)


class Partial(DataError):
    def __init__(self):
        pass


class Textless(DataError):
    def __init__(self, what):
        self.what = [what, {1}]

    def __str__(self):
        return "x"


def deep(n=0):
    return deep(n + 1)
"""

# what a hook does -> status, what is said
RAISES = {
    "raise Mute()": (3, ["Plugin 'flowers' failed in {hook}: Mute: (__str__ raised KeyError)"]),
    "raise Quitter()": (3, ["'flowers' failed in {hook}: Quitter"]),
    "raise Wordless()": (3, ["'flowers' failed in {hook}: Wordless"]),
    "raise Base('all')": (3, ["'flowers' failed in {hook}: Base: all"]),
    "raise Noteless('any')": (3, ["'flowers' failed in {hook}: Noteless: any"]),
    "raise Partial()": (4, []),
    "raise DataError(KeyError('x'))": (4, ["'x'"]),
    "raise Textless('x')": (4, []),
    "raise DataError('torn \\udc80')": (4, ["torn \\udc80"]),
    "raise ValueError('torn \\udc80')": (3, ["ValueError: torn \\udc80"]),
    "raise ValueError('x' * 10_000_000)": (3, ["ValueError: xxx", "…"]),
    "raise ValueError('a\\n' * 1_000_000)": (3, ["ValueError: a"]),
    "raise ValueError('\\x1b[2J')": (3, ["\\x1b[2J"]),
    "deep()": (3, ["RecursionError: maximum recursion depth"]),
    "raise ExceptionGroup('many', [ValueError('x'), Mute()])": (3, ["ExceptionGroup: many"]),
    "raise BaseExceptionGroup('all', [KeyboardInterrupt()])": (3, ["BaseExceptionGroup: all"]),
    "raise GeneratorExit": (3, ["GeneratorExit"]),
    "raise StopIteration": (3, ["StopIteration"]),
    "raise MemoryError": (3, ["MemoryError"]),
    "return Mute()": (3, ["returned Mute (__repr__ raised KeyError)"]),
    "raise OSError(9, 'Bad file descriptor')": (3, ["OSError: [Errno 9]"]),
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("what", RAISES)
def test_whatever_a_hook_raises_it_is_the_plugins_fault(tmp_path, what, hook):
    """3, or what its own kind says; plugin and hook are named; never a bug of mlreg's."""
    text = doing(hook, what).replace("RunConfig, hook", "DataError, RunConfig, hook") + CLASSES
    write_plugin(tmp_path, "flowers_plugin", text)
    plugins = KnownPlugins(write_settings(tmp_path, {"flowers": "flowers_plugin"})).load("flowers")
    known = {
        "mlreg_presets": {},
        "mlreg_dataset": {"config": None, "data_dir": None, "progress": None},
        "mlreg_model": {"config": None, "data": None, "learning_rate": None},
    }
    status, said = RAISES[what]
    with pytest.raises(MlregError) as caught:
        plugins.call(hook, dict, **known[hook])
    assert caught.value.exit_status == status
    for each in said:
        assert each.format(hook=hook) in str(caught.value).replace("\x1b", "\\x1b")
    assert len(str(caught.value)) < 1500


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize(
    "what",
    ["raise Mute()", "raise Partial()", "raise Textless('x')", "deep()", "raise Base('all')"],
)
def test_such_an_exception_is_told_by_a_command(project, what):
    """In three lines, with --traceback too, and without a bug."""
    text = doing("mlreg_dataset", what).replace("RunConfig, hook", "DataError, RunConfig, hook")
    folder = project(text + CLASSES)
    done = faked("run", "flowers", cwd=folder)
    assert_error(done, RAISES[what][0])
    assert "bug in mlreg" not in done.stderr
    assert faked("--traceback", "run", "flowers", cwd=folder).status == RAISES[what][0]


def test_a_message_that_cannot_be_had_is_told_as_such():
    """What is wrong with it is in its place; long ones are cut."""

    class MuteError(Exception):
        def __str__(self):
            raise ZeroDivisionError

        __repr__ = __str__

    assert one_line(MuteError()) == "(__str__ raised ZeroDivisionError)"
    assert safe_repr(MuteError()) == "__repr__ raised ZeroDivisionError"
    assert len(one_line(ValueError("x" * 10_000))) < 600


# --- streams and descriptors ---------------------------------------------------------------------

STREAMS = {
    "closed": ("sys.stdout.close()", "changed sys.stdout in mlreg_dataset"),
    "both closed": ("sys.stdout.close(); sys.stderr.close()", "changed sys.stdout, sys.stderr"),
    "none": ("sys.stdout = sys.stderr = None", "changed sys.stdout, sys.stderr in mlreg_dataset"),
    "replaced": ("import io; sys.stdout = io.StringIO()", "changed sys.stdout in mlreg_dataset"),
    "stdin": ("sys.stdin.close()", "changed sys.stdin in mlreg_dataset"),
    "descriptor 1": ("os.close(1)", "changed descriptor 1 in mlreg_dataset"),
    "detached": ("sys.stderr.detach()", "changed sys.stderr in mlreg_dataset"),
    "descriptors": ("os.closerange(0, 3)", "descriptor 0, descriptor 1, descriptor 2"),
    "originals": ("sys.__stdout__.close()", "mlreg_dataset"),
}


@pytest.mark.gate(keep=3)
@pytest.mark.parametrize("way", STREAMS)
def test_a_hook_that_takes_the_streams_away_is_told_and_the_run_goes_on(project, way):
    """The version is registered and told; what was closed leads to stderr again."""
    code, said = STREAMS[way]
    folder = project(
        doing("mlreg_dataset", code)
        + "\n\n@hookimpl\ndef mlreg_registered():\n    print('later')\n"
    )
    done = faked("run", "flowers", "--json", cwd=folder)
    assert_registered(done, folder, "Plugin 'flowers' ", said)
    if way != "originals":
        assert "later" in done.stderr


@pytest.mark.gate(keep=3)
@pytest.mark.parametrize("end", [64, 256, 4096])
@pytest.mark.parametrize("hook", ["import", *HOOKS, "mlreg_report"])
def test_a_hook_that_closes_others_files_stops_the_run(project, hook, end):
    """3, with plugin and hook named; the registry is sound, and what was in it is whole."""
    folder = project(
        doing(hook, f"os.closerange(3, {end})", *(["return []"] if hook == "mlreg_report" else []))
    )
    fill(folder / "registry", 0.5)
    done = faked("run", "flowers", cwd=folder)
    where = "when it was imported" if hook == "import" else f"in {hook}"
    assert done.status == 3, done.stderr
    assert f"Plugin 'flowers' closed file descriptors that it did not open {where}." in done.stderr
    assert "bug in mlreg" not in done.stderr
    assert mlreg("verify", cwd=folder).status == 0


def test_a_notice_that_closes_others_files_leaves_the_version(project):
    """It is registered before; the plugin is named, and the version is told."""
    folder = project(doing("mlreg_registered", "os.closerange(3, 64)"))
    done = faked("run", "flowers", "--json", cwd=folder)
    assert_registered(
        done, folder, "closed file descriptors that it did not open in mlreg_registered"
    )


def test_a_file_that_was_closed_one_by_one_is_no_bug(project):
    """A loop over numbers that spares some is noticed where the file is wanted."""
    code = (
        "[os.close(fd) for fd in map(int, os.listdir('/proc/self/fd')) "
        "if 3 < fd < 60 and os.path.exists(f'/proc/self/fd/{fd}')]"
    )
    folder = project(doing("mlreg_model", code))
    done = faked("run", "flowers", cwd=folder)
    assert done.status in (0, 3), done.stderr
    assert "bug in mlreg" not in done.stderr
    assert mlreg("verify", cwd=folder).status == 0


# --- what belongs to the whole process -----------------------------------------------------------

OTHER = ("C", "C.UTF-8")  # a locale that it is not
CHANGES = {
    "the working directory": "os.chdir('/')",
    "the umask": "os.umask(0)",
    "signal handlers": "signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "blocked signals": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])",
    "sys.stdout": "sys.stdout = open(os.devnull, 'w')",
    "the locale": "locale.setlocale(locale.LC_ALL, OTHER[locale.setlocale(locale.LC_ALL) == 'C'])",
    "the recursion limit": "sys.setrecursionlimit(300)",
    "NumPy's error state": "import numpy; numpy.seterr(all='raise')",
    "environment variables": "os.environ['MLREG_HOME'] = '/nowhere'; os.environ.pop('HOME', None)",
}


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize("hook", ["import", *HOOKS, "mlreg_registered"])
def test_what_a_hook_changes_of_the_process_is_put_back(project, hook):
    """All of it, with a warning that names plugin, hook and what it was; the run goes on."""
    folder = project(doing(hook, f"OTHER = {OTHER}", *CHANGES.values()))
    done = faked("--registry", "elsewhere", "run", "flowers", "--json", cwd=folder)
    assert done.status == 0, done.stderr
    where = "when it was imported" if hook == "import" else f"in {hook}"
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("Warning: Plugin"))
    assert line.startswith("Warning: Plugin 'flowers' changed ")
    assert line.endswith(f" {where}; they were restored.")
    for name in CHANGES:
        assert name in line
    store = Store(folder / "elsewhere")
    store.check(store.versions("flowers")[0])


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_put_back(name, tmp_path):
    """What is read after the guarded code is what it was before."""
    told = []
    state = plugin_guard._STATES[name]
    before = state.read()
    with plugin_guard.warnings_to(told.append), PluginGuard("'clumsy'", "in mlreg_dataset"):
        exec(f"import locale, os, signal, sys\nOTHER = {OTHER}\n{CHANGES[name]}")
    assert state.read() == before
    assert told == [f"Plugin 'clumsy' changed {name} in mlreg_dataset; it was restored."] or (
        name == "environment variables" and len(told) == 1
    )


def test_a_child_that_a_hook_forks_does_not_go_on_with_the_run(project):
    """Both would train, register and answer."""
    folder = project(doing("mlreg_model", "os.fork()"))
    assert_registered(faked("run", "flowers", "--json", cwd=folder), folder)


def test_what_is_a_plugins_to_change_is_left(tmp_path):
    """A raised recursion limit, sys.path, warnings, and variables that are not mlreg's."""
    told = []
    limit = sys.getrecursionlimit()
    try:
        with plugin_guard.warnings_to(told.append), PluginGuard("'deep'", "in mlreg_model"):
            sys.setrecursionlimit(limit + 1000)
            os.environ["A_PLUGINS_OWN"] = "1"
        assert sys.getrecursionlimit() == limit + 1000
        assert os.environ.pop("A_PLUGINS_OWN") == "1"
    finally:
        sys.setrecursionlimit(limit)
    assert told == []


def test_outside_a_command_a_change_is_a_warning_of_pythons(tmp_path):
    """A program that uses the registry hears of it as of any other warning."""
    with (
        pytest.warns(RuntimeWarning, match="changed the umask"),
        PluginGuard("'x'", "in mlreg_model"),
    ):
        os.umask(0o123)


def test_what_raises_is_put_back_too(tmp_path):
    """The exception is the plugin's own, and the folder is what it was."""
    told = []
    with (
        pytest.raises(ZeroDivisionError),
        plugin_guard.warnings_to(told.append),
        PluginGuard("'x'", "in mlreg_model"),
    ):
        os.chdir("/")
        1 / 0  # noqa: B018
    assert Path.cwd() == tmp_path
    assert "the working directory" in told[0]


@pytest.mark.gate
def test_looking_costs_next_to_nothing():
    """A guarded call costs less than a tenth of a millisecond."""
    guard = PluginGuard("'x'", "in mlreg_model")
    least = float("inf")
    for _ in range(200):
        began = time.perf_counter()
        with guard:
            pass
        least = min(least, time.perf_counter() - began)
    assert least < 1e-3


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("hook", ["import", "mlreg_dataset", "mlreg_model"])
def test_ctrl_c_stops_a_run_whose_plugin_took_the_signal(project, hook):
    """A handler that a hook installed is replaced by mlreg's after it, and Ctrl-C means stop."""
    slow = doing(hook, "signal.signal(signal.SIGINT, lambda *_: None)").replace(
        "def mlreg_model(config, data, learning_rate):\n",
        "def mlreg_inference_model(config, model):\n"
        "    open('waiting', 'w').close(); time.sleep(60)\n\n\n"
        "@hookimpl\ndef mlreg_model(config, data, learning_rate):\n",
    )
    folder = project(slow)
    with start_faked("run", "flowers", cwd=folder) as process:
        while not (folder / "waiting").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "changed signal handlers" in said
    assert "Stopped by SIGINT." in said


def test_a_handler_that_a_callback_installs_is_put_back_after_the_batch():
    """During training nobody waits for the hook's end."""
    told = []
    before = signal.getsignal(signal.SIGINT)
    with plugin_guard.warnings_to(told.append), stop_on_signals() as stop_request:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop_request.raise_if_requested()
        assert signal.getsignal(signal.SIGINT) == stop_request.receive
        assert told == ["A plugin replaced the handler of SIGINT; it was restored."]
    assert signal.getsignal(signal.SIGINT) == before


# --- what hooks return -------------------------------------------------------------------------

ODD = """

class Odd(dict):
    def items(self):
        raise OSError("odd")
    keys = __iter__ = __len__ = items


class Names(list):
    def __iter__(self):
        raise OSError("odd")
"""

RETURNED = {
    "presets": ("    return {\n", "    return Odd() or {\n", "mlreg_presets"),
    "class names": ('("setosa", "versicolor", "virginica")', "Names(['a'])", "mlreg_dataset"),
}


@pytest.mark.parametrize("what", RETURNED)
def test_a_value_that_raises_when_it_is_looked_at_is_the_plugins_fault(project, what):
    """3, naming the hook that gave it."""
    old, new, hook = RETURNED[what]
    assert old in TABLE_PLUGIN
    folder = project(TABLE_PLUGIN.replace(old, new) + ODD)
    assert_error(
        faked("run", "flowers", cwd=folder), 3, f"'flowers' failed in {hook}: OSError: odd"
    )


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("words", ["fetch", "verify", "path"])
def test_a_cache_that_raises_is_the_plugins_fault(project, words):
    """3, naming the hook that gave it."""
    cache = "class Cache:\n    def __getattr__(self, name):\n        raise OSError('dry')\n"
    folder = project(doing("mlreg_data", "return Cache()") + cache)
    done = mlreg("data", words, "flowers", cwd=folder)
    assert_error(done, 3, "'flowers' failed in mlreg_data: OSError: dry")


# --- how the process ends ------------------------------------------------------------------------

LEFT = {
    "thread": (
        "threading.Thread(target=time.sleep, args=[600], name='uploads').start()",
        "'uploads'",
    ),
    "busy": (
        "threading.Thread(target=lambda: [None for _ in iter(int, 1)], name='busy').start()",
        "'busy'",
    ),
    "exit": ("atexit.register(time.sleep, 600)", "an exit handler"),
}


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("way", LEFT)
def test_what_a_plugin_leaves_running_does_not_hold_the_command(project, way):
    """The version is told; after some seconds the command ends, naming the thread."""
    code, said = LEFT[way]
    folder = project(doing("mlreg_registered", code))
    began = time.monotonic()
    done = faked("run", "flowers", "--json", cwd=folder, GRACE_SECONDS="1")
    assert time.monotonic() - began < 60
    assert_registered(done, folder, "Warning: A plugin left", said)


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    "code",
    [
        "threading.Thread(target=time.sleep, args=[600], daemon=True).start()",
        "threading.Thread(target=lambda: [print('x') for _ in iter(int, 1)], daemon=True).start()",
        "threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()",
    ],
)
def test_daemons_end_with_the_command(project, code):
    """At once and in silence, whatever they are doing."""
    folder = project(doing("mlreg_registered", code))
    done = faked("run", "flowers", "--json", cwd=folder)
    assert_registered(done, folder)
    assert "Fatal" not in done.stderr
    assert "A plugin left" not in done.stderr


def test_a_thread_that_ends_in_time_is_waited_for(project):
    """What it does is done, and nothing is said."""
    code = "threading.Thread(target=lambda: (time.sleep(0.5), open('done', 'w'))).start()"
    folder = project(doing("mlreg_registered", code))
    assert_registered(faked("run", "flowers", "--json", cwd=folder), folder)
    assert (folder / "done").exists()


def test_what_was_to_be_called_at_exit_is_called_beside_daemons(project):
    """A daemon does not keep others from cleaning up."""
    code = "threading.Thread(target=time.sleep, args=[600], daemon=True).start()"
    folder = project(doing("mlreg_registered", code, "atexit.register(lambda: open('done', 'w'))"))
    assert_registered(faked("run", "flowers", "--json", cwd=folder), folder)
    assert (folder / "done").exists()


def test_a_failing_command_keeps_its_status(project):
    """3, after the grace, where a thread is left by a plugin that then raises."""
    code = "threading.Thread(target=time.sleep, args=[600]).start()"
    folder = project(doing("mlreg_dataset", code, "raise OSError('dry')"))
    done = faked("run", "flowers", "--json", cwd=folder, GRACE_SECONDS="1")
    assert done.status == 3
    assert "OSError: dry" in done.json["error"]["what"]
