"""A folder in which packages of examples/ are used as plugins, without being installed."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from fakes import write_settings

from registry_core.refs import Ref
from registry_core.store import Store

EXAMPLES = Path(__file__).parents[1] / "examples"

# Ctrl-C at the end of an epoch, once.
_PAUSE = """
import os
import signal

from mlreg import hookimpl


@hookimpl
def mlreg_callbacks(run_dir):
    import keras

    def pause(epoch, logs):
        paused = run_dir / "paused"
        if epoch == {epoch} and not paused.exists():
            paused.touch()
            os.kill(os.getpid(), signal.SIGINT)

    return [keras.callbacks.LambdaCallback(on_epoch_end=pause)]
"""


def example_project(folder: Path, *examples: str, pause_after: int | None = None) -> Store:
    """Copy examples beside a plugins.toml that names them as their entry points do.

    Args:
        folder: where they go.
        examples: names of folders in examples/.
        pause_after: the epoch, from 0, at whose end each run is interrupted once; None never.

    Returns:
        The registry of the project.
    """
    named: dict[str, dict[str, str]] = {"mlreg.plugins": {}, "mlreg.extensions": {}}
    for example in examples:
        project = tomllib.loads((EXAMPLES / example / "pyproject.toml").read_text())
        setup = project["tool"]["setuptools"]
        for package in setup.get("packages", ()):
            shutil.copytree(EXAMPLES / example / package, folder / package)
        for module in setup.get("py-modules", ()):
            shutil.copy(EXAMPLES / example / f"{module}.py", folder)
        for group, names in project["project"]["entry-points"].items():
            named[group] |= names
    if pause_after is not None:
        (folder / "pause_extension.py").write_text(_PAUSE.format(epoch=pause_after))
        named["mlreg.extensions"]["pause"] = "pause_extension"
    write_settings(folder, named["mlreg.plugins"], named["mlreg.extensions"], "registry")
    return Store(folder / "registry")


def manifest_of(store: Store, model: str, number: int) -> dict:
    return store.manifest(store.resolve(Ref(model, "number", str(number))))
