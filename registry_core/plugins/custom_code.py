"""The custom code that a version's model needs: its own layers, losses and functions.

A saved model contains their names, not their code. The version's record says which module registers
each, and that module is imported before the model is loaded. Records are not trusted: only modules
beside plugins.toml, in the package of a known plugin, or in an installed package that depends on
Keras are imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.errors import (
    IntegrityError,
    Interrupted,
    MlregError,
    PluginError,
    UsageError,
    one_line,
    safe_str,
    truncate,
)
from registry_core.plugins.manager import KnownPlugins
from registry_core.plugins.source_digests import is_beside
from registry_core.plugins.sources import distribution_of
from registry_core.process import keras_environment as backend
from registry_core.process.guard import PluginGuard
from registry_core.records import Version
from registry_core.settings import Settings

# key in a version's record
KEY = "custom_objects"

# a package that depends on one of these is made for Keras
_LIBRARIES = re.compile(r"(keras|tensorflow)\b", re.IGNORECASE)
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
# what stands before the reason in Keras's messages, and what follows it
_MARKS = re.compile(
    r"Exception encountered: |Error encountered:|Example error message for object <[^\n]*>:\n"
)
_CONFIGURATION = re.compile(
    r"Full object config|config=\{|Arguments received by|Target variable:|List of objects"
)
_COLOURS = re.compile(r"\x1b\[[\d;]*m")
_LIMIT_CONFIG_BYTES = 64 << 20


@dataclass(frozen=True)
class CustomObject:
    """A class or function of a model that is not part of Keras.

    Args:
        name: its registered name: `acme>Noise`.
        module: the module that registers it; empty if that is not known.
        distribution: the distribution that installed the module, with its version, or None.
    """

    name: str
    module: str
    distribution: str | None = None


def describe(objects: Mapping[str, str], folder: Path) -> list[dict[str, Any]]:
    """A model's custom objects, for a version's record.

    Args:
        objects: registered name -> module.
        folder: the folder of plugins.toml.
    """
    return [
        {"name": name, "module": module, "distribution": _distribution(module, folder)}
        for name, module in sorted(objects.items())
    ]


def lacking(manifest: Mapping[str, Any], settings: Settings) -> list[str]:
    """The plugin and modules that a version needs and that are not here. Imports nothing."""
    known = KnownPlugins(settings)
    name, needed = manifest["dataset"], _recorded(manifest) or []
    missing = []
    if name not in known.datasets:
        module = next((p["module"] for p in manifest.get("plugins", ()) if p["name"] == name), "")
        missing.append(f"the plugin '{name}'" + (f" (module {module})" if module else ""))
    for module in _modules(needed):
        if not _is_here(module, known, settings):
            missing.append(f"the module {module}")
    return missing


def check_here(made: str, record: Mapping[str, Any], settings: Settings) -> None:
    """Check that the plugin and the modules of a version or a run are here.

    Args:
        made: what was made with them: `flowers@3`, `Run 20261125T…`.
        record: the version's manifest, or the run's record.
        settings: the content of plugins.toml.

    Raises:
        PluginError: something is missing; names all of it.
    """
    missing = lacking(record, settings)
    if missing:
        needed = _recorded(record) or []
        raise PluginError(
            f"{made} needs {_listed(missing)}, which {_are(missing)} not here.",
            *_remedy(record, needed),
        )


@dataclass(frozen=True)
class CustomCode:
    """The custom code of one version's model.

    Args:
        version: the version.
        manifest: its record.
        needed: the model's custom objects.
        settings: the content of plugins.toml.
    """

    version: Version
    manifest: Mapping[str, Any]
    needed: Sequence[CustomObject]
    settings: Settings

    @contextmanager
    def imported(self) -> Iterator[None]:
        """A context that imports the code, for a block that loads the model.

        Raises:
            PluginError: the code cannot be imported, or differs from that of the run.
            UsageError: the model needs another version of Keras.
        """
        if not _all_registered(self.needed):
            self._import()
        try:
            yield
        except (MlregError, Interrupted, KeyboardInterrupt, OSError, MemoryError):
            raise
        except Exception as error:
            raise self._not_loadable(error) from error

    def _import(self) -> None:
        known = KnownPlugins(self.settings)
        backend.prepare()
        for module in _modules(each for each in self.needed if not _is_registered(each.name)):
            if _is_here(module, known, self.settings):
                _import_module(self.version, module)
        if not _all_registered(self.needed) and self.manifest["dataset"] in known.datasets:
            with suppress(MlregError):  # it may import modules that the record does not name
                known.load(self.manifest["dataset"])
        missing = [each for each in self.needed if not _is_registered(each.name)]
        if missing:
            raise _unregistered(self.version, self.manifest, missing)

    def _not_loadable(self, error: Exception) -> MlregError:
        """The error for an undamaged model file that cannot be loaded."""
        ref, reason = self.version.ref, why(error)
        if self.needed:
            names = _listed([f"'{each.name}'" for each in self.needed])
            return PluginError(
                f"{ref} cannot be loaded with the code that is here: {reason}",
                f"It needs the code of {names} as it was when the version was made.",
                f"mlreg show {ref}",
            )
        then = self.manifest.get("environment", {}).get("keras")
        now = getattr(sys.modules.get("keras"), "__version__", "")
        other = f", which Keras {then} saved" if then and then != now else ""
        return UsageError(
            f"Keras {now} cannot load {ref}{other}: {reason}",
            "The file is not damaged. Use the version of Keras that saved it.",
            f"pip install keras=={then}" if other else f"mlreg export {ref}",
        )


def find_code(
    version: Version, manifest: Mapping[str, Any], file: Path, settings: Settings
) -> CustomCode:
    """Find the custom code of a version's model, without importing it.

    Args:
        version: the version.
        manifest: its record.
        file: its model, already checked against its digest.
        settings: the content of plugins.toml.

    Raises:
        PluginError: some of the code is not here.
    """
    needed = _recorded(manifest)
    if needed is None:
        needed = named_in(file)
    if not _all_registered(needed):
        known = KnownPlugins(settings)
        may_import = manifest["dataset"] in known.datasets
        absent = [
            each
            for each in needed
            if not _is_registered(each.name)
            and not (_is_here(each.module, known, settings) if each.module else may_import)
        ]
        if absent:
            raise _absent(version, manifest, absent)
    return CustomCode(version, manifest, needed, settings)


def named_in(file: Path) -> list[CustomObject]:
    """The custom objects that a `.keras` file names, for older records without them.

    The file does not have the modules of functions.
    """
    objects = {}
    for item in _dictionaries(read_config(file)):
        if "class_name" not in item:
            continue
        function = item["class_name"] == "function"
        name = item.get("config") if function else item.get("registered_name")
        module = item.get("module")
        if isinstance(name, str) and ">" in name:
            if function or not isinstance(module, str) or not _MODULE.fullmatch(module):
                module = ""
            objects[name] = CustomObject(name, module)
    return [objects[name] for name in sorted(objects)]


def read_config(file: Path) -> Any:
    """The configuration in a `.keras` file; None if it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo("config.json").file_size > _LIMIT_CONFIG_BYTES:
                return None
            return json.loads(archive.read("config.json"))
    except (OSError, ValueError, KeyError, RecursionError, zipfile.BadZipFile):
        return None


# --- importing ----------------------------------------------------------------------------------


def _import_module(version: Version, module: str) -> None:
    try:
        with PluginGuard(f"module '{module}'", f"when it was imported for {version.ref}"):
            importlib.import_module(module)
    except (MlregError, Interrupted, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(
            f"{version.ref} needs the module {module}, which cannot be imported: "
            f"{type(error).__qualname__}: {one_line(error)}",
            f"It registers a class or a function of the model {version.ref}.",
        ) from error


def _is_here(module: str, known: KnownPlugins, settings: Settings) -> bool:
    """Whether a module can be found, and a record is allowed to have it imported."""
    if module in sys.modules:
        return True
    if not _MODULE.fullmatch(module):
        return False
    top = module.partition(".")[0]
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    if found is None:
        return False
    plugins = [*known.datasets.values(), *known.extensions.values()]
    if top in {source.module.partition(".")[0] for source in plugins}:
        return True
    places = [*filter(None, [found.origin]), *(found.submodule_search_locations or ())]
    own = [settings.folder] if settings.file else []
    own += [Path(place) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    if any(
        is_beside(Path(place).resolve(), folder.resolve()) for place in places for folder in own
    ):
        return True
    return _is_made_for_keras(top)


def _is_made_for_keras(top: str) -> bool:
    import importlib.metadata  # 30 ms

    distribution = distribution_of(top)
    if distribution is None:
        return False
    needs = importlib.metadata.requires(distribution.rpartition(" ")[0]) or []
    return any(_LIBRARIES.match(each) for each in needs)


def _is_registered(name: str) -> bool:
    saving = getattr(sys.modules.get("keras"), "saving", None)
    return saving is not None and name in saving.get_custom_objects()


def _all_registered(needed: Iterable[CustomObject]) -> bool:
    return all(_is_registered(each.name) for each in needed)


# --- records ------------------------------------------------------------------------------------


def _recorded(manifest: Mapping[str, Any]) -> list[CustomObject] | None:
    """The custom objects in a record; None if an older mlreg wrote it."""
    if KEY not in manifest:
        return None
    try:
        found = [CustomObject(o["name"], o["module"], o["distribution"]) for o in manifest[KEY]]
    except (TypeError, KeyError) as error:
        raise IntegrityError(f"The record's {KEY} cannot be read.", "", "mlreg verify") from error
    return found


def _modules(objects: Iterable[CustomObject]) -> list[str]:
    return [*dict.fromkeys(each.module for each in objects if each.module)]


def _distribution(module: str, folder: Path) -> str | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is not None and is_beside(Path(file).resolve(), folder.resolve()):
        return None
    return distribution_of(module)


def _dictionaries(config: Any) -> Iterator[dict[str, Any]]:
    stack = [config]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


# --- saying what is missing ---------------------------------------------------------------------


def _absent(
    version: Version, manifest: Mapping[str, Any], absent: Sequence[CustomObject]
) -> PluginError:
    names, modules = _listed([f"'{each.name}'" for each in absent]), _modules(absent)
    place = f" of the module {_listed(modules)}" if modules else ""
    return PluginError(
        f"{version.ref} needs custom code that is not here: {names}{place}.",
        *_remedy(manifest, absent),
    )


def _unregistered(
    version: Version, manifest: Mapping[str, Any], missing: Sequence[CustomObject]
) -> PluginError:
    """The error for objects that their module does not register."""
    names, modules = _listed([f"'{each.name}'" for each in missing]), _modules(missing)
    if not modules:
        return _absent(version, manifest, missing)
    return PluginError(
        f"{version.ref} needs {names}, which importing {_listed(modules)} does not register.",
        "Restore the code: the class at the top level of the module, decorated with "
        "@keras.saving.register_keras_serializable.",
        f"mlreg show {version.ref}",
    )


def _remedy(manifest: Mapping[str, Any], objects: Sequence[CustomObject]) -> tuple[str, str]:
    """The remedy and the command for missing code."""
    name = manifest["dataset"]
    described = next((p for p in manifest.get("plugins", ()) if p["name"] == name), None)
    installed = {each.distribution for each in objects} - {None}
    if described is not None and described["distribution"]:
        installed.add(described["distribution"])
    if installed:
        names = sorted(str(each) for each in installed)
        wanted = [each.replace(" ", "==") for each in names]
        safe = all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", each) for each in wanted)
        return (
            f"Install {_listed(names)}, which has the code.",
            f"pip install {' '.join(wanted)}" if safe else "mlreg plugins list",
        )
    return (
        f"The plugin '{name}' has the code: run this in the folder whose plugins.toml names it.",
        "mlreg plugins list",
    )


def why(error: BaseException) -> str:
    """The reason in Keras's loading error, in one line, without places and configurations."""
    text = _COLOURS.sub("", safe_str(error))
    text = _MARKS.split(text)[-1]
    text = " ".join(_CONFIGURATION.split(text)[0].split())
    return truncate(text or type(error).__qualname__, 300)


def _listed(words: Sequence[str]) -> str:
    """`a, b and c`; only the first of many."""
    if len(words) > 4:
        return f"{', '.join(words[:3])} and {len(words) - 3} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _are(words: Sequence[str]) -> str:
    return "is" if len(words) == 1 else "are"
