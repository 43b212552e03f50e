"""Who asks for runs in workers that train with the tests' own backend."""

from __future__ import annotations

from pathlib import Path

from fakes import Recorder, run_context, standard_report

from registry_core.executors import process
from registry_core.executors.interface import Placement
from registry_core.executors.runs import run_all
from registry_core.lifecycle.seeds import plan_group
from registry_core.lifecycle.spec import spec_from_preset
from registry_core.plugins.manager import KnownPlugins
from registry_core.process.interrupts import StopRequest
from registry_core.settings import read_settings
from registry_core.store import Store

PROGRAM = (str(Path(__file__).with_name("fake_worker.py")),)


def run_group(project, runs=2, parallel=2, stall_minutes=None, specs=None, on="local", **choices):
    """Run a group of the project's plugin, with successive seeds."""
    specs = specs or plan_group(spec_from_preset(project.plugins, **choices), runs)
    placement = Placement(on, parallel, 1, stall_minutes=stall_minutes)
    return run_all(specs, project.store, project.settings, project.context(), placement, None)


class Head:
    """A project that another process made, as `Project` has it.

    Args:
        folder: the project's.
    """

    def __init__(self, folder):
        self.settings = read_settings(folder / "plugins.toml")
        self.plugins = KnownPlugins(self.settings).load("flowers")
        self.store = Store(folder / "registry")
        self.folder = folder

    def context(self):
        return run_context(
            self.plugins, self.folder, None, Recorder(), StopRequest(), standard_report
        )


def run_head(folder, on="local"):
    """Run two long runs, in a process that is killed meanwhile."""
    process.WORKER = PROGRAM
    run_group(Head(folder), on=on, overrides={"epochs": 400})
