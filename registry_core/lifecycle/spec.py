"""What to run: made of a plugin's presets, a user's changes, or the records of earlier runs.

Everything that can be refused by its name or value is refused here, before a heavy import. A
specification can be written as JSON and read back in another process that has the plugins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from types import NoneType
from typing import Any

from registry_core.config import RunConfig
from registry_core.dataclass import dataclass
from registry_core.errors import PluginError, UsageError, is_unicode, safe_repr
from registry_core.plugins.manager import PluginSet
from registry_core.plugins.presets import find_presets
from registry_core.records import PARENT, UnfinishedRun
from registry_core.refs import check_model_name, check_new_model_name

# of the JSON form; a reader of 1 would train without the weights to start from
SCHEMA = 2
_JSON: dict[str, type | tuple[type, ...]] = {
    "model": str,
    "dataset": str,
    "preset": str,
    "config": Mapping,
    "data_dir": (str, NoneType),
    "group": str,
    "resumes": str,
    "code": Mapping,
    "data": (Mapping, NoneType),
    "start_from": (Mapping, NoneType),
}

_DIGEST = re.compile(r"[0-9a-f]{64}")

_NO_UNICODE = "It contains a lone surrogate, which a record cannot store."


@dataclass(frozen=True)
class StartFrom:
    """The version whose weights a run starts with.

    Args:
        ref: what it was called when this was decided: `flowers@3`.
        digest: sha256 of its manifest, in hex; its copies in other registries have the same.
        sha256: of the file of its model, in hex.
    """

    ref: str
    digest: str
    sha256: str

    def to_json(self) -> dict[str, str]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> StartFrom:
        """Read what `to_json` wrote, with or without more beside it.

        Raises:
            UsageError: it is not that.
        """
        ref, *digests = (record.get(key) for key in ("ref", "digest", "sha256"))
        named = isinstance(ref, str) and re.fullmatch(r"[a-z][a-z0-9_-]{0,63}@[1-9]\d{0,17}", ref)
        if not named or not all(isinstance(d, str) and _DIGEST.fullmatch(d) for d in digests):
            raise UsageError(
                f"The version to start from is not valid: {safe_repr(dict(record))}.",
                "It has ref, digest and sha256: write it with RunSpec.to_json().",
            )
        return cls(str(ref), *map(str, digests))


@dataclass(frozen=True)
class RunSpec:
    """What to run.

    Args:
        model: the name that the version is registered under.
        dataset: the dataset plugin's name.
        preset: the preset's name.
        config: the preset with the user's changes.
        data_dir: the `--data-dir` option, or None.
        group: the id shared by the runs of `--seeds`; empty for a single run.
        resumes: the id of the stopped run to resume; empty for a new run.
        code: plugin -> the digest of its code when this was decided. A run warns of other code.
        data: split -> its `examples` and `fingerprint`, if they are known. A run refuses other
            data.
        start_from: the version whose weights the model starts with; None for its own.
        sweep: what a trial belongs to: `{"id", "trial"}`; and what is recorded of its sweep with
            the version that it becomes. `{"id", "confirms"}` of a run with another seed than the
            trial. None for another run.
        reason: why it is run, for the ledger; empty for none.
    """

    model: str
    dataset: str
    preset: str
    config: RunConfig
    data_dir: Path | None = None
    group: str = ""
    resumes: str = ""
    code: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, Any]] | None = None
    start_from: StartFrom | None = None
    sweep: Mapping[str, Any] | None = None
    reason: str = ""

    def summary(self) -> dict[str, Any]:
        """Names and configuration, as `mlreg run --dry-run --json` shows them."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "preset": self.preset,
            "config": self.config.values(),
        }

    def to_json(self) -> dict[str, Any]:
        """All of it, for `spec_from_json`."""
        return {
            "schema": SCHEMA,
            **self.summary(),
            "data_dir": None if self.data_dir is None else str(self.data_dir),
            "group": self.group,
            "resumes": self.resumes,
            "code": dict(self.code),
            "data": None if self.data is None else {k: dict(v) for k, v in self.data.items()},
            "start_from": None if self.start_from is None else self.start_from.to_json(),
            **({"sweep": dict(self.sweep)} if self.sweep else {}),
            **({"reason": self.reason} if self.reason else {}),
        }


def spec_from_preset(
    plugins: PluginSet,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    model: str | None = None,
    data_dir: Path | None = None,
    recorded: Mapping[str, Any] | None = None,
) -> RunSpec:
    """Decide what to run.

    Args:
        plugins: the run's plugins, the dataset's among them.
        preset: a preset's name; None takes the plugin's first.
        overrides: key -> value, as `RunConfig.changed` takes them.
        model: the name to register under; None takes the dataset's.
        data_dir: a file or folder that holds the data, for the plugin.
        recorded: key -> value of an earlier run's record, which the overrides change.

    Raises:
        UsageError: a preset, setting, value, name or folder is not possible.
        PluginError: the plugin's presets are not possible.
    """
    dataset = plugins.dataset_name
    presets = find_presets(plugins)
    chosen = preset if preset is not None else next(iter(presets))
    if chosen not in presets:
        raise _no_such_preset(chosen, presets, dataset)
    if data_dir is not None and not data_dir.exists():
        raise UsageError(f"--data-dir {data_dir} does not exist.", "Name a file or a folder.")
    config = presets[chosen].changed(recorded or {}, recorded=True).changed(overrides or {})
    _check_text(chosen, presets[chosen], config)
    for key, kept in config.lost_in_a_record().items():
        raise PluginError(
            f"The setting {key!r} cannot be recorded: {safe_repr(kept)} is read back as another "
            "value.",
            "A version records every setting, to be trained again. Read a secret from the "
            "environment, in the hook that needs it.",
        )
    return RunSpec(
        model=check_model_name(dataset) if model is None else check_new_model_name(model),
        dataset=dataset,
        preset=chosen,
        config=config,
        data_dir=data_dir.absolute() if data_dir else None,
        code=plugins.code_digests(),
    )


def spec_from_run(plugins: PluginSet, run: UnfinishedRun, data_dir: Path | None = None) -> RunSpec:
    """The specification that resumes a stopped run.

    Args:
        plugins: the run's plugins.
        run: has stopped.
        data_dir: a file or folder that holds the data; None takes what the run began with, if it
            still exists.

    Raises:
        UsageError: the plugin no longer has a recorded setting, or the folder does not exist.
    """
    record = run.record
    spec = spec_from_record(plugins, record, data_dir)
    data = record.get("data", {}).get("splits")
    return replace(
        spec, group=record["group"], resumes=run.id, data=data, sweep=record.get("sweep")
    )


def spec_from_record(
    plugins: PluginSet,
    record: Mapping[str, Any],
    data_dir: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> RunSpec:
    """The specification of an earlier run, by its record and not by today's presets.

    Args:
        plugins: the record's plugins.
        record: what a run began with, or a version's manifest: `model`, `preset`, `config`.
        data_dir: a file or folder that holds the data; None takes the recorded one, if it still
            exists.
        overrides: key -> value, which change the recorded settings.

    Raises:
        UsageError: the plugin no longer has a recorded setting, or the folder does not exist.
    """
    then = record.get("data_dir")
    if data_dir is None and isinstance(then, str) and then and Path(then).exists():
        data_dir = Path(then)
    preset = record["preset"] if record["preset"] in find_presets(plugins) else None
    spec = spec_from_preset(plugins, preset, overrides, None, data_dir, recorded=record["config"])
    parent = record.get(PARENT)
    return replace(
        spec,
        preset=record["preset"],
        model=check_model_name(record["model"]),
        start_from=StartFrom.from_json(parent) if isinstance(parent, Mapping) else None,
    )


def spec_from_json(plugins: PluginSet, record: Mapping[str, Any]) -> RunSpec:
    """Read what `RunSpec.to_json` wrote, perhaps in another process.

    Other code than the specification's is a warning when it is executed, other data an error.

    Args:
        plugins: of the specification's dataset.
        record: as it was written.

    Raises:
        UsageError: it is not a specification of this schema or for these plugins, the plugin has no
            such setting, or the data folder does not exist here.
    """
    _check_json(plugins, record)
    data_dir = None if record["data_dir"] is None else Path(record["data_dir"])
    spec = spec_from_record(plugins, record, data_dir)
    return replace(
        spec,
        group=record["group"],
        resumes=record["resumes"],
        code=record["code"],
        data=record["data"],
        start_from=StartFrom.from_json(record["start_from"]) if record["start_from"] else None,
        sweep=record.get("sweep"),
        reason=record.get("reason", ""),
    )


def _check_json(plugins: PluginSet, record: Mapping[str, Any]) -> None:
    if record.get("schema") != SCHEMA:
        raise UsageError(
            f"The run's specification has schema {safe_repr(record.get('schema'))}, not {SCHEMA}.",
            "Write it with the mlreg that reads it: RunSpec.to_json().",
        )
    for key, kind in _JSON.items():
        if key not in record or not isinstance(record[key], kind):
            raise UsageError(
                f"The run's specification has no valid {key}: {safe_repr(record.get(key))}.",
                "Write it with RunSpec.to_json().",
            )
    if record["dataset"] != plugins.dataset_name:
        raise UsageError(
            f"The run's specification is for the dataset plugin {safe_repr(record['dataset'])}, "
            f"not '{plugins.dataset_name}'.",
            "Load the plugin that it names.",
        )


def _check_text(name: str, preset: RunConfig, config: RunConfig) -> None:
    """Refuse names and settings that no record could keep, before hours are spent on them."""
    if not is_unicode(name):
        raise PluginError(f"The preset {safe_repr(name)} is not valid Unicode.", _NO_UNICODE)
    given = preset.values()
    for key, value in config.values().items():
        if is_unicode(json.dumps(value, ensure_ascii=False)):
            continue
        if value == given.get(key):
            raise PluginError(
                f"{key} of the preset '{name}' is not valid Unicode: {safe_repr(value)}.",
                _NO_UNICODE,
            )
        raise UsageError(f"{key}={safe_repr(value)} is not valid Unicode.", _NO_UNICODE)


def _no_such_preset(name: str, presets: Mapping[str, RunConfig], dataset: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(name, list(presets), n=1)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    suggestion = near[0] if near else next(iter(presets))
    return UsageError(
        f"No preset '{name}' for {dataset}.",
        f"Presets: {', '.join(presets)}.{meant}",
        f"mlreg run {dataset} --preset {suggestion}",
    )
