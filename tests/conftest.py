"""No test sees the user's world, and none that takes long runs unless it is asked for."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

_LEFT_OUT = pytest.StashKey[Counter[str]]()

# marker -> why its tests are not part of the default run, and what asks for them
_LONG = {
    "gate": "marked gate were left out: what a change seldom breaks. Run them with --gate.",
    "exhaustive": (
        "marked exhaustive were left out: the other cases of the same kind. "
        "Run them with --exhaustive."
    ),
    "real_data": (
        "marked real_data were left out: they download CIFAR-10 and train on it. "
        "Run them with -m real_data."
    ),
    "endurance": (
        "marked endurance were left out: they take minutes, to show what seconds only suggest. "
        "Run them with -m endurance."
    ),
}

# a default run draws one in so many of the tests marked drawn, and of those that import
# TensorFlow or start processes
_ONE_IN = 4

# what the tests write at most at one time, with room to spare
_NEEDED_BYTES = 6 << 30

# marker -> what a test of that kind takes, roughly
_SECONDS = {"tensorflow": 1.0, "processes": 0.3}

# what would lead a test to the user's own registry, cache, home or repository
_USERS = (
    "MLREG_HOME",
    "MLREG_CACHE",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "KERAS_HOME",
    "GIT_DIR",
    "GIT_WORK_TREE",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--gate",
        action="store_true",
        help="run the tests marked gate too, and try one system call in sixteen: what .ci/run does",
    )
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="the same, with every case of every test, and every system call",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show what a failure hides: Keras raises most errors again, without what caused them."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None and report.failed else None
    while error is not None and not error.__suppress_context__:
        error = error.__cause__ or error.__context__
    if error is not None and error.__context__ is not None:
        hidden = "".join(traceback.format_exception(error.__context__))
        report.sections.append(("the error behind it", hidden))
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Choose what the other processes of a run inherit."""
    os.environ.setdefault("MLREG_POINTS_SEED", str(random.randrange(10**6)))  # for what is drawn
    if not hasattr(config, "workerinput"):
        os.environ["MLREG_FORKS"] = tempfile.mkdtemp(prefix="mlreg-forks-")  # see cli_helpers.py
    _keep_files_in_memory()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it for a job
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.option.loadscopereorder = False  # of xdist: the order below is better than its own
    config.stash[_LEFT_OUT] = Counter()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["MLREG_FORKS"])


def _keep_files_in_memory() -> None:
    """Put the tests' folders on a file system in memory, where there is room for them.

    A test makes hundreds of folders and calls fsync all the time. That every change is made
    durable in the right order is tested by its system calls, not by a disk.
    """
    memory = Path("/dev/shm")
    with suppress(OSError):
        system = os.statvfs(memory)
        is_roomy = system.f_bavail * system.f_frsize > _NEEDED_BYTES
        may_run_programs = not system.f_flag & os.ST_NOEXEC
        if is_roomy and may_run_programs and os.access(memory, os.W_OK):
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """Let every second process collect from the end, so that two rewrite half of the files each.

    What one has rewritten, the other reads. The items are sorted below.
    """
    report = yield
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    if number % 2 and isinstance(collector, pytest.Session | pytest.Directory):
        report.result.reverse()
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Any:
    """Look for no garbage while thousands of tests are made, which stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless an option or a test's name asks for it."""
    asked = {marker for marker in _LONG if marker in (config.option.markexpr or "")}
    is_named = any("::" in word for word in config.args)
    if config.option.gate or config.option.exhaustive or is_named:
        asked.add("gate")
    if config.option.exhaustive or is_named:
        asked.add("exhaustive")
    of_default = _examples(items, "gate")
    examples = {"gate": of_default, "exhaustive": of_default | _examples(items, "exhaustive")}
    kept, left_out = [], []
    for item in items:
        long = [
            marker
            for marker in _LONG
            if item.get_closest_marker(marker)
            and marker not in asked
            and item not in examples.get(marker, ())
        ]
        (left_out if long else kept).append(item)
        config.stash[_LEFT_OUT].update(long[:1])
    if _is_whole(config) and not asked:
        not_drawn = _not_drawn(kept)
        kept = [item for item in kept if item not in not_drawn]
        left_out += not_drawn
        config.stash[_LEFT_OUT].update(drawn=len(not_drawn))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
    # files that take long first, so that several processes end together
    seconds: Counter[Path] = Counter()
    for item in items:
        seconds[item.path] += _seconds(item)
    items.sort(key=lambda item: (-seconds[item.path], item.path))


def _seconds(item: pytest.Item) -> float:
    return sum(_SECONDS[marker] for marker in _SECONDS if item.get_closest_marker(marker))


def _is_whole(config: pytest.Config) -> bool:
    """Whether the run is of all folders and kinds of tests."""
    tests = [config.rootpath / path for path in config.getini("testpaths")]
    named = [config.invocation_params.dir / path for path in config.args]
    return tests == named and not (config.option.markexpr or config.option.keyword)


def _not_drawn(items: list[pytest.Item]) -> set[pytest.Item]:
    """What this run leaves to others; four with one seed after the other have all."""
    kinds = ("drawn", *_SECONDS)
    slow = [
        item
        for item in sorted(items, key=lambda item: item.nodeid)  # each process has its own order
        if any(map(item.get_closest_marker, kinds)) and not item.get_closest_marker("core")
    ]
    first = int(os.environ["MLREG_POINTS_SEED"]) % _ONE_IN
    return set(slow).difference(slow[first::_ONE_IN])


def _examples(items: list[pytest.Item], marker: str) -> set[pytest.Item]:
    """What a shorter run takes of tests marked `gate(keep=N)`: N cases, evenly spread."""
    cases = defaultdict(list)
    for item in items:
        if item.get_closest_marker(marker):
            cases[item.nodeid.partition("[")[0]].append(item)
    found = set()
    for of_one in cases.values():
        keep = min(of_one[0].get_closest_marker(marker).kwargs.get("keep", 0), len(of_one))
        found |= {of_one[number * len(of_one) // keep] for number in range(keep)}
    return found


def pytest_collection_finish() -> None:
    """Let the garbage collector skip what was collected, which stays."""
    _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that reports, if this is one of several, what was left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash[_LEFT_OUT])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Every process collects the same tests, so one of them tells it all."""
    told = getattr(node, "workeroutput", {}).get("left_out", {})
    node.config.stash[_LEFT_OUT] |= Counter(told)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Say what was left out, and how to ask for it."""
    for marker, count in config.stash[_LEFT_OUT].items():
        why = _LONG.get(marker) or (
            f"that take long were left out: this run drew one in {_ONE_IN} of them, "
            f"MLREG_POINTS_SEED={os.environ['MLREG_POINTS_SEED']}. Run them with --gate, or name "
            "their folder or file."
        )
        terminalreporter.write_line(f"{count} tests {why}")


@pytest.fixture(autouse=True, scope="session")
def _distributions_read_once():
    """Whose each package is, read once for each folder that stays; a run asks for it twice."""
    names: dict[str, dict[str, list[str]]] = {}
    whole = importlib.metadata.packages_distributions

    def of_folder(place: str) -> dict[str, list[str]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", [place])
            return whole()

    def of_all() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for place in sys.path:
            stays = Path(place).name == "site-packages"
            of_place = names.get(place) or of_folder(place)
            if stays:
                names[place] = of_place
            for package, owners in of_place.items():
                found.setdefault(package, []).extend(owners)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "packages_distributions", of_all)
        yield


@pytest.fixture(scope="session")
def training():
    """`registry_core.training`, which sets TensorFlow up: before Keras is imported."""
    from registry_core import training

    _freeze()  # Keras collects garbage before each fit: a second, with all that TensorFlow imports
    return training


@pytest.fixture(scope="session")
def keras(training):
    import keras

    return keras


@pytest.fixture(scope="session")
def tf(training):
    import tensorflow

    return tensorflow


@pytest.fixture(scope="session")
def _figures_cache(tmp_path_factory) -> Path:
    """One list of fonts for the whole session; matplotlib would make one for every home."""
    return tmp_path_factory.mktemp("matplotlib")


@pytest.fixture(scope="session")
def _homes(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def isolated(tmp_path, tmp_path_factory, _homes, _figures_cache, monkeypatch):
    """An empty home, an empty working folder, and imports that end with the test."""
    for name in _USERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", tempfile.mkdtemp(dir=_homes))
    monkeypatch.setenv("MPLCONFIGDIR", str(_figures_cache))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    importlib.invalidate_caches()
    yield
    sys.path[:] = path
    # NumPy and TensorFlow cannot be imported twice; what a test wrote itself must be
    written = tmp_path_factory.getbasetemp()
    for name in set(sys.modules) - modules:
        if written in Path(getattr(sys.modules[name], "__file__", None) or "/").parents:
            del sys.modules[name]
    importlib.invalidate_caches()
