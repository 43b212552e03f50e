"""The words that each kind of argument completes to, from the registry and the plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from registry_core.cli.app import PANELS, app, register_commands, session
from registry_core.formatting import as_typed
from registry_core.process import streams

if TYPE_CHECKING:
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.records import UnfinishedRun
    from registry_core.refs import Ref
    from registry_core.registry import Registry

# Aliases that are offered where a model has none yet.
_USUAL_ALIASES = ("production", "staging")

_MOST_VERSIONS = 50

# From what was typed so far, by parameter, and the word that is being typed.
_Complete = Callable[[Mapping[str, Any], str], Iterable[str]]


def _registry() -> Registry:
    return session.open()


def _known_plugins() -> KnownPlugins:
    from registry_core.plugins.manager import KnownPlugins
    from registry_core.settings import find_settings

    return KnownPlugins(find_settings())


def _selectors(model: str) -> Iterator[str]:
    """Selectors after `MODEL@`: aliases, then latest and best, then numbers."""
    registry = _registry()
    yield from registry.aliases(model)
    yield from ("latest", "best")
    yield from (str(version.version) for version in registry.versions(model, _MOST_VERSIONS))


def _one_reference(incomplete: str) -> Iterable[str]:
    """References; only names if several models match."""
    model, at, _ = incomplete.partition("@")
    if not at:
        names = [name for name in _registry().model_names() if name.startswith(incomplete)]
        if len(names) != 1 and incomplete not in names:
            return names
        model = incomplete if incomplete in names else names[0]
    return [f"{model}@{selector}" for selector in _selectors(model)]


def _reference(words: list[str], incomplete: str) -> Iterable[str]:
    """One reference, in one word or in two."""
    if not words:
        return _one_reference(incomplete)
    return _selectors(words[0]) if len(words) == 1 and "@" not in words[0] else []


def _after_reference(words: list[str]) -> tuple[str, list[str]] | None:
    """The model, and the words after a complete reference; None if it is not complete."""
    if not words or (len(words) == 1 and "@" not in words[0]):
        return None
    model, at, _ = words[0].partition("@")
    return model, words[1 if at else 2 :]


def _references(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    return _reference(typed.get("reference", []), incomplete)  # none beside an option of a version


def _targets(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    words = typed["target"]
    whole = _after_reference(words)
    if whole is None:
        return _reference(words, incomplete)
    model, rest = whole
    return [] if rest else [*_registry().aliases(model), *_USUAL_ALIASES]


def _before_files(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    words = typed["words"]
    return [] if _after_reference(words) else _reference(words, incomplete)


def _many_references(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    words = typed["references"]
    bare = words and "@" not in words[-1] and words[-1] in _registry().model_names()
    found = [*_one_reference(incomplete)]
    return [*_selectors(words[-1]), *found] if bare else found


def _references_or_sweep(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    """References, and as the first word the ids of sweeps."""
    sweeps = [] if typed["reference"] else _registry().sweep_ids()
    return [*_references(typed, incomplete), *sweeps]


def _many_references_or_sweep(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    sweeps = [] if typed["references"] else _registry().sweep_ids()
    return [*_many_references(typed, incomplete), *sweeps]


def _versions_and_registry(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    """References, and after the first word remotes; folders where nothing fits."""
    from registry_core.settings import find_settings

    if typed.get("every"):
        return [*_registry().model_names(), *find_settings().remotes]
    return [*_one_reference(incomplete), *(find_settings().remotes if typed["words"] else ())]


def _removed(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    registry, words = _registry(), typed["reference"]
    if len(words) == 1 and "@" not in words[0]:
        return [str(removal.version.version) for removal in registry.removed(words[0])]
    if words:
        return []
    return [
        removal.version.ref for name in registry.model_names() for removal in registry.removed(name)
    ]


def _tags(registry: Registry, model: str) -> Iterator[str]:
    for version in registry.versions(model, _MOST_VERSIONS):
        for key, value in dict(version.tags).items():
            yield f"{key}={value}" if value else key


def _tagging(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    whole = _after_reference(typed["words"])
    if whole is None:
        return _reference(typed["words"], incomplete)
    return _tags(_registry(), whole[0])


def _tag_keys(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    whole = _after_reference(typed["words"])
    names = [whole[0]] if whole else _registry().model_names()
    return [tag.partition("=")[0] for name in names for tag in _tags(_registry(), name)]


def _tag_filters(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    return [tag for name in _listed_models(typed) for tag in _tags(_registry(), name)]


def _listed_models(typed: Mapping[str, Any]) -> list[str]:
    return [typed["model"]] if typed.get("model") else _registry().model_names()


def _sort_keys(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.version_query import SORTED

    registry = _registry()
    metrics = [name for model in _listed_models(typed) for name in registry.metric_names(model)]
    keys = [*metrics, *SORTED]
    return [*keys, *(f"-{key}" for key in keys)]


def _conditions(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    """Keys; once the key is typed, the values that the newest versions have."""
    from registry_core.version_query import FIELDS, TAG

    registry, models = _registry(), _listed_models(typed)
    if incomplete.startswith(TAG):
        return [f"{TAG}{tag}" for name in models for tag in _tags(registry, name)]
    key, equals, _ = incomplete.partition("=")
    if equals and key in ("preset", "dataset", "group", "seed"):
        newest = [each for name in models for each in registry.versions(name, _MOST_VERSIONS)]
        values = [str(getattr(version, key)) for version in newest]
        return [f"{key}={value}" for value in values if value]
    metrics = [name for model in models for name in registry.metric_names(model)]
    return [*metrics, *(f"{field}=" for field in FIELDS), TAG]


def _models(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    return _registry().model_names()


def _alias_references(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    registry, words = _registry(), typed["words"]
    if words:
        return registry.aliases(words[0]) if len(words) == 1 and "@" not in words[0] else []
    model, at, _ = incomplete.partition("@")
    names = [model] if at else [name for name in registry.model_names() if name.startswith(model)]
    if len(names) > 1:
        return names
    return [f"{name}@{alias}" for name in names for alias in registry.aliases(name)] or names


def _ruled_aliases(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    registry = _registry()
    held = [alias for name in registry.model_names() for alias in registry.aliases(name)]
    return [*registry.rules().holders, *held, *_USUAL_ALIASES]


def _limits(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    metrics = [name for version in _registry().newest_versions(20) for name in version.metrics]
    return [f"{name}=" for name in dict.fromkeys(metrics)]


def _versus(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    return ("not-worse", "better", "off")


def _requests(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    return [str(request.number) for request in _registry().requests()]


def _new_models(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    return [*_registry().model_names(), *_known_plugins().datasets]


def _resumable(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    runs = [run for run in _stopped_runs() if run.record and not run.record.get("sweep")]
    return [*_registry().sweep_ids(), *(run.id for run in runs)]


def _sweepable(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.settings import find_settings

    known = [*find_settings().sweeps, *_known_plugins().datasets]
    return [*known, *_registry().sweep_ids()]


def _samplers(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.sweeps.ask import SAMPLERS

    return SAMPLERS


def _pruners(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.sweeps.ask import PRUNERS

    return PRUNERS


def _stopped(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    return [run.id for run in _stopped_runs()]


def _stopped_sweeps(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    found = _registry().sweeps()
    stopped = [sweep.id for sweep in found if sweep.state != "running"]
    return [*stopped, *found.damaged]


def _stopped_runs() -> list[UnfinishedRun]:
    runs = _registry().unfinished_runs()
    return [run for run in reversed(runs) if run.process is None]


def _datasets(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    return _known_plugins().datasets


def _plugins(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    known = _known_plugins()
    return [*known.datasets, *known.extensions]


def _kinds_of_project(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.plugins.scaffold.projects import KINDS

    return KINDS


def _plugin_rules(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.conformance.rules import RULES

    return [f"{rule.id}=" for rule in RULES]


def _presets(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.plugins.presets import find_presets

    known = _known_plugins()
    chosen = typed.get("dataset") or (typed.get("what") and _dataset_of(typed))
    datasets = [chosen] if chosen else list(known.datasets)
    return [preset for name in datasets for preset in find_presets(known.load(name))]


def _settings(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    """`KEY=` for each setting; once the key is typed, `KEY=VALUE` for each value that it can have.

    Where these are not listed by its type, the value is that of the preset.
    """
    from registry_core.plugins.description import choices
    from registry_core.plugins.presets import find_presets

    dataset = typed.get("dataset") or _dataset_of(typed)
    presets = find_presets(_known_plugins().load(dataset))
    config = presets[typed.get("preset") or next(iter(presets))]
    values = config.values()
    key, equals, _ = incomplete.partition("=")
    if not equals:
        return [f"{key}=" for key in values]
    fields = type(config).model_fields
    known = choices(fields[key].annotation) if key in fields else ()
    return [f"{key}={as_typed(value)}" for value in known or [values[key]]]


def _dataset_of(typed: Mapping[str, Any]) -> str:
    """The plugin of a version, or of what `mlreg sweep` was given."""
    if "what" not in typed:
        return _registry().version(_parsed(typed["reference"])).dataset
    from registry_core.settings import find_settings

    named = find_settings().sweeps.get(typed["what"])
    return named.plugin if named else str(typed["what"])


def _parsed(words: list[str]) -> Ref:
    from registry_core.refs import parse_words

    return parse_words(words)


def _formats(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.exports.formats import FORMATS

    return FORMATS


def _splits(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    from registry_core.records import SPLITS

    return SPLITS


def _commands(typed: Mapping[str, Any], incomplete: str) -> Iterable[str]:
    register_commands([])
    command: Any = app.click_command()
    for word in typed["command"]:
        command = command.commands[word]
    names = [name for panel in PANELS.values() for name in panel] if not typed["command"] else []
    return [name for name in (names or command.commands) if name in command.commands]


# Parameters name their kind, so that commands start without this file.
_COMPLETERS: dict[str, _Complete] = {
    "references": _references,
    "targets": _targets,
    "reference, files": _before_files,
    "many references": _many_references,
    "versions and registry": _versions_and_registry,
    "removed versions": _removed,
    "tagging": _tagging,
    "tag keys": _tag_keys,
    "tag filters": _tag_filters,
    "sort keys": _sort_keys,
    "conditions": _conditions,
    "models": _models,
    "alias references": _alias_references,
    "ruled aliases": _ruled_aliases,
    "limits": _limits,
    "versus": _versus,
    "requests": _requests,
    "new models": _new_models,
    "references or a sweep": _references_or_sweep,
    "many references or a sweep": _many_references_or_sweep,
    "resumable runs": _resumable,
    "stopped runs": _stopped,
    "stopped sweeps": _stopped_sweeps,
    "datasets": _datasets,
    "sweepable": _sweepable,
    "samplers": _samplers,
    "pruners": _pruners,
    "plugins": _plugins,
    "plugin rules": _plugin_rules,
    "kinds of project": _kinds_of_project,
    "presets": _presets,
    "settings": _settings,
    "formats": _formats,
    "splits": _splits,
    "places to run": lambda typed, incomplete: ["local", "ray"],
    "commands": _commands,
}


def complete(kind: str, context: typer.Context, incomplete: str) -> list[str | tuple[str, str]]:
    """The words of a kind that begin with what was typed; none if something fails.

    A shell shows completions only, neither errors nor what a plugin prints.
    """
    if kind in ("files", "folders"):
        return [(incomplete, f"\0{kind}")]
    with streams.silenced():
        try:
            words = dict.fromkeys(_COMPLETERS[kind](context.params, incomplete))
            found = [word for word in words if word.startswith(incomplete)]
            places = kind in ("reference, files", "versions and registry")
            is_file = places and context.params["words"] and not found
            return [(incomplete, "\0files")] if is_file else [*found]
        except Exception:
            return []
