"""No test sees the user's world, and none that needs the real data runs unless it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path

import pytest

_LEFT_OUT = pytest.StashKey[int]()

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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what trains on real data, unless `-m` speaks of it."""
    if "real_data" in (config.option.markexpr or ""):
        return
    left_out = [item for item in items if item.get_closest_marker("real_data")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    config.stash[_LEFT_OUT] = len(left_out)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Say what was left out, and how to ask for it."""
    if count := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(
            f"{count} tests marked real_data were left out: they download CIFAR-10 and train on "
            "it. Ask for them with -m real_data."
        )


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
