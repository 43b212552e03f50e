"""Files from elsewhere are opened in a separate process with limits."""

import json
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import EXAMPLE, assert_error, keras_mlreg, keras_python, start
from fakes import write_settings
from greedy_files import greedy, rewrite
from hostile_files import sound

from registry_core.config import RunConfig
from registry_core.errors import IntegrityError, Interrupted, MlregError, RefusedError, UsageError
from registry_core.model_import import Examiner, Limits, examiner, sandbox
from registry_core.model_import.limits import ANSWER_BYTES, LimitError
from registry_core.model_import.model_file import inspect
from registry_core.store import Store
from registry_core.types import ArraySplit, DataSplits


@pytest.fixture(autouse=True)
def bounded():
    """Whatever is under test, the machine keeps its memory."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# --- what a process does to itself ----------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have less of it")


def confined(code: str) -> subprocess.CompletedProcess:
    """A process that takes the network away from itself and runs some code."""
    text = f"""
import os, signal, socket, subprocess, threading
from registry_core.model_import import sandbox
def refused(action):
    try:
        action()
    except OSError as error:
        return error.errno == 1
said = sandbox.isolate()
{code}
"""
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)


@linux
@pytest.mark.processes
def test_an_isolated_process_reaches_no_other():
    """No sockets, programs or new processes; threads are allowed."""
    done = confined("""
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
    assert refused(lambda: socket.socket(family)), family
assert refused(lambda: subprocess.run(["true"]))
assert refused(os.fork)
assert refused(lambda: os.execv("/bin/true", ["true"]))
assert refused(lambda: os.kill(os.getppid(), 0))
done = []
thread = threading.Thread(target=lambda: done.append(1))
thread.start(); thread.join()
print(done, repr(said))
""")
    assert done.stdout == "[1] ''\n", done.stderr


@pytest.mark.exhaustive
@pytest.mark.gate
@linux
@pytest.mark.processes
def test_without_a_filter_the_network_is_left_or_reported():
    """On a processor whose system call numbers are unknown."""
    done = confined("")
    assert done.returncode == 0, done.stderr
    done = confined("")
    code = """
import platform
platform.machine = lambda: "pdp11"
from registry_core.model_import import sandbox
import socket
said = sandbox.isolate()
try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
except ConnectionRefusedError:
    print("reached", bool(said))
except OSError:
    print("not reached", bool(said))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout in ("not reached False\n", "reached True\n"), done.stderr


@pytest.mark.exhaustive
@pytest.mark.gate
@linux
@pytest.mark.processes
def test_limits_count_from_what_is_used_already():
    """Memory above the limit is a MemoryError, time above it ends the process."""
    code = """
from registry_core.model_import import sandbox
held = bytearray(200_000_000)
sandbox.limit_use(100_000_000, 1, final=True)
some = bytearray(50_000_000)
try:
    more = bytearray(100_000_000)
except MemoryError:
    print("refused", flush=True)
while True:
    pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("refused\n", -signal.SIGXCPU)


@linux
def test_a_memory_limit_ends_with_its_block():
    """This process gets its own limit back, and keeps what it has."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with sandbox.bounded_memory(100_000_000):
        within = resource.getrlimit(resource.RLIMIT_DATA)
        if not Path("/dev/nvidiactl").exists():
            with pytest.raises(MemoryError):
                bytearray(200_000_000)
            assert within[0] < 1 << 40
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_limits_follow_the_size_of_the_file():
    """A kilobyte gets two minutes and two gigabytes; memory for the user's examples is added."""
    small, large = Limits.of(1_000), Limits.of(500_000_000)
    assert small.memory_bytes < 2.1e9
    assert small.seconds < 121
    assert (large.memory_bytes, large.seconds) == (5_000_000_000, 620)
    pictures, photographs = 4 * 250 * 32 * 32 * 3, 4 * 250 * 224 * 224 * 3
    assert Limits.of(1_000, pictures).memory_bytes < 2.3e9
    assert 9e9 < Limits.of(1_000, photographs).memory_bytes < 14e9
    assert Limits.of(1_000, memory_bytes=10**9, seconds=5) == Limits(10**9, 5)


# --- what it means how the process ends -----------------------------------------------------


@pytest.fixture
def acting(monkeypatch, tmp_path):
    """Inspect a sound file by a process that does something else: code -> what is raised."""

    def act(code: str, **limits):
        text = "import json, os, signal, sys, time\ntask = json.load(sys.stdin)\n"
        text += "answer = os.fdopen(task['answer'], 'w')\n"
        monkeypatch.setattr(examiner, "_START", text + code)
        return Examiner(**limits).inspect(sound(tmp_path / "model.keras"))

    return act


@pytest.mark.exhaustive(keep=6)
@pytest.mark.gate(keep=5)
@pytest.mark.processes
@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", LimitError, r"crashed \(SIGSEGV\)"),
        ("os.abort()", LimitError, r"crashed \(SIGABRT\)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", LimitError, "GB of memory"),
        ("os.kill(os.getpid(), signal.SIGXCPU)", LimitError, "more than"),
        ("print('std::bad_alloc', flush=True); os.abort()", LimitError, "GB of memory"),
        ("raise MemoryError", LimitError, "GB of memory"),
        ("raise ValueError('what it was')", MlregError, "status 1: ValueError: what it was"),
        ("sys.exit(0)", RefusedError, "sent an invalid report"),
        ("answer.write('[' * 50_000)", RefusedError, "sent an invalid report"),
        ("answer.write('[1]\\nnull\\n{\"numbers\": []}')", RefusedError, "sent an invalid report"),
        (f"answer.write('x' * {2 * ANSWER_BYTES})", RefusedError, "sent an invalid report"),
        ('answer.write(\'{"error": "Interrupted"}\')', RefusedError, "^$"),
        ('answer.write(\'{"error": "exit", "what": "no"}\')', RefusedError, "no"),
    ],
)
def test_every_end_of_the_process_becomes_an_mlreg_error(acting, code, kind, said):
    """A crash, a kill, an invalid report."""
    with pytest.raises(kind, match=said) as caught:
        acting(code)
    assert type(caught.value).exit_status == (1 if kind is MlregError else 9)


@pytest.mark.gate
@pytest.mark.processes
def test_a_process_that_never_ends_is_killed_with_its_session(acting, monkeypatch):
    """The clock decides, and its whole session goes."""
    monkeypatch.setattr(examiner, "START_SECONDS", 1)
    code = """
children = [os.fork() for _ in range(2)]
open(task["file"] + ".pids", "a").write(f"{os.getpid()} ")
time.sleep(600)
"""
    with pytest.raises(LimitError, match="more than 120 s"):
        acting(code)
    _assert_gone([int(word) for word in Path("model.keras.pids").read_text().split()])


@pytest.mark.processes
def test_a_signal_ends_the_wait(acting):
    """What asks to stop is asked while the process works."""

    def raise_if_requested() -> None:
        raise Interrupted(signal.SIGTERM)

    began = time.monotonic()
    with pytest.raises(Interrupted):
        acting("time.sleep(600)", raise_if_requested=raise_if_requested)
    assert time.monotonic() - began < 10


def _assert_gone(processes) -> None:
    """None of these goes on, or only as a zombie that somebody else has to reap."""
    deadline = time.monotonic() + 20
    assert processes
    while alive := [each for each in processes if _state(each) not in ("", "Z", "X")]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


# --- with Keras ---------------------------------------------------------------------------------


GREEDY = [
    "StringLookup of many unknown words", "IntegerLookup of many unknown numbers",
    "TextVectorization of long n-grams", "AUC of many thresholds", "recall of many thresholds",
    "many categories", "a large picture", "a large frame", "a large batch", "many repetitions",
    "a long sequence", "models within models",
]  # fmt: skip


# tells how the trial run of a model ends that needs more than it gets
TRIAL_RUN = """
import json
from pathlib import Path
from registry_core.config import RunConfig
from registry_core.model_import import Examiner
from registry_core.model_import.limits import LimitError

try:
    Examiner(memory_bytes=10**9, seconds=15).trial_run(
        Path("model.keras"), RunConfig(deterministic=False)
    )
except LimitError as error:
    told = {"message": str(error), "exit_status": error.exit_status, "option": error.option}
    print(json.dumps(told))
"""


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", GREEDY)
def test_a_small_file_that_needs_much_is_refused(keras, tmp_path, name):
    """9 with the limit that it met, within bounds, whatever part of a model asks for it.

    TensorFlow crashes now and then where it gets no memory.
    """
    asked, make = greedy(keras)[name]
    file = tmp_path / "model.keras"
    make(file)
    assert file.stat().st_size < 50_000
    began = time.monotonic()
    done = keras_python("-c", TRIAL_RUN, FORKED_EXAMINER="1")
    assert time.monotonic() - began < 90
    assert done.status == 0, done.stderr
    told = json.loads(done.stdout)
    assert re.search(r"more than (1 GB|15 s)|with 1 GB of memory", told["message"])
    assert told["exit_status"] == 9
    if asked == "memory":
        assert told["option"] == "--max-memory 2"
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.tensorflow
def test_every_greedy_file_is_tried(keras):
    assert list(greedy(keras)) == GREEDY


@pytest.fixture
def data():
    split = ArraySplit(np.zeros((600, 2), "float32"), np.arange(600) % 3)
    return DataSplits(split, split, class_names=("a", "b", "c"))


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("with_data", [True, False])
def test_a_valid_model_passes_with_and_without_data(keras, data, tmp_path, with_data):
    """The result equals that of this process; nothing is left beside the file."""
    file = sound(tmp_path / "model.keras")
    assert Examiner().inspect(file) == inspect(file)
    given = data if with_data else None
    assert Examiner().trial_run(file, RunConfig(), given).memory_bytes > 2e9
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_errors_are_the_same_as_in_this_process(keras, data, tmp_path):
    """Class and message are kept; strings reach the other process as strings."""
    layers = keras.layers
    file = tmp_path / "model.keras"
    keras.Sequential([layers.Input((5,)), layers.Dense(3)]).save(file)
    with pytest.raises(UsageError, match=r"shape \(5,\), but the dataset's examples are float32"):
        Examiner().trial_run(file, RunConfig(), data)
    words = layers.TextVectorization(vocabulary=["red"])
    parts = [layers.Input((1,), dtype="string"), words, layers.Embedding(9, 3)]
    keras.Sequential([*parts, layers.GlobalAveragePooling1D()]).save(file)
    for texts in (np.array([["red"], ["green"]]), np.array([["red"], ["a longer one"]], object)):
        split = ArraySplit(texts, np.arange(2))
        Examiner().trial_run(file, RunConfig(), DataSplits(split, split, class_names="abc"))
    rewrite(file, lambda config: config | {"config": {"layers": []}})
    with pytest.raises(IntegrityError, match="Keras cannot load the file"):
        Examiner().trial_run(file, RunConfig())


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_split_that_would_take_hours_is_refused(keras, data, tmp_path, monkeypatch):
    """The time of the first batch predicts that of the split."""
    monkeypatch.setattr("registry_core.model_import.limits.TIMES_FOR_THE_SPLIT", 1e-9)
    with pytest.raises(
        LimitError, match=r"for the test split \(3 batches of 0\.\d s\); the limit is 0"
    ):
        Examiner().trial_run(sound(tmp_path / "model.keras"), RunConfig(), data)


@pytest.fixture
def project(keras, tmp_path):
    """A project with the example's plugin and a greedy file beside it."""
    (tmp_path / EXAMPLE.name).write_text(EXAMPLE.read_text())
    write_settings(tmp_path, {"spirals": "spirals"}, registry="registry")
    greedy(keras)["models within models"][1](tmp_path / "model.keras")
    return tmp_path


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["import", "dry run"])
def test_the_command_refuses_and_says_how_to_allow_more(project, dry):
    """Status 9 in three lines; nothing is registered, and no run is left."""
    line = ["import", "spirals", "model.keras", "--max-seconds", "1", *dry]
    done = keras_mlreg(*line, cwd=project, FORKED_EXAMINER="1")
    assert_error(done, 9, "needs more than 1 s", "trust")
    assert done.stderr.endswith("Try: mlreg import spirals model.keras --max-seconds 2\n")
    store = Store(project / "registry")
    assert store.models() == store.unfinished_runs() == []


@pytest.mark.exhaustive
@pytest.mark.gate
@linux
@pytest.mark.tensorflow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_the_process_ends_with_the_command(project, signum):
    """After Ctrl-C or `kill -9` of the command, no process continues with the file."""
    command = start("import", "spirals", "model.keras", "--dry-run", cwd=project)
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    deadline = time.monotonic() + 60
    while not (found := children.read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(3)
    command.send_signal(signum)
    assert command.wait(30) == (130 if signum == signal.SIGINT else -signal.SIGKILL)
    _assert_gone([int(each) for each in found])
