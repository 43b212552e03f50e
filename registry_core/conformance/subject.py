"""The plugin that is checked, and what the rules learn of it, each thing once in a process.

Everything goes the way that a run goes: the plugin manager, the data checks, the lifecycle.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from registry_core.config import RunConfig
from registry_core.conformance.subset import FEW_EXAMPLES, few_examples, first_digests
from registry_core.data.checks import fingerprint, named_splits
from registry_core.errors import UsageError
from registry_core.lifecycle.assembly import load_data
from registry_core.lifecycle.context import RunContext
from registry_core.lifecycle.observers import SilentObserver
from registry_core.lifecycle.record import Artifacts
from registry_core.lifecycle.spec import RunSpec, spec_from_preset
from registry_core.plugins.loading import import_plugin
from registry_core.plugins.manager import PluginSet
from registry_core.plugins.presets import find_presets
from registry_core.plugins.sources import PluginSource
from registry_core.process.interrupts import StopRequest
from registry_core.types import ArraySplit, DataSplits

if TYPE_CHECKING:
    from registry_core.training.trial import TrialBackend

# On these an extension is checked.
TINY_DATASET = PluginSource(
    "tiny", "registry_core.conformance.tiny_dataset", "dataset", "mlreg itself"
)
_SLOW_LIBRARIES = ("tensorflow", "keras")


class NeedsTensorFlowError(ImportError):
    """Raised where a plugin imports TensorFlow in a process that is to stay without it."""


class TensorFlowWatch:
    """Notices the first import of TensorFlow or Keras; put into `sys.meta_path`.

    Args:
        is_barred: whether such an import is refused.
    """

    def __init__(self, is_barred: bool = False) -> None:
        self.is_barred = is_barred
        self.was_refused = False
        self.found = ""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Note who imports it; every other finder is asked afterwards."""
        if name.partition(".")[0] not in _SLOW_LIBRARIES:
            return None
        if not self.found:
            frames = [
                frame
                for frame in traceback.extract_stack()[:-1]
                if not frame.filename.startswith("<frozen")
            ]
            self.found = f"{frames[-1].filename}, line {frames[-1].lineno}, imports {name}"
        if self.is_barred:
            self.was_refused = True
            raise NeedsTensorFlowError(f"{name} is not imported here")
        return None


class Subject:
    """A plugin, its presets, its data and a few of its examples.

    Args:
        source: the plugin.
        project: the folder of plugins.toml.
        folder: an empty folder for what the rules write.
        preset: the preset's name; None takes the first.
        overrides: key -> value, as `-p` gives them.
        data_dir: for mlreg_dataset, or None.
        watch: notices imports of TensorFlow.
        say: receives what the plugin says while it loads data.
    """

    def __init__(
        self,
        source: PluginSource,
        project: Path,
        folder: Path,
        preset: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        data_dir: Path | None = None,
        watch: TensorFlowWatch | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.source = source
        self.project = project
        self.folder = folder
        self._preset = preset
        self._overrides = overrides or {}
        self._data_dir = data_dir
        self._watch = watch or TensorFlowWatch()
        self._say = say
        self.import_seconds = 0.0
        self._data_observer = TrialObserver()
        # what another process found, if it could
        self.fingerprints_elsewhere: Mapping[str, str] | None = None
        # of `few`, before any other hook; then the run that others are compared with
        self.few_fingerprints: dict[str, str] = {}
        self.first_run: Artifacts | None = None
        self.first_run_warnings: list[str] = []

    @cached_property
    def module(self) -> ModuleType:
        """The plugin's module, imported for the first time."""
        began = time.process_time()
        module = import_plugin(self.source)
        self.import_seconds = time.process_time() - began
        return module

    @property
    def imported_tensorflow(self) -> str:
        """Which line of whose file imported TensorFlow or Keras; empty if nothing did."""
        return self._watch.found if any(name in sys.modules for name in _SLOW_LIBRARIES) else ""

    @cached_property
    def plugins(self) -> PluginSet:
        """The plugin alone, or an extension with the tiny dataset."""
        if self.source.kind == "dataset":
            return PluginSet(self.source, [])
        return PluginSet(TINY_DATASET, [self.source])

    @cached_property
    def presets(self) -> Mapping[str, RunConfig]:
        return self.load_presets()

    def load_presets(self) -> Mapping[str, RunConfig]:
        """Call mlreg_presets."""
        return find_presets(self.plugins)

    @cached_property
    def spec(self) -> RunSpec:
        return self.find_spec()

    def find_spec(self) -> RunSpec:
        """What would be run.

        Raises:
            UsageError: there is no such preset, setting or value.
        """
        chosen = self._preset if self.source.kind == "dataset" else None
        return spec_from_preset(self.plugins, chosen, self._overrides, "checked", self._data_dir)

    # --- data ---------------------------------------------------------------------------------

    @cached_property
    def loaded(self) -> DataSplits:
        """What mlreg_dataset returned."""
        return self._load()

    @cached_property
    def data(self) -> DataSplits:
        """The splits, checked as a run checks them; streams are read as before training."""
        data = load_data(self.spec, self._context(self._data_observer, self.loaded))
        if not all(isinstance(split, ArraySplit) for split in named_splits(data).values()):
            with self.plugins.attribute_errors("mlreg_dataset"):
                _load_backend(self.spec.config).check_data(data)
        return data

    @property
    def data_warnings(self) -> list[str]:
        """What the host warns of in the splits."""
        return self._data_observer.warnings if self.data else []

    @cached_property
    def fingerprints(self) -> Mapping[str, str]:
        """Split -> the fingerprint of its data."""
        with self.plugins.attribute_errors("mlreg_dataset"):
            return {name: fingerprint(split) for name, split in named_splits(self.data).items()}

    def load_again(self) -> DataSplits:
        """What mlreg_dataset returns the second time, checked."""
        return load_data(self.spec, self._context(self.observer(), self._load()))

    def first_digests(self, split: Any) -> list[str]:
        """A digest of each of the first examples of a split."""
        with self.plugins.attribute_errors("mlreg_dataset"):
            return first_digests(split)

    @cached_property
    def few(self) -> DataSplits:
        """A few examples of each split, of the same kind of split."""
        with self.plugins.attribute_errors("mlreg_dataset"):
            few = few_examples(self.data)
        self.few_fingerprints = {
            name: fingerprint(split) for name, split in named_splits(few).items()
        }
        return few

    def one_batch(self, examples: int) -> DataSplits:
        """A few training examples, and no validation split."""
        return replace(few_examples(self.data, examples), validation=None)

    def _load(self) -> DataSplits:
        loaded: DataSplits = self.plugins.call(
            "mlreg_dataset",
            DataSplits,
            config=self.spec.config,
            data_dir=self.spec.data_dir,
            progress=self.observer(),
        )
        return loaded

    # --- what a run needs ---------------------------------------------------------------------

    def observer(self) -> TrialObserver:
        return TrialObserver(self._say)

    def short(self, **changes: Any) -> RunSpec:
        """The specification with few epochs and small batches, as far as the plugin allows it."""
        spec = self.spec
        wanted = {"epochs": 2, "batch_size": min(spec.config.batch_size, FEW_EXAMPLES // 4)}
        for key, value in {**wanted, **changes}.items():
            try:
                spec = replace(spec, config=spec.config.changed({key: value}))
            except UsageError:  # a validator of the plugin's refuses it
                continue
        return spec

    def context(self, observer: TrialObserver, stop: StopRequest | None = None) -> RunContext:
        """What a run needs beside its specification; its data is a few examples."""
        return self._context(observer, self.few, stop)

    def _context(
        self, observer: TrialObserver, data: DataSplits, stop: StopRequest | None = None
    ) -> RunContext:
        plugins = WithData(self.plugins, data)
        return RunContext(
            plugins,
            _load_backend,
            observer,
            stop or StopRequest(),
            self.project,
            lambda result, out_dir: [],  # the host's own figures are not the plugin's
        )

    def new_folder(self, name: str) -> Path:
        """An empty folder for one of a rule's runs."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder


def _load_backend(config: RunConfig) -> TrialBackend:
    from registry_core.training.trial import TrialBackend  # TensorFlow loads here

    return TrialBackend(config)


class WithData(PluginSet):
    """The same plugins, whose mlreg_dataset has been called.

    Args:
        plugins: as they were loaded.
        data: what it is to have returned.
    """

    def __init__(self, plugins: PluginSet, data: DataSplits) -> None:
        vars(self).update(vars(plugins))
        self._data = data

    def call(
        self,
        hook: str,
        expected: type | tuple[type, ...] | None = None,
        only: str | None = None,
        **known: Any,
    ) -> Any:
        """Call a hook; mlreg_dataset is not called again."""
        if hook == "mlreg_dataset":
            return self._data
        return super().call(hook, expected, only, **known)


class TrialObserver(SilentObserver):
    """Keeps the warnings of a run, and tells of its batches and epochs.

    Warnings about the data of a run are left out: rules about the data have looked at all of it.

    Args:
        say: receives what the plugin says.
        on_batch: called after each batch with the epoch, from 0.
        on_epoch: called after each epoch with its loss.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda text: None,
        on_batch: Callable[[int], None] = lambda epoch: None,
        on_epoch: Callable[[float], None] = lambda loss: None,
    ) -> None:
        self._say = say
        self._on_batch = on_batch
        self._on_epoch = on_epoch
        self._epoch = 0
        self._stage = ""
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        self._say(text)

    def stage_began(self, name: str) -> None:
        self._stage = name

    def warn(self, text: str) -> None:
        if self._stage != "data":
            self.warnings.append(text)

    def batch_done(self, step: int, metrics: Mapping[str, float]) -> None:
        self._on_batch(self._epoch)

    def epoch_done(self, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        self._epoch = epoch + 1
        self._on_epoch(float(metrics["loss"]))
