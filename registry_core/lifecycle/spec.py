"""What to run: a plugin's presets, a user's changes, and the records of earlier runs.

All that can be refused by looking at names and values is refused here, before anything heavy loads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registry_core.config import RunConfig
from registry_core.errors import PluginError, UsageError, is_unicode, safe_repr
from registry_core.plugins.manager import PluginSet
from registry_core.plugins.presets import find_presets
from registry_core.records import UnfinishedRun
from registry_core.refs import check_model_name, check_new_model_name

_NO_UNICODE = "It contains a lone surrogate, which a record cannot store."


@dataclass(frozen=True)
class RunSpec:
    """What is to be run, decided before anything heavy is imported.

    Args:
        model: the name that the version is registered under.
        dataset: the dataset plugin's name.
        preset: the preset's name.
        config: the preset with the user's changes.
        data_dir: what `--data-dir` said, or None.
        group: of the runs that this one is made together with; empty where it is made alone.
        resumes: the id of a stopped run to go on with; empty where a new one begins.
    """

    model: str
    dataset: str
    preset: str
    config: RunConfig
    data_dir: Path | None = None
    group: str = ""
    resumes: str = ""

    def to_json(self) -> dict[str, Any]:
        """What would be run: names and configuration."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "preset": self.preset,
            "config": self.config.values(),
        }


def spec_from_preset(
    plugins: PluginSet,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    model: str | None = None,
    data_dir: Path | None = None,
    recorded: Mapping[str, Any] | None = None,
) -> RunSpec:
    """Decide what to run, and refuse what can be refused by looking at names and values.

    Args:
        plugins: the run's plugins, the dataset's among them.
        preset: a preset's name; None takes the plugin's first.
        overrides: key -> value, as `RunConfig.changed` takes them.
        model: the name to register under; None takes the dataset's.
        data_dir: a file or folder that holds the data, for the plugin.
        recorded: key -> value of an earlier run's record, which the overrides change.

    Raises:
        UsageError: there is no such preset, key, value, name or folder.
        PluginError: the plugin's presets are not what they should be.
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
    )


def spec_from_run(plugins: PluginSet, run: UnfinishedRun, data_dir: Path | None = None) -> RunSpec:
    """The plan by which a stopped run goes on.

    Args:
        plugins: the run's plugins.
        run: has stopped.
        data_dir: a file or folder that holds the data; None takes what the run began with, if it
            is still there.

    Raises:
        UsageError: the plugin does not have a setting of then any more, or the folder is not there.
    """
    record = run.record
    if data_dir is None and record["data_dir"] and Path(record["data_dir"]).exists():
        data_dir = Path(record["data_dir"])
    plan = spec_from_record(plugins, record, data_dir)
    return replace(plan, group=record["group"], resumes=run.id)


def spec_from_record(
    plugins: PluginSet,
    record: Mapping[str, Any],
    data_dir: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> RunSpec:
    """The plan of a record, whatever the presets say by now.

    Args:
        plugins: the record's plugins.
        record: what a run began with, or a version's manifest: `model`, `preset`, `config`.
        data_dir: a file or folder that holds the data, for the plugin.
        overrides: key -> value, where it is not to be what it was.

    Raises:
        UsageError: the plugin does not have a setting of then any more, or the folder is not there.
    """
    preset = record["preset"] if record["preset"] in find_presets(plugins) else None
    plan = spec_from_preset(plugins, preset, overrides, None, data_dir, recorded=record["config"])
    return replace(plan, preset=record["preset"], model=check_model_name(record["model"]))


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
