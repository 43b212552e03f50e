"""A sweep over the settings of a plugin, with a backend that trains at once."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial

import numpy as np
from fakes import FakeBackend, Recorder
from lifecycle_helpers import Project

from registry_core.lifecycle.observers import SilentObserver
from registry_core.process.interrupts import StopRequest
from registry_core.running import Runner
from registry_core.store.checkpoint import read_state, write_checkpoint
from registry_core.sweeping import (
    Watchers,
    plan_sweep,
    resume_sweep,
    start_sweep,
)
from registry_core.sweeps.choices import SweepChoices
from registry_core.sweeps.state import read_sweep
from registry_core.types import Evaluation, History

# The settings that most tests search.
SPACE = {"learning_rate": "1e-4..1e0:log", "units": "4..64"}


class LearningBackend(FakeBackend):
    """Its accuracy depends on the settings: the best are near learning_rate 0.01 and 32 units."""

    def accuracy(self, epoch):
        distance = abs(math.log10(self.config.learning_rate) + 2) / 4
        distance += abs(self.config.units - 32) / 64
        share = (epoch + 1) / self.config.epochs
        return max(0.0, 0.95 - distance) * (0.5 + 0.5 * share)

    def fit(self, assembly, observer, stop, checkpoints):
        self._called("fit")
        file = checkpoints.checkpoint
        history = read_state(file)["history"] if file else {"val_accuracy": [], "val_loss": []}
        observer.training_started(self.config.epochs, 1, len(assembly.data.train))
        for epoch in range(len(history["val_accuracy"]), self.config.epochs):
            self.before_epoch(epoch, stop)
            stop.raise_if_requested()
            value = self.accuracy(epoch)
            history["val_accuracy"].append(value)
            history["val_loss"].append(1 - value)
            observer.epoch_done(epoch, {"val_accuracy": value, "val_loss": 1 - value}, 0.1)
            state = {"epoch": epoch + 1, "step": 0, "history": history}
            checkpoints.keep(partial(write_checkpoint, state=state, tensors=[]))
        stop.raise_if_requested()
        return History(history, [0.1] * self.config.epochs, int(file is not None))

    def before_epoch(self, epoch, stop):
        pass

    def evaluate(self, model, trained, split):
        found = super().evaluate(model, trained, split)
        value = self.accuracy(self.config.epochs - 1)
        wrong = np.arange(len(found.losses)) >= round(value * len(found.losses))
        outputs = np.eye(3, dtype="float32")[
            np.where(wrong, (split.targets + 1) % 3, split.targets)
        ]
        losses = np.where(wrong, 2.0, 0.25).astype("float32") - np.float32(value / 100)
        metrics = {"loss": float(losses.mean()), "accuracy": float(1 - wrong.mean())}
        return Evaluation(metrics, outputs, losses, found.targets)


class SweepRecorder(SilentObserver):
    """Remembers what it hears of a sweep."""

    def __init__(self):
        self.started, self.begun, self.ended, self.said, self.warned = [], [], [], [], []
        self.trials = Recorder()

    def sweep_started(self, sweep):
        self.started.append(sweep)

    def trial_started(self, trial):
        self.begun.append(trial.number)
        return self.trials

    def trial_ended(self, trial, best):
        self.ended.append((trial.number, trial.state, best.number if best else None))

    def say(self, text):
        self.said.append(text)

    def warn(self, text):
        self.warned.append(text)


class _Ready(Runner):
    """Runs the plugins of a project with its backend."""

    def __init__(self, project):
        super().__init__(project.store, project.settings, project.observer, project.stop, 0.0)
        object.__setattr__(self, "project", project)

    def context_of(self, plugins):
        return self.project.context(self.project.backend_class)


class SweepProject(Project):
    """A project in which sweeps run."""

    backend_class = LearningBackend

    def ready(self):
        self.heard = SweepRecorder()

        return _Ready(self)

    def watchers(self):
        return Watchers(self.heard, lambda what: nullcontext(self.observer))

    def sweep(self, overrides=SPACE, preset=None, make_runner=None, parent=None, **choices):
        choices.setdefault("trials", 6)
        choices.setdefault("sampler", "random")
        ready = self.ready()
        chosen = SweepChoices(overrides, **choices)
        planned = plan_sweep(ready, "flowers", preset, chosen, None, None, parent)
        return start_sweep(ready, planned, self.watchers(), make_runner)

    def resume_sweep(self, sweep_id=None, **choices):
        self.stop = StopRequest()
        self.forget("flowers_plugin")
        found = sweep_id or self.store.sweeps.ids()[-1]
        return resume_sweep(self.ready(), found, self.watchers(), **choices)

    def kept(self):
        """The newest sweep, as another process reads it."""
        return read_sweep(self.store, self.store.sweeps.ids()[-1])


def essence(sweep):
    """What of a sweep must not depend on when it was stopped."""
    return [
        (t.number, t.state, t.params, t.value, t.metrics, [*t.epochs], t.error, t.pruner)
        for t in sweep.trials
    ]
