"""No test sees the user's world, and none that needs the real data runs unless it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path

import pytest

_LEFT_OUT = pytest.StashKey[dict[str, int]]()

# marker -> why its tests are not part of the default run
_LONG = {
    "real_data": "they download CIFAR-10 and train on it",
    "endurance": "they take minutes, to show what seconds only suggest",
}

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
    """Leave out what takes long, unless `-m` speaks of it."""
    asked = config.option.markexpr or ""
    left_out = {
        marker: [item for item in items if item.get_closest_marker(marker)]
        for marker in _LONG
        if marker not in asked
    }
    long = [item for found in left_out.values() for item in found]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    config.stash[_LEFT_OUT] = {marker: len(found) for marker, found in left_out.items() if found}


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Say what was left out, and how to ask for it."""
    for marker, count in config.stash.get(_LEFT_OUT, {}).items():
        terminalreporter.write_line(
            f"{count} tests marked {marker} were left out: {_LONG[marker]}. "
            f"Ask for them with -m {marker}."
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
