"""`mlreg` as a process of its own, and registries to run it on.

The processes see neither the user's registry and cache nor an interpreter that is set up
otherwise than a user's. They start from the folder that the test works in.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from registry_core.errors import MlregError
from registry_core.records import Version
from registry_core.store import Store
from registry_core.store.checkpoint import write_checkpoint

EXAMPLE = Path(__file__).parent.parent / "examples" / "spirals" / "spirals.py"

# docs/json.md
VERSION_KEYS = [
    "model", "version", "ref", "created", "aliases", "dataset", "preset", "seed", "metrics",
    "seconds", "files", "digest", "run",
]  # fmt: skip

# Runs command lines one after another in one process, so that what they import is imported once;
# tells status, stdout and stderr of each.
_IN_TURN = """
import contextlib, io, json, sys
from registry_core.cli import run_command

told = []
for words in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_command(words)
    told.append([status, out.getvalue(), err.getvalue()])
json.dump(told, sys.__stdout__)
"""

# A whole command line with a backend that needs no TensorFlow.
FAKED = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})

import fakes
from registry_core import running
from registry_core.cli import ending, main

ending.GRACE_SECONDS = float(os.environ.get("GRACE_SECONDS", ending.GRACE_SECONDS))

running.load_backend = fakes.FakeBackend
running.standard_report = fakes.standard_report
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def mlreg(*words: str, cwd: Path | None = None, **environment: str) -> Done:
    """Run `mlreg WORDS` to its end, neither stdout nor stderr being a terminal.

    Args:
        words: what is typed after `mlreg`.
        cwd: where from; None is the test's own folder.
        environment: variables beside those of a user who has set nothing.
    """
    return python("-m", "registry_core", *words, cwd=cwd, **environment)


def keras_mlreg(*words: str, cwd: Path | None = None, **environment: str) -> Done:
    """Run `mlreg WORDS` as above, without waiting until TensorFlow is imported."""
    return _keras_forks().run(["-m", "registry_core", *words], cwd, environment)


def keras_python(*words: str, cwd: Path | None = None, given: str = "", **environment: str) -> Done:
    """Run this interpreter to its end, without waiting until TensorFlow is imported."""
    return _keras_forks().run(words, cwd, environment, given)


def forked_mlreg(*words: str, cwd: Path | None = None, **environment: str) -> Done:
    """Run `mlreg WORDS` as above, without waiting until Python and the host have started."""
    return _forks().run(["-m", "registry_core", *words], cwd, environment)


def forked_python(
    *words: str, cwd: Path | None = None, given: str = "", **environment: str
) -> Done:
    """Run this interpreter to its end, without waiting until Python and the host have started."""
    return _forks().run(words, cwd, environment, given)


def faked(*words: str, cwd: Path | None = None, **environment: str) -> Done:
    """Run `mlreg WORDS` as above, with the backend of the fakes."""
    return _forks().run(["-c", FAKED, *words], cwd, environment)


def start_faked(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start that as a new process, and do not wait."""
    return _start("-c", FAKED, *words, cwd=cwd, **environment)


def python(*words: str, cwd: Path | None = None, given: str = "", **environment: str) -> Done:
    """Run this interpreter to its end, as `mlreg` above."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=process_environment(environment),
        input=given,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def in_turn(
    lines: Sequence[Sequence[str]],
    cwd: Path | None = None,
    keras: bool = False,
    **environment: str,
) -> list[Done]:
    """Run several command lines in one process, which may have imported Keras before."""
    forks = _keras_forks() if keras else _forks()
    done = forks.run(["-c", _IN_TURN], cwd, environment, json.dumps(lines))
    assert done.status == 0, done.stderr
    return [Done(*told) for told in json.loads(done.stdout)]


class Forks:
    """Runs programs in forks of a process that has imported what they need.

    All processes of a test run share it. The one that needs it first starts it, and ends it; one
    that finds it ended starts it again.

    Args:
        name: of the process, among those of a test run.
        modules: what it imports.
    """

    def __init__(self, name: str, *modules: str) -> None:
        self._socket = _forks_folder() / name
        with self._socket.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._group = int(self._connect() or self._start(modules))

    def _start(self, modules: Sequence[str]) -> str:
        self._socket.unlink(missing_ok=True)
        program = Path(__file__).with_name("fork_server.py")
        server = subprocess.Popen(
            [sys.executable, program, self._socket, *modules],
            env=process_environment({}),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        atexit.register(server.communicate)
        while not (pid := self._connect()):
            assert server.poll() is None, "the process whose forks run programs did not start"
            time.sleep(0.01)
        return pid

    def _connect(self) -> str:
        """Connect, and read which process serves this connection; empty where none does."""
        self._connection = socket.socket(socket.AF_UNIX)
        try:
            self._connection.connect(str(self._socket))
            self._answers = self._connection.makefile()
            return self._answers.readline()
        except OSError:
            self._connection.close()
            return ""

    def run(
        self,
        words: Sequence[str],
        cwd: Path | None,
        environment: Mapping[str, str],
        given: str = "",
    ) -> Done:
        """Run this interpreter with these words to its end."""
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: Path(folder) / name for name in ("stdin", "stdout", "stderr")}
            for path in paths.values():
                path.write_text(given if path.name == "stdin" else "")
            request = {
                "words": words,
                "cwd": str(cwd or Path.cwd()),
                "environment": process_environment(environment),
                **{name: str(path) for name, path in paths.items()},
            }
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            if not select.select([self._connection], [], [], 300)[0]:
                os.killpg(self._group, signal.SIGKILL)
                pytest.fail(f"{' '.join(words)} did not end within 300 s")
            status = int(self._answers.readline())
            return Done(status, paths["stdout"].read_text(), paths["stderr"].read_text())


@cache
def _forks_folder() -> Path:
    """Where the processes of a test run meet; a folder of its own for what is no test."""
    return Path(os.environ.get("MLREG_FORKS") or tempfile.mkdtemp())


@cache
def _forks() -> Forks:
    return Forks("host", "h5py", "numpy.random", "fakes", "loaded_host")


@cache
def _keras_forks() -> Forks:
    modules = ("registry_core.training", "registry_core.evaluation.figures", "loaded_host")
    return Forks("keras", *modules)


def start(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start `mlreg WORDS`, and do not wait; its stderr can be read line by line."""
    return _start("-m", "registry_core", *words, cwd=cwd, **environment)


def start_python(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    """Start this interpreter as `start` does."""
    return _start(*words, cwd=cwd, **environment)


def _start(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=cwd,
        env=process_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # whoever started the tests may have had some of them ignored, as nohup and `&` do
        preexec_fn=_hear_signals,
    )


def _hear_signals() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)


def process_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """The environment of a user who has set nothing, and some changes.

    A module-scoped fixture runs outside the `isolated` fixture, so this does not rely on it.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLREG_", "XDG_", "KERAS_", "GIT_", "PYTHON", "TF_"))
        and name not in ("COLUMNS", "LINES")
    }
    path = os.pathsep.join(filter(None, (changes.get("PYTHONPATH"), os.environ.get("PYTHONPATH"))))
    return kept | changes | ({"PYTHONPATH": path} if path else {})


def fill(folder: Path, *accuracies: float, model: str = "flowers", **changes: Any) -> Store:
    """A registry with one version of a model for each accuracy, made without training.

    Args:
        folder: the registry; may have versions already.
        accuracies: what each version is to have measured.
        model: the registered name.
        changes: what is to differ in each record; `dataset` is "nowhere" unless it is given here.
    """
    store = Store(folder)
    for accuracy in accuracies:
        with store.start_run(model) as run:
            model_file, figure = run.files / "model.keras", run.files / "loss.png"
            model_file.write_bytes(f"weights of {model} {accuracy}".encode())
            figure.write_bytes(b"a figure")
            files = {"model.keras": model_file, "figures/loss.png": figure}
            store.publish(run, _record(accuracy) | changes, files, load_check=lambda _: None)
    return store


def stop(store: Store, epoch: int = 1, step: int = 0, failed: str = "", **changes: Any) -> str:
    """A run that stopped with a checkpoint at this place, made without training; returns its id."""
    began = {
        "model": "flowers",
        "dataset": "flowers",
        "preset": "baseline",
        "group": "",
        "config": {"epochs": 3, "seed": 7},
        "data_dir": None,
        **changes,
    }
    state = {"epoch": epoch, "step": step}
    with suppress(MlregError, KeyboardInterrupt), store.start_run(began["model"]) as run:
        run.begin(began)
        run.keep(partial(write_checkpoint, state=state, tensors=[b"weights"]))
        raise MlregError(failed) if failed else KeyboardInterrupt
    return run.id


def newest(store: Store, model: str = "flowers") -> Version:
    return store.versions(model, limit=1)[0]


def damage(store: Store, version: Version, path: str = "model.keras") -> None:
    """Cut the last byte off a version's file."""
    record = version.file(path)
    assert record is not None
    blob = store.folder / "objects" / "sha256" / record.sha256[:2] / record.sha256
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[:-1])


def assert_error(done: Done, status: int, *named: str, shown: str = "") -> None:
    """It failed with this status, said so in three lines at most, and named these things.

    Warnings and progress may come before the three lines; stdout has `shown`, or nothing, or the
    error alone as `--json` has it.
    """
    assert done.status == status, done.stderr
    lines = done.stderr.splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith("Error: ")), len(lines))
    assert 1 <= len(lines) - first <= 3, done.stderr
    assert "Traceback" not in done.stderr
    if shown:
        assert shown in done.stdout
    elif done.stdout:
        assert list(done.json) == ["schema", "error"]
        assert done.json["error"]["exit_status"] == status
    for name in named:
        assert name in done.stderr, done.stderr


def without_roots_rights() -> list[str]:
    """What to put before a command so that the modes of files bind it, even root's."""
    if os.geteuid() != 0:
        return []
    words = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if shutil.which("setpriv") is None or subprocess.run([*words, "true"]).returncode:
        pytest.skip("root ignores modes, and setpriv cannot take that right away here")
    return words


def _record(accuracy: float) -> dict[str, Any]:
    split = {"examples": 30, "fingerprint": "sha256:" + "0" * 64}
    return {
        "dataset": "nowhere",
        "preset": "baseline",
        "seed": 7,
        "metrics": {"test_accuracy": accuracy, "test_loss": 0.25},
        "objective": {"metric": "test_accuracy", "direction": "max"},
        "seconds": {"data": 0.5, "fit": 2.0, "evaluate": 0.25, "save": 0.1, "plot": 0.2},
        "config": {"epochs": 3},
        "history": {"loss": [1.0, 0.5, 0.25]},
        "epoch_seconds": [1.0, 0.5, 0.5],
        "data": {"source": "drawn", "class_names": [], "splits": {"train": split, "test": split}},
        "figures_missing": None,
        "environment": {"python": "3", "platform": "a machine", "cpus": 2, "git": None},
    }
