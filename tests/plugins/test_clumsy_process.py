"""Changes of a plugin to the process are undone, reported, or harmless."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import (
    faked,
    fill,
    forked_mlreg,
    start_faked,
)
from clumsy_plugins import HOOKS, assert_registered, doing

from registry_core.process import guard as plugin_guard
from registry_core.process.guard import PluginGuard
from registry_core.process.interrupts import stop_on_signals
from registry_core.store import Store

pytestmark = pytest.mark.processes


# --- streams and descriptors ---

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


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("way", STREAMS)
def test_a_hook_that_closes_the_streams_is_named_and_the_run_continues(project, way):
    """The version is registered and shown; closed streams lead to stderr again."""
    code, said = STREAMS[way]
    folder = project(
        doing("mlreg_dataset", code)
        + "\n\n@hookimpl\ndef mlreg_registered():\n    print('later')\n"
    )
    done = faked("run", "flowers", "--json", cwd=folder)
    assert_registered(done, folder, "Plugin 'flowers' ", said)
    if way != "originals":
        assert "later" in done.stderr


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("end", [64, 256, 4096])
@pytest.mark.parametrize("hook", ["import", *HOOKS, "mlreg_report"])
def test_a_hook_that_closes_mlregs_files_stops_the_run(project, hook, end):
    """Status 3 with plugin and hook; the registry and its versions are undamaged."""
    folder = project(
        doing(hook, f"os.closerange(3, {end})", *(["return []"] if hook == "mlreg_report" else []))
    )
    fill(folder / "registry", 0.5)
    done = faked("run", "flowers", cwd=folder)
    where = "when it was imported" if hook == "import" else f"in {hook}"
    assert done.status == 3, done.stderr
    assert f"Plugin 'flowers' closed file descriptors that it did not open {where}." in done.stderr
    assert "bug in mlreg" not in done.stderr
    assert forked_mlreg("verify", cwd=folder).status == 0


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_notification_hook_that_closes_files_keeps_the_version(project):
    """The version was registered before; the plugin is named and the version shown."""
    folder = project(doing("mlreg_registered", "os.closerange(3, 64)"))
    done = faked("run", "flowers", "--json", cwd=folder)
    assert_registered(
        done, folder, "closed file descriptors that it did not open in mlreg_registered"
    )


@pytest.mark.exhaustive
@pytest.mark.gate
def test_files_closed_one_by_one_are_a_plugin_error(project):
    """A loop that spares some descriptors is noticed when the file is used."""
    code = (
        "[os.close(fd) for fd in map(int, os.listdir('/proc/self/fd')) "
        "if 3 < fd < 60 and os.path.exists(f'/proc/self/fd/{fd}')]"
    )
    folder = project(doing("mlreg_model", code))
    done = faked("run", "flowers", cwd=folder)
    assert done.status in (0, 3), done.stderr
    assert "bug in mlreg" not in done.stderr
    assert forked_mlreg("verify", cwd=folder).status == 0


# --- what belongs to the whole process ---

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


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("hook", ["import", *HOOKS, "mlreg_registered"])
def test_a_hooks_changes_to_the_process_are_restored(project, hook):
    """With a warning that names plugin, hook and change; the run continues."""
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
def test_each_kind_of_change_is_restored(name, tmp_path):
    """The state after the guarded code is the state before it."""
    told = []
    state = plugin_guard._STATES[name]
    before = state.read()
    with plugin_guard.warnings_to(told.append), PluginGuard("'clumsy'", "in mlreg_dataset"):
        exec(f"import locale, os, signal, sys\nOTHER = {OTHER}\n{CHANGES[name]}")
    assert state.read() == before
    assert told == [f"Plugin 'clumsy' changed {name} in mlreg_dataset; it was restored."] or (
        name == "environment variables" and len(told) == 1
    )


@pytest.mark.gate
def test_a_forked_child_does_not_continue_the_run(project):
    """Otherwise both processes would train and register."""
    folder = project(doing("mlreg_model", "os.fork()"))
    assert_registered(faked("run", "flowers", "--json", cwd=folder), folder)


def test_allowed_changes_are_kept(tmp_path):
    """A higher recursion limit, sys.path, warnings, and variables that mlreg does not use."""
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


def test_outside_a_command_a_change_is_a_python_warning(tmp_path):
    """A program that uses the registry gets it as a RuntimeWarning."""
    with (
        pytest.warns(RuntimeWarning, match="changed the umask"),
        PluginGuard("'x'", "in mlreg_model"),
    ):
        os.umask(0o123)


def test_changes_are_restored_after_an_exception(tmp_path):
    """The plugin's exception passes, and the working directory is restored."""
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
def test_the_guard_is_cheap():
    """A guarded call costs less than a tenth of a millisecond."""
    guard = PluginGuard("'x'", "in mlreg_model")
    least = float("inf")
    for _ in range(200):
        began = time.perf_counter()
        with guard:
            pass
        least = min(least, time.perf_counter() - began)
    assert least < 1e-3


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("hook", ["import", "mlreg_dataset", "mlreg_model"])
def test_ctrl_c_stops_a_run_whose_plugin_handles_the_signal(project, hook):
    """A handler that a hook installed is replaced by mlreg's after the hook."""
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


def test_a_callbacks_signal_handler_is_replaced_after_the_batch():
    """During training no hook returns, so the trainer restores it."""
    told = []
    before = signal.getsignal(signal.SIGINT)
    with plugin_guard.warnings_to(told.append), stop_on_signals() as stop_request:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop_request.raise_if_requested()
        assert signal.getsignal(signal.SIGINT) == stop_request.receive
        assert told == ["A plugin replaced the handler of SIGINT; it was restored."]
    assert signal.getsignal(signal.SIGINT) == before


# --- how the process ends ---

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


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("way", LEFT)
def test_a_plugins_threads_do_not_block_the_command(project, way):
    """The version is shown; after some seconds the command ends and names the thread."""
    code, said = LEFT[way]
    folder = project(doing("mlreg_registered", code))
    began = time.monotonic()
    done = faked("run", "flowers", "--json", cwd=folder, GRACE_SECONDS="1")
    assert time.monotonic() - began < 60
    assert_registered(done, folder, "Warning: A plugin left", said)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    "code",
    [
        "threading.Thread(target=time.sleep, args=[600], daemon=True).start()",
        "threading.Thread(target=lambda: [print('x') for _ in iter(int, 1)], daemon=True).start()",
        "threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()",
    ],
)
def test_daemon_threads_end_with_the_command(project, code):
    """At once and silently, whatever they are doing."""
    folder = project(doing("mlreg_registered", code))
    done = faked("run", "flowers", "--json", cwd=folder)
    assert_registered(done, folder)
    assert "Fatal" not in done.stderr
    assert "A plugin left" not in done.stderr


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_thread_that_ends_soon_is_waited_for(project):
    """Its work is done, and there is no message."""
    code = "threading.Thread(target=lambda: (time.sleep(0.5), open('done', 'w'))).start()"
    folder = project(doing("mlreg_registered", code))
    assert_registered(faked("run", "flowers", "--json", cwd=folder), folder)
    assert (folder / "done").exists()


@pytest.mark.gate
def test_atexit_functions_run_despite_daemon_threads(project):
    """A daemon thread does not prevent others' cleanup."""
    code = "threading.Thread(target=time.sleep, args=[600], daemon=True).start()"
    folder = project(doing("mlreg_registered", code, "atexit.register(lambda: open('done', 'w'))"))
    assert_registered(faked("run", "flowers", "--json", cwd=folder), folder)
    assert (folder / "done").exists()


@pytest.mark.gate
def test_what_a_plugin_wrote_into_a_file_that_it_left_open_arrives(project):
    code = "sys.kept = open('done', 'w'); sys.kept.write('all of it')"
    folder = project(doing("mlreg_registered", code))
    assert_registered(faked("run", "flowers", "--json", cwd=folder), folder)
    assert (folder / "done").read_text() == "all of it"


@pytest.mark.gate
def test_a_failed_command_keeps_its_status(project):
    """Status 3, also if the plugin left a thread and then raised."""
    code = "threading.Thread(target=time.sleep, args=[600]).start()"
    folder = project(doing("mlreg_dataset", code, "raise OSError('dry')"))
    done = faked("run", "flowers", "--json", cwd=folder, GRACE_SECONDS="1")
    assert done.status == 3
    assert "OSError: dry" in done.json["error"]["what"]
