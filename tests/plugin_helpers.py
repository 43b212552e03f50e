"""Calls that tests of plugins share: load a project's plugins, and look into an error."""

from pathlib import Path

import pytest
from fakes import (
    TABLE_PLUGIN,
    Recorder,
    write_project,
)

from registry_core.config import RunConfig
from registry_core.errors import MlregError, PluginError
from registry_core.plugins.manager import KnownPlugins, PluginSet

# every hook, and arguments to call it with
HOOKS = {
    "mlreg_presets": {},
    "mlreg_dataset": {"config": None, "data_dir": None, "progress": Recorder()},
    "mlreg_data": {"data_dir": None},
    "mlreg_augmentation": {"config": None, "data": None},
    "mlreg_scheduler": {"config": None, "steps_per_epoch": 3},
    "mlreg_model": {"config": RunConfig(), "data": None, "learning_rate": None},
    "mlreg_phases": {"config": RunConfig(), "model": None},
    "mlreg_inference_model": {"config": None, "model": None},
    "mlreg_callbacks": {"config": None, "run_dir": None},
    "mlreg_report": {"result": None, "out_dir": None},
    "mlreg_report_sections": {"result": None},
    "mlreg_check_promotion": {"candidate": None, "incumbent": None, "alias": "production"},
    "mlreg_registered": {"version": None},
    "mlreg_promoted": {"version": None, "alias": "production", "previous": None},
}


def loaded(folder: Path, plugin: str = TABLE_PLUGIN, **extensions: str) -> PluginSet:
    return KnownPlugins(write_project(folder, plugin, extensions)).load("flowers")


def refused(folder: Path, plugin: str = TABLE_PLUGIN, **extensions: str) -> PluginError:
    with pytest.raises(PluginError) as caught:
        loaded(folder, plugin, **extensions)
    assert caught.value.exit_status == 3
    return caught.value


def line_of(file: Path, text: str) -> int:
    """The last line that holds a text, as a traceback counts lines."""
    lines = file.read_text().splitlines()
    return max(number for number, line in enumerate(lines, start=1) if text in line)


def says(error: MlregError, *texts: str) -> None:
    for text in texts:
        assert text in str(error)


def raising(hook: str, what: str) -> str:
    arguments = ", ".join(HOOKS[hook])
    return (
        f"{TABLE_PLUGIN}\n\ndef helper():\n    raise {what}\n\n\n"
        f"@hookimpl\ndef {hook}({arguments}):\n    return helper()\n"
    )
