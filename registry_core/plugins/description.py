"""The description of a plugin: its presets, settings and hooks.

The plugin is imported; TensorFlow is not.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from registry_core.config import RunConfig
from registry_core.dataclass import dataclass
from registry_core.plugins.manager import PluginSet
from registry_core.plugins.presets import find_presets

# what annotated-types and pydantic call the bounds of a field -> how they are shown
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_BOUNDS = (*_SIGNS, "multiple_of", "min_length", "max_length")


@dataclass(frozen=True)
class Setting:
    """A setting that `-p` can change.

    Args:
        name: the key.
        type: its type, as written in the plugin.
        values: preset -> its value as JSON, for the presets of one configuration class.
        default: the value that the class gives it, as JSON; None if it gives none.
        bounds: `ge`, `gt`, `le`, `lt`, `multiple_of`, `min_length`, `max_length` -> the bound.
        choices: the only values that it can have; empty if these are not listed.
        about: its description; empty if the plugin has none.
    """

    name: str
    type: str
    values: Mapping[str, Any]
    default: Any
    bounds: Mapping[str, Any]
    choices: tuple[Any, ...]
    about: str

    @property
    def range(self) -> str:
        """The type and the bounds: `float > 0, <= 1`."""
        bounds = [f"{_SIGNS.get(name, name)} {bound}" for name, bound in self.bounds.items()]
        return f"{self.type} {', '.join(bounds)}".rstrip()

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "values": dict(self.values),
            "bounds": dict(self.bounds),
            "choices": list(self.choices),
        }


@dataclass(frozen=True)
class PluginDescription:
    """A plugin, as `mlreg plugins show` shows it.

    Args:
        name: its name on the command line.
        kind: "dataset" or "extension".
        module: its module.
        file: the module's file.
        origin: what names it: the path of plugins.toml, or a distribution and its version.
        about: the first line of the module's docstring.
        presets: name -> its `about`; empty for an extension.
        settings: in the order of declaration, once for each configuration class.
        hooks: the hooks that it implements.
    """

    name: str
    kind: str
    module: str
    file: str
    origin: str
    about: str
    presets: Mapping[str, str]
    settings: tuple[Setting, ...]
    hooks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "presets": dict(self.presets),
            "settings": [setting.to_json() for setting in self.settings],
            "hooks": list(self.hooks),
        }


def describe_plugin(plugins: PluginSet) -> PluginDescription:
    """Describe the one plugin of a set.

    Raises:
        PluginError: its presets are invalid.
    """
    (source,) = plugins.sources
    module = plugins.module(source.name)
    presets = find_presets(plugins) if source.kind == "dataset" else {}
    return PluginDescription(
        name=source.name,
        kind=source.kind,
        module=source.module,
        file=str(getattr(module, "__file__", "") or ""),
        origin=source.origin,
        about=(inspect.getdoc(module) or "").partition("\n")[0],
        presets={name: config.about for name, config in presets.items()},
        settings=tuple(_settings(presets)),
        hooks=tuple(plugins.hooks()),
    )


def _settings(presets: Mapping[str, RunConfig]) -> Iterator[Setting]:
    """The settings of each configuration class, with their values in its presets."""
    kinds: dict[type[RunConfig], None] = dict.fromkeys(map(type, presets.values()))
    for kind in kinds:
        values = {name: c.values() for name, c in presets.items() if type(c) is kind}
        for name, field in kind.model_fields.items():
            if all(name in each for each in values.values()):  # without `about`
                by_preset = {preset: each[name] for preset, each in values.items()}
                yield Setting(
                    name=name,
                    type=_type_name(field.annotation),
                    values=by_preset,
                    default=_default(kind, name),
                    bounds=_bounds(field.annotation, field.metadata),
                    choices=choices(field.annotation),
                    about=_meaning(kind, name),
                )


def choices(annotation: Any) -> tuple[Any, ...]:
    """The only values that a type has: those of a Literal or a bool, and None; empty if many."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation is bool:
        return (True, False)
    if annotation is type(None):
        return (None,)
    if origin is Literal:
        return inner
    if origin is Annotated:
        return choices(inner[0])
    if origin in (Union, UnionType):
        found = [choices(each) for each in inner]
        return tuple(each for some in found for each in some) if all(found) else ()
    return ()


def _default(config: type[RunConfig], name: str) -> Any:
    """The class's own value for a setting, as JSON; None if it gives none."""
    from pydantic_core import PydanticUndefined, to_jsonable_python

    value = config.model_fields[name].get_default(call_default_factory=False)
    return None if value is PydanticUndefined else to_jsonable_python(value, fallback=str)


def _bounds(annotation: Any, metadata: Sequence[Any]) -> dict[str, Any]:
    """The bounds of a setting, from its Field or its type."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bounds(inner[0], [*inner[1:], *metadata])
    found: dict[str, Any] = {}
    if origin in (Union, UnionType):  # `Annotated[float, Field(gt=0)] | None`
        for each in inner:
            found |= _bounds(each, [])
    for each in metadata:
        for known in (each, *getattr(each, "metadata", ())):  # a Field has its bounds inside
            bounds = {name: getattr(known, name, None) for name in _BOUNDS}
            found |= {name: bound for name, bound in bounds.items() if bound is not None}
    return found


def _meaning(config: type[RunConfig], name: str) -> str:
    """The field's description, from the field or from the docstring of the class."""
    if described := config.model_fields[name].description:
        return " ".join(described.split())
    for each in config.__mro__:
        if issubclass(each, RunConfig) and (about := _arguments(each.__doc__ or "").get(name)):
            return about
    return ""


def _arguments(docstring: str) -> dict[str, str]:
    """Name -> meaning, from the section `Args:` of a Google-style docstring."""
    _, found, section = inspect.cleandoc(docstring).partition("\nArgs:\n")
    if not found:
        return {}
    meanings: dict[str, list[str]] = {}
    name = ""
    for line in section.splitlines():
        if line.strip() and not line.startswith(" "):
            break  # the next section
        if match := re.match(r"    (\w+)(?: \(.*?\))?: (.*)", line):
            name = match[1]
            meanings[name] = [match[2].strip()]
        elif name and line.strip():
            meanings[name].append(line.strip())
    return {name: " ".join(words) for name, words in meanings.items()}


def _type_name(annotation: Any) -> str:
    """`int`, `float | None`, `tuple[int, int, int]`: without bounds and modules."""
    if isinstance(annotation, type) and not get_args(annotation):
        return "None" if annotation is type(None) else annotation.__name__
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(inner[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_type_name, inner))
    if origin is Literal:
        return " | ".join(map(repr, inner))
    if origin is not None:
        return f"{getattr(origin, '__name__', origin)}[{', '.join(map(_type_name, inner))}]"
    return "…" if annotation is Ellipsis else str(annotation)
