"""A sweep and its trials, as they are kept and shown. Imports neither NumPy nor Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

# The states of a trial that has ended and was told to the sampler.
TOLD = ("complete", "pruned", "failed")

MAXIMIZE, MINIMIZE = "maximize", "minimize"


@dataclass(frozen=True)
class Trial:
    """One set of values that a sweep tries.

    Args:
        number: from 0, in the order in which trials are asked for.
        state: `running`; or `waiting`, if it was stopped and can be resumed; or `complete`,
            `pruned` or `failed`.
        params: setting -> value, of the settings that are searched.
        run: the id of its run; empty if it never began.
        value: the metric of the sweep, of a complete trial.
        metrics: `val_loss`, `val_accuracy`, … of what would be registered.
        epochs: the metrics after each epoch, as a history has them.
        began: UTC, ISO 8601; empty if it has not.
        ended: UTC, ISO 8601; empty if it has not.
        seconds: how long it took, in all processes that worked on it.
        error: why it failed; empty if it did not.
        fault: the class of that error, as `PluginError`; empty if it did not fail.
        pruner: what the pruner has to know of it, for later trials.
        version: what it was registered as; empty if it was not.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    run: str = ""
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: Sequence[Mapping[str, float]] = ()
    began: str = ""
    ended: str = ""
    seconds: float = 0.0
    error: str = ""
    fault: str = ""
    pruner: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def is_told(self) -> bool:
        """Whether it has ended."""
        return self.state in TOLD

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "params": dict(self.params),
            "metrics": dict(self.metrics),
            "epochs": [dict(each) for each in self.epochs],
            "pruner": dict(self.pruner),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Trial:
        """What `to_json` returned; KeyError or TypeError: it is something else."""
        known = cls.__dataclass_fields__
        return cls(**{key: value for key, value in record.items() if key in known})


@dataclass(frozen=True)
class Sweep:
    """A search over settings.

    Args:
        id: sorts by the time it was started.
        model: the name that its winner is registered under.
        dataset: the dataset plugin's name.
        preset: the preset's name.
        created: UTC, ISO 8601.
        state: `running`, `stopped` or `complete`; `planned` before it is started.
        config: every setting of a trial before its own values.
        space: setting -> `{"low", "high", "log", "int"}` or `{"choices"}`.
        metric: by which trials are compared, on the validation split: `val_accuracy`.
        direction: `maximize` or `minimize`.
        sampler: `tpe`, `random` or `grid`.
        pruner: `median` or `hyperband`; None prunes nothing.
        seed: of the sampler.
        count: how many trials were asked for.
        parallel: how many trials run at a time.
        minutes: after which no new trial begins; None is no limit.
        executor: `local`, or where the Ray cluster is.
        cpus: of each run; None leaves it to TensorFlow.
        gpus: of each run; None leaves it to TensorFlow.
        register: `best`, `none` or the number of a trial.
        confirm: with how many seeds the winner is trained; 0 or 1 is its own alone.
        data: split -> its `examples` and `fingerprint`, and what else `describe` says.
        code: plugin -> the digest of its code when the sweep began.
        data_dir: where the data was read from; None leaves it to the plugin.
        name: of the sweep in plugins.toml; empty without one.
        trials: in order of their numbers.
        registered: `{"trial", "version", "value", "test"}`; None if nothing was registered.
        confirmations: `{"seed", "version", "value", "test"}` of the winner's other seeds.
        importance: setting -> its share of what the settings explain; empty while unknown.
        stopped: why no more trials were asked for: `minutes`, `exhausted`; `failed` if
            no trial can be compared; empty otherwise.
        seconds: how long it has run, in all processes that worked on it.
        stall_minutes: after which a silent worker is replaced; None is never.
        start_from: `{"ref", "digest", "sha256"}` of the version that every trial starts from; None
            for weights of their own.
    """

    id: str
    model: str
    dataset: str
    preset: str
    created: str
    state: str
    config: Mapping[str, Any]
    space: Mapping[str, Mapping[str, Any]]
    metric: str
    direction: str
    sampler: str
    pruner: str | None
    seed: int
    count: int
    parallel: int = 1
    minutes: float | None = None
    executor: str = "local"
    cpus: int | None = None
    gpus: int | None = None
    register: str = "best"
    confirm: int = 0
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    data_dir: str | None = None
    name: str = ""
    trials: Sequence[Trial] = ()
    registered: Mapping[str, Any] | None = None
    confirmations: Sequence[Mapping[str, Any]] = ()
    importance: Mapping[str, float] = field(default_factory=dict)
    stopped: str = ""
    seconds: float = 0.0
    stall_minutes: float | None = None
    start_from: Mapping[str, str] | None = None

    @property
    def told(self) -> list[Trial]:
        """The trials that have ended, by number."""
        return [trial for trial in self.trials if trial.is_told]

    @property
    def ranked(self) -> list[Trial]:
        """The complete trials, the best first; of equal ones the earlier first."""
        sign = -1 if self.direction == MAXIMIZE else 1
        done = [t for t in self.trials if t.state == "complete" and t.value is not None]
        return sorted(done, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @property
    def best(self) -> Trial | None:
        """The best complete trial; None while there is none."""
        return next(iter(self.ranked), None)

    def rank(self, number: int) -> int | None:
        """The place of a trial among the complete ones, from 1; None if it is not complete."""
        numbers = [trial.number for trial in self.ranked]
        return numbers.index(number) + 1 if number in numbers else None

    def counted(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)

    @property
    def median(self) -> float | None:
        """The median value of the complete trials; None while there is none."""
        values = [trial.value for trial in self.ranked if trial.value is not None]
        return float(median(values)) if values else None

    def with_trial(self, trial: Trial) -> Sweep:
        """The same sweep with one trial added or replaced."""
        others = [each for each in self.trials if each.number != trial.number]
        return replace(self, trials=tuple(sorted([*others, trial], key=lambda each: each.number)))

    def settings_json(self) -> dict[str, Any]:
        """All but the trials, as it is kept."""
        record = {**vars(self)}
        del record["trials"]
        return {
            **record,
            "config": dict(self.config),
            "space": {name: dict(each) for name, each in self.space.items()},
            "data": {name: dict(each) for name, each in self.data.items()},
            "code": dict(self.code),
            "registered": None if self.registered is None else dict(self.registered),
            "confirmations": [dict(each) for each in self.confirmations],
            "importance": dict(self.importance),
            "start_from": None if self.start_from is None else dict(self.start_from),
        }

    def to_json(self) -> dict[str, Any]:
        best = self.best
        return {
            **self.settings_json(),
            "id": self.id or None,
            "best": None if best is None else best.number,
            "trials": [trial.to_json() for trial in self.trials],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any], trials: Sequence[Trial] = ()) -> Sweep:
        """What `settings_json` returned, with its trials.

        Raises:
            KeyError, TypeError: it is something else.
        """
        known = {key: value for key, value in record.items() if key in cls.__dataclass_fields__}
        return cls(**{**known, "trials": tuple(trials)})
