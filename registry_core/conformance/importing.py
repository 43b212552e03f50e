"""Rules about a plugin's import, its hooks and its presets. None needs TensorFlow."""

from __future__ import annotations

import json
from contextlib import suppress

from registry_core.conformance.rule import DATASET, RuleFailure, rule
from registry_core.conformance.subject import Subject
from registry_core.errors import MlregError
from registry_core.lifecycle.spec import spec_from_json, spec_from_preset
from registry_core.plugins.description import describe_plugin
from registry_core.plugins.manager import PluginSet

# Most commands import the plugin; this is what starting mlreg takes, several times over.
MOST_IMPORT_SECONDS = 1.0


@rule(
    "It can be imported",
    remedy="Correct what the message names; `python -c 'import MODULE'` shows the whole traceback.",
    cost="import",
)
def imports(subject: Subject) -> object:
    """Import the plugin's module as mlreg does."""
    return subject.module


@rule(
    "Importing it loads neither TensorFlow nor Keras",
    remedy="Import TensorFlow and Keras inside the hooks that need them.",
    cost="import",
    needs=[imports],
)
def imports_without_tensorflow(subject: Subject) -> None:
    """Import the module and call mlreg_presets in a process of its own, and watch its imports."""
    if subject.source.kind == "dataset":
        with suppress(MlregError):  # another rule says what is wrong with them
            subject.load_presets()
    if subject.imported_tensorflow:
        raise RuleFailure(f"{subject.imported_tensorflow}.")


@rule(
    f"Its import takes less than {MOST_IMPORT_SECONDS:g} s of the processor's time",
    remedy="Import slow libraries, such as pandas and SciPy, inside the hooks that need them.",
    cost="import",
    tier="recommended",
    needs=[imports],
)
def imports_quickly(subject: Subject) -> None:
    """Measure the processor's time of the import, in a new process."""
    seconds = subject.import_seconds
    if seconds >= MOST_IMPORT_SECONDS and not subject.imported_tensorflow:
        raise RuleFailure(f"The import took {seconds:.1f} s of the processor's time.")


@rule(
    "Its hooks have names and arguments of the contract",
    remedy="Correct the name or the argument; docs/plugins.md lists the hooks.",
    cost="import",
    needs=[imports],
)
def hooks_spelt_right(subject: Subject) -> None:
    """Compare each function named mlreg_… or marked @hookimpl with the hook specifications."""
    PluginSet(None, [subject.source])  # without a dataset: nothing is required


@rule(
    "It has the required hooks",
    remedy="Write the missing hook; hookspecs.py has an example of each that can be pasted.",
    cost="import",
    kinds=DATASET,
    needs=[hooks_spelt_right],
)
def required_hooks(subject: Subject) -> object:
    """Look for mlreg_presets, mlreg_dataset and mlreg_model."""
    return subject.plugins


@rule(
    "Its presets are configurations",
    remedy="Return a dict from name to an instance of your subclass of RunConfig.",
    cost="import",
    kinds=DATASET,
    needs=[required_hooks],
)
def presets_valid(subject: Subject) -> object:
    """Call mlreg_presets, and check that there is at least one preset and that each is valid."""
    return subject.presets


@rule(
    "Each preset can be written as JSON and read back",
    remedy="Use fields whose values JSON has: numbers, texts, lists, dicts of these.",
    cost="import",
    kinds=DATASET,
    needs=[presets_valid],
)
def presets_survive_json(subject: Subject) -> None:
    """Write the run's specification of each preset as JSON, as a version's record does."""
    for name in subject.presets:
        spec = spec_from_preset(subject.plugins, name, model="checked")
        back = spec_from_json(subject.plugins, json.loads(json.dumps(spec.to_json())))
        if back.config.values() != spec.config.values():
            raise RuleFailure(f"The preset '{name}' has other values when it is read back.")


@rule(
    "Each preset says what it achieves",
    remedy='Give each preset an about="…": what it is for, accuracy and time if they are measured.',
    cost="import",
    tier="recommended",
    kinds=DATASET,
    needs=[presets_valid],
)
def presets_described(subject: Subject) -> None:
    """Look at `about` of each preset, which `mlreg plugins show` shows."""
    if silent := [f"'{name}'" for name, each in subject.presets.items() if not each.about.strip()]:
        raise RuleFailure(f"No `about`: {', '.join(silent)}.")


@rule(
    "Each setting has a meaning",
    remedy="Describe each in the section Args: of the class's docstring, or with "
    "Field(description=…).",
    cost="import",
    tier="recommended",
    kinds=DATASET,
    needs=[presets_valid],
)
def settings_described(subject: Subject) -> None:
    """Look at the description of each setting, which `mlreg plugins show` shows."""
    settings = describe_plugin(subject.plugins).settings
    if silent := [each.name for each in settings if not each.about]:
        raise RuleFailure(f"No description: {', '.join(dict.fromkeys(silent))}.")


RULES = (
    imports,
    imports_without_tensorflow,
    imports_quickly,
    hooks_spelt_right,
    required_hooks,
    presets_valid,
    presets_survive_json,
    presets_described,
    settings_described,
)
