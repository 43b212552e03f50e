"""Plugins that do something careless to the process, and what a run must look like after."""

from cli_helpers import (
    forked_mlreg,
)
from fakes import TABLE_PLUGIN

from registry_core.store import Store

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


def assert_registered(done, folder, *said: str) -> None:
    """The command ended with the version told in one object, and the version is whole."""
    assert done.status == 0, done.stderr
    assert done.json["version"]["ref"] == "flowers@1"
    store = Store(folder / "registry")
    (version,) = store.versions("flowers")
    store.check(version)
    assert forked_mlreg("verify", cwd=folder).status == 0
    for each in said:
        assert each in done.stderr, done.stderr
