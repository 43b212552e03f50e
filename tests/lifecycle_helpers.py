"""A project with a plugin and a registry, to run, resume, reproduce, evaluate and import in."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fakes import TABLE_PLUGIN, FakeBackend, Recorder, run_context, standard_report, write_project
from hostile_files import ExaminerHere, sound
from store_helpers import leftovers

from registry_core.errors import Interrupted
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.lifecycle.parents import parents_in
from registry_core.lifecycle.record import RecordedVersion
from registry_core.lifecycle.reevaluate import evaluate, spec_of_data
from registry_core.lifecycle.reproduce import EphemeralWorkspace, reproduce
from registry_core.lifecycle.run import run
from registry_core.lifecycle.spec import spec_from_preset, spec_from_record, spec_from_run
from registry_core.model_import.import_model import import_model
from registry_core.plugins.manager import KnownPlugins
from registry_core.process.interrupts import StopRequest
from registry_core.settings import SETTINGS_FILE, read_settings
from registry_core.store import Store

# What a manifest says of a run, as far as changes are looked for in it.
RECORD = {
    "config": {"epochs": 3, "learning_rate": 0.1, "shape": [2, 3]},
    "data": {
        "source": "drawn",
        "splits": {
            "train": {"examples": 30_000, "fingerprint": "sha256:" + "a" * 64},
            "test": {"examples": 12, "fingerprint": "numbers of 2026-01-01, first half"},
        },
    },
    "plugins": [
        {"name": "flowers", "module": "flowers_plugin", "kind": "dataset", "distribution": None,
         "code_sha256": "1" * 64},
    ],
    "environment": {
        "mlreg": "0.1", "python": "3.11.7", "keras": "3.12", "device": "x86_64", "cpus": 2,
        "platform": "Linux", "deterministic": True, "git": None,
    },
}  # fmt: skip


def hook(name: str, body: str, arguments: str = "") -> str:
    """A hook to append to a plugin's text; it takes the place of one of the same name."""
    return f"\n\n@hookimpl\ndef {name}({arguments}):\n    {body}\n"


def extension(name: str, body: str, arguments: str = "") -> str:
    return "from registry_core import hookimpl" + hook(name, body, arguments)


class Spoiling(FakeBackend):
    """Trains as `FakeBackend` does, with another result.

    Args:
        config: the run's configuration.
        digest: of the weights; None is the real one.
        swapped: places of test examples whose outputs change.
        losses: one an epoch, in place of the real ones.
    """

    def __init__(self, config, digest="other weights", swapped=(), losses=None):
        super().__init__(config)
        self._digest, self._swapped, self._losses = digest, list(swapped), losses

    def digest(self, model):
        return self._digest

    def fit(self, *arguments):
        history = super().fit(*arguments)
        return replace(history, metrics={"loss": self._losses}) if self._losses else history

    def evaluate(self, model, trained, split):
        found = super().evaluate(model, trained, split)
        outputs = found.outputs.copy()
        outputs[self._swapped] = np.roll(outputs[self._swapped], 1, axis=1)
        return replace(found, outputs=outputs)


class Project:
    """A folder with plugins.toml, the dataset plugin `flowers`, extensions, and a registry."""

    def __init__(self, folder, plugin=TABLE_PLUGIN, **extensions) -> None:
        self.folder = folder
        self.settings = write_project(folder, plugin, extensions)
        self.plugins = KnownPlugins(self.settings).load("flowers")
        self.store = Store(folder / "registry")
        self.observer = Recorder()
        self.stop = StopRequest()
        self.backend: FakeBackend | None = None  # the last one that was loaded

    def context(self, backend=FakeBackend, report=standard_report):
        def load_backend(config):
            self.backend = backend(config)
            return self.backend

        context = run_context(
            self.plugins, self.folder, load_backend, self.observer, self.stop, report
        )
        return replace(context, open_parent=parents_in(self.store, self.settings))

    # --- what is done in it ----------------------------------------------------------------------

    def run(self, *, backend=FakeBackend, report=standard_report, spec=None, **choices):
        spec = spec or spec_from_preset(self.plugins, **choices)
        return run(spec, self.store, self.context(backend, report))

    def stopped(self, error=Interrupted, *, backend=None, **choices):
        """Run what does not come to its end; returns the run that can be resumed."""
        before = {run.id for run in self.store.unfinished_runs()}
        with pytest.raises(error):
            self.run(backend=backend or partial(FakeBackend, interrupt_at=(1, 1)), **choices)
        (stopped,) = (run for run in self.store.unfinished_runs() if run.id not in before)
        return stopped

    def resume(self, stopped, data_dir=None, **choices):
        self.stop, self.observer = StopRequest(), Recorder()
        return self.run(spec=spec_from_run(self.plugins, stopped, data_dir), **choices)

    def refused(self, kind, **choices) -> BaseException:
        """Run what must fail, and see that it left nothing but what it takes to resume."""
        with pytest.raises(kind) as caught:
            self.run(**choices)
        assert self.store.models() == []
        assert self.store.ledger() == []
        assert leftovers(self.folder / "registry") == []
        assert bool(self.store.unfinished_runs()) == ("fit" in self.observer.stages)
        assert not list(self.folder.glob("registry/objects/sha256/*/*"))
        return caught.value

    def reproduce(self, version, backend=FakeBackend, overrides=None, results=True):
        recorded = self.recorded(version)
        folder = self.folder / "scratch"
        folder.mkdir(exist_ok=True)
        return reproduce(
            spec_from_record(self.plugins, recorded.manifest, overrides=overrides),
            recorded if results else replace(recorded, results=None),
            EphemeralWorkspace(folder),
            self.context(backend),
        )

    def evaluate(self, version, split="test", backend=FakeBackend, recorded=None):
        recorded = recorded or self.recorded(version)
        spec = spec_of_data(self.plugins, recorded.manifest)
        return evaluate(spec, recorded, split, lambda version: {}, self.context(backend))

    def import_model(self, **choices):
        spec, file = spec_from_preset(self.plugins, **choices), sound(self.folder / "model.keras")
        return import_model(spec, file, self.store, self.context(), ExaminerHere())

    # --- what is recorded ------------------------------------------------------------------------

    def manifest(self, version):
        return self.store.manifest(version)

    def recorded(self, version):
        results = PerExampleResults.from_json(self.store.read(version, OUTCOMES_FILE))
        return RecordedVersion(version, self.manifest(version), results)

    # --- what changes ----------------------------------------------------------------------------

    def change_plugin(self, *changes):
        """Edit the plugin's text, and load it as the next command would."""
        text = TABLE_PLUGIN
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (self.folder / "flowers_plugin.py").write_text(text)
        self.forget("flowers_plugin")

    def forget(self, *modules):
        """Load the plugins as a process does that has imported none of these modules."""
        for name in modules:
            sys.modules.pop(name, None)
        self.plugins = KnownPlugins(read_settings(self.folder / SETTINGS_FILE)).load("flowers")


def with_one_version(folder) -> Project:
    """A project with one version, to be read by the tests of a module; its plugin is not imported.

    What a test imports is forgotten after it; what a module's fixture imports would stay.
    """
    path = list(sys.path)
    project = Project(folder)
    project.run()
    sys.path[:] = path
    sys.modules.pop("flowers_plugin", None)
    return project
