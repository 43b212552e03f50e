"""Which plugins there are, and the one pluggy manager that a run is made of.

Selection is by construction: a manager holds the extensions and the one chosen dataset plugin.
A broken plugin for another dataset is never imported, so it cannot stop this run.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from registry_core.errors import (
    Interrupted,
    MlregError,
    PluginError,
    UsageError,
    one_line,
    safe_repr,
)
from registry_core.plugins import attribution as blame
from registry_core.plugins import hookspecs
from registry_core.plugins import source_digests as code_record
from registry_core.plugins.sources import PluginSource, distribution_of, find_sources
from registry_core.process import keras_environment as backend
from registry_core.process.guard import ClosedFilesError, PluginGuard
from registry_core.process.requirements import how_to_install
from registry_core.settings import Settings

# exit statuses of an MlregError that a plugin raised; its own subclass may set any other
_STATUSES = range(1, 10)


class KnownPlugins:
    """Every plugin that plugins.toml and the installed distributions name."""

    def __init__(self, settings: Settings) -> None:
        # behind the installed packages, so that a file beside plugins.toml cannot replace one
        if str(settings.folder) not in sys.path:
            sys.path.append(str(settings.folder))
        self.datasets = find_sources("dataset", settings.plugins, settings)
        self.extensions = find_sources("extension", settings.extensions, settings)

    def dataset(self, name: str) -> PluginSource:
        """The dataset plugin of this name.

        Raises:
            UsageError: there is none.
            PluginError: two places give the name to different modules.
        """
        if name not in self.datasets:
            known = sorted(self.datasets)
            folded = {each.casefold(): each for each in reversed(known)}
            found = difflib.get_close_matches(name.casefold(), list(folded), n=1)
            near = [folded[each] for each in found]
            meant = f" Did you mean '{near[0]}'?" if near else ""
            raise UsageError(
                f"No dataset plugin {name!r}.",
                f"Plugins: {', '.join(known) or 'none'}.{meant}",
                f"mlreg run {near[0]}" if near else "mlreg plugins list",
            )
        return self.datasets[name]

    def load_alone(self, name: str) -> PluginSet:
        """Import one plugin, a dataset's or an extension, without any other.

        Raises:
            UsageError: there is no plugin of this name.
            PluginError: it is missing, does not import, or breaks the contract.
        """
        if name in self.extensions and name not in self.datasets:
            return PluginSet(None, [self.extensions[name]])
        return PluginSet(self.dataset(name), [])

    def load(self, dataset: str | None) -> PluginSet:
        """Import the extensions and the dataset plugin of this name, if one is named.

        Raises:
            UsageError: there is no plugin of this name.
            PluginError: one of them is missing, does not import, or breaks the contract.
        """
        chosen = self.dataset(dataset) if dataset is not None else None
        backend.prepare()  # plugins may import Keras before the trainer does
        return PluginSet(chosen, list(self.extensions.values()))


class PluginSet:
    """The plugins of one run. Every call of a hook goes through it, so blame finds its owner."""

    def __init__(self, dataset: PluginSource | None, extensions: Sequence[PluginSource]) -> None:
        self.dataset = dataset
        self.sources = [*extensions, *([dataset] if dataset else [])]
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        # pluggy calls the last one registered first: the dataset's own answer comes before others'
        self._modules = {source.name: self._register(source) for source in self.sources}
        self._homes = {name: blame.home(module) for name, module in self._modules.items()}
        if dataset:
            self._check_required(dataset)

    @property
    def dataset_name(self) -> str:
        """The dataset plugin's name; raises ValueError where only extensions were loaded."""
        if self.dataset is None:
            raise ValueError("no dataset plugin was chosen")
        return self.dataset.name

    def call(
        self,
        hook: str,
        expected: type | tuple[type, ...] | None = None,
        only: str | None = None,
        **known: Any,
    ) -> Any:
        """Call a hook with what is known.

        Args:
            hook: its name.
            expected: what a `firstresult` hook must return, or what each plugin must add to a
                collecting one; None checks nothing.
            only: the plugin that is asked, with all that wrap its answer; None asks all.
            known: the hook's arguments.

        Raises:
            PluginError: a plugin raised, or returned something else. It names plugin, hook, file
                and line; the plugin's own exception is its cause, with a note of the same.
            MlregError: a plugin raised one on purpose; it goes on as it is, with a note.
        """
        caller = getattr(self._manager.hook, hook)
        if only is not None:
            others = [self._modules[name] for name in self.providers(hook) if name != only]
            caller = self._manager.subset_hook_caller(hook, others)
        try:
            with PluginGuard(self._providers(hook), f"in {hook}"):
                result = caller(**known)
        except (Interrupted, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit and its like are a plugin's fault too
            raise self._blamed(error, hook) from _cause(error)
        if expected is not None:
            for value in [result] if caller.spec.opts["firstresult"] else result:
                if not isinstance(value, expected):
                    raise self.wrong_type(hook, expected, value)
        return result

    def collect(
        self, hook: str, expected: type, only: str | None = None, **known: Any
    ) -> list[Any]:
        """Call a collecting hook and join what the plugins returned into one list.

        Args:
            hook: its name.
            expected: the type of each element.
            only: the plugin that is asked; None asks all.
            known: the hook's arguments.

        Raises:
            PluginError: as `call`; a plugin that returns None adds nothing.
        """
        elements: list[Any] = []
        for part in self.call(hook, (list, tuple), only, **known):
            for element in part:
                if not isinstance(element, expected):
                    raise self.wrong_type(hook, expected, element)
                elements.append(element)
        return elements

    def providers(self, hook: str) -> list[str]:
        """The plugins that have this hook, in the order in which they are asked."""
        return [
            impl.plugin_name
            for impl in reversed(self._implementations(hook))
            if not (impl.wrapper or impl.hookwrapper)
        ]

    def provides(self, hook: str) -> bool:
        """Whether the dataset plugin itself has this hook."""
        if self.dataset is None:
            return False
        return hasattr(self._modules[self.dataset.name], hook)

    def module(self, name: str) -> ModuleType:
        """The module of one of the plugins."""
        return self._modules[name]

    def hooks(self) -> list[str]:
        """The hooks that one of the plugins implements, in the contract's order."""
        known = [name for name in vars(hookspecs) if name.startswith("mlreg_")]
        return [name for name in known if self._implementations(name)]

    @contextmanager
    def attribute_errors(
        self, hook: str, provided: Mapping[str, Collection[object]] | None = None
    ) -> Iterator[None]:
        """Blame for code of a plugin that runs outside its hook: a model, a callback.

        Args:
            hook: the hook that provided what runs here; its plugin is blamed for what Keras
                raises, where no line of a plugin is on the way.
            provided: other hooks -> what they provided that runs here too.
        """
        everyone = _either([source.name for source in self.sources])
        try:
            with PluginGuard(everyone, "in code that it handed over"):
                yield
        except (MlregError, Interrupted, KeyboardInterrupt):
            raise
        except BaseException as error:
            if blame.error_source(error, self._homes) is None and blame.raised_by_host(error):
                raise
            hook = blame.hook_of(error, provided or {}) or hook
            raise self._blamed(error, hook) from error

    def wrong_type(self, hook: str, expected: type | tuple[type, ...], value: Any) -> PluginError:
        """What to raise where a hook's value is not what the contract says."""
        kinds = expected if isinstance(expected, tuple) else (expected,)
        received = "None" if value is None else f"{type(value).__qualname__} ({safe_repr(value)})"
        implementations = self._implementations(hook)
        owners = " or ".join(impl.plugin_name for impl in implementations)
        places = "; ".join(self._definition(impl) for impl in implementations)
        return PluginError(
            f"{hook} of {owners or 'no plugin'} returned {received}.",
            f"Expected: {' or '.join(map(_public_name, kinds))}."
            + (f" Defined in {places}." if places else ""),
        )

    def describe(self) -> list[dict[str, Any]]:
        """The plugins as a version's record keeps them: names, package, digest of the code."""
        return [
            {
                "name": source.name,
                "module": source.module,
                "kind": source.kind,
                "distribution": distribution_of(source.module),
                "code_sha256": _code_digest(source, self._modules[source.name]),
            }
            for source in self.sources
        ]

    def code_digests(self) -> dict[str, str]:
        """Plugin -> the digest of its code, as `describe` has it."""
        return {
            source.name: _code_digest(source, self._modules[source.name]) for source in self.sources
        }

    def describe_code(self, folder: Path) -> dict[str, Any]:
        """The digests of the plugins' files, and of their other modules that were imported.

        Args:
            folder: the one of plugins.toml.
        """
        return code_record.describe_code(self._modules, folder)

    # --- joining -----------------------------------------------------------------------------

    def _register(self, source: PluginSource) -> ModuleType:
        if source.rival:
            raise PluginError(
                f"Two places give the name '{source.name}' to different plugins: "
                f"{source.module} ({source.origin}) and {source.rival}.",
                "Rename one in plugins.toml, or uninstall the other.",
                "mlreg plugins list",
            )
        module = _import(source)
        for name, function in vars(module).items():
            if inspect.isfunction(function):
                _check_hook(source, name, function)
        try:
            self._manager.register(module, name=source.name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(
                f"Plugin '{source.name}' does not fit the contract: {one_line(error)}.",
                f"The hooks and their arguments are in {hookspecs.__name__} and in the README.",
            ) from error
        return module

    def _check_required(self, dataset: PluginSource) -> None:
        for hook in hookspecs.REQUIRED:
            owners = {
                impl.plugin_name
                for impl in self._implementations(hook)
                if not (impl.wrapper or impl.hookwrapper)
            }
            if dataset.name not in owners:
                raise PluginError(
                    f"Plugin '{dataset.name}' ({dataset.module}) lacks the hook {hook}.",
                    f"A dataset plugin must have {', '.join(hookspecs.REQUIRED)}.",
                )
            if others := owners - {dataset.name}:
                raise PluginError(
                    f"The extension '{min(others)}' provides {hook}.",
                    "Only the dataset's plugin may; an extension may wrap it, "
                    "with @hookimpl(wrapper=True).",
                )

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        return list(getattr(self._manager.hook, hook).get_hookimpls())

    def _providers(self, hook: str) -> str:
        return _either([impl.plugin_name for impl in self._implementations(hook)])

    # --- blame -------------------------------------------------------------------------------

    def _blamed(self, error: BaseException, hook: str) -> MlregError:
        owner, place = blame.error_source(error, self._homes) or self._provider(hook)
        with suppress(Exception):  # the plugin's class may override add_note
            error.add_note(f"in plugin '{owner}', hook {hook}, {place}")
        if isinstance(error, MlregError) and error.exit_status in _STATUSES:
            return error
        remedy, command = f"In {place}.", ""
        if isinstance(error, ModuleNotFoundError) and error.name:
            install, command = how_to_install(error.name)
            remedy = f"{install} {remedy}"
        return PluginError(f"Plugin '{owner}' failed in {hook}: {_said(error)}", remedy, command)

    def _provider(self, hook: str) -> tuple[str, str]:
        implementations = self._implementations(hook)
        if not implementations:
            return (self.sources[-1].name if self.sources else "?"), "a place that is not known"
        last = implementations[-1]
        return last.plugin_name, self._definition(last)

    @staticmethod
    def _definition(impl: pluggy.HookImpl) -> str:
        code = inspect.unwrap(impl.function).__code__
        return f"{code.co_filename}, line {code.co_firstlineno}"


def _said(error: BaseException) -> str:
    """Why it was raised, in one line; of a configuration that was made wrongly, what is wrong."""
    if type(error).__module__.partition(".")[0] == "pydantic_core":
        from registry_core.config import explain

        return f"{explain(error)}." if hasattr(error, "errors") else blame.said(error)
    return blame.said(error)


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ if isinstance(error, MlregError) else error


def _either(names: Sequence[str]) -> str:
    """`'cifar10' or 'audit'`."""
    return " or ".join(f"'{name}'" for name in dict.fromkeys(names)) or "unknown"


def _import(source: PluginSource) -> ModuleType:
    _check_name(source)
    try:
        with PluginGuard(f"'{source.name}'", "when it was imported"):
            module = importlib.import_module(source.module)
    except ModuleNotFoundError as error:
        raise _missing_module(source, error) from error
    except (Interrupted, KeyboardInterrupt, ClosedFilesError):
        raise
    except BaseException as error:
        raise _import_failure(source, error) from error
    if getattr(module, "__file__", None) is None:
        raise PluginError(
            f"Plugin '{source.name}' names '{source.module}', which has no file of its own.",
            "A folder needs an __init__.py to be a plugin, or name a module in it: "
            f"{source.module}.plugin.",
        )
    return module


def _check_name(source: PluginSource) -> None:
    """Refuse what is no module's name, and a name by which Python finds another module."""
    if (meant := source.meant) is not None:
        raise PluginError(
            f"Plugin '{source.name}' is written as '{source.module}', which is not a module's "
            f"name. It is named by {source.origin}.",
            f"Write the module's name: {meant}" if meant else "Write the module's name.",
        )
    if hidden_by := source.hidden_by:
        raise PluginError(
            f"Plugin '{source.name}' is hidden: for '{source.module}' Python finds {hidden_by}, "
            f"not what is beside {source.origin}.",
            f"Give the file another name, such as {source.name}_plugin.py, and write that name "
            "there without '.py'.",
        )


def _missing_module(source: PluginSource, error: ModuleNotFoundError) -> PluginError:
    """Tells a plugin that is missing from one whose import lacks something."""
    package = source.module.partition(".")[0]
    if source.missing:
        return PluginError(
            f"Plugin '{source.name}' is not installed: no module '{package}'.",
            f"Install the package that has it, or put {package}.py beside plugins.toml. "
            f"It is named by {source.origin}.",
            "mlreg plugins list",
        )
    if error.name and f"{source.module}.".startswith(f"{error.name}."):
        return PluginError(
            f"Plugin '{source.name}' is not found: '{package}' has no module '{error.name}'.",
            f"Correct the name. It is named by {source.origin}.",
            "mlreg plugins list",
        )
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen")
    ]
    place = f" {frames[-1].filename}, line {frames[-1].lineno}, imports it." if frames else ""
    remedy, command = how_to_install(error.name or "")
    return PluginError(
        f"Plugin '{source.name}' needs the module '{error.name}', which is not installed.",
        remedy + place,
        command,
    )


def _import_failure(source: PluginSource, error: BaseException) -> PluginError:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else source.module
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    return PluginError(
        f"Plugin '{source.name}' cannot be imported: {type(error).__qualname__}: {one_line(error)}",
        f"In {place}.",
    )


def _check_hook(source: PluginSource, name: str, function: Any) -> None:
    """Refuse what pluggy would pass over in silence, or without saying where it is."""
    options = getattr(function, f"{hookspecs.PROJECT}_impl", None)
    if options is None and not name.startswith("mlreg_"):
        return
    place = f"{function.__code__.co_filename}, line {function.__code__.co_firstlineno}"
    if options is None:
        raise PluginError(
            f"{name} of plugin '{source.name}' is not marked as a hook.",
            f"Write @hookimpl above it: {place}.",
        )
    hook = options["specname"] or name
    known = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("mlreg_")}
    if hook not in known:
        near = difflib.get_close_matches(hook, known, n=1)
        meant = f" Did you mean '{near[0]}'?" if near else ""
        raise PluginError(
            f"There is no hook {hook}, which plugin '{source.name}' has in {place}.",
            f"Hooks: {', '.join(known)}.{meant}",
        )
    given = inspect.signature(known[hook]).parameters
    for argument in inspect.signature(function).parameters.values():
        required = argument.default is argument.empty
        named = argument.kind is argument.POSITIONAL_OR_KEYWORD
        if named and required and argument.name not in given:
            raise PluginError(
                f"{hook} of plugin '{source.name}' takes '{argument.name}', "
                f"which is no argument of it: {place}.",
                f"Its arguments: {', '.join(given) or 'none'}. It may leave out any.",
            )
        if argument.name in given and not (named and required):
            # pluggy never passes what has a default
            raise PluginError(
                f"{hook} of plugin '{source.name}' would never be given '{argument.name}', "
                f"which has a default or is by keyword only: {place}.",
                f"Write it as a plain argument, without a default: {argument.name}.",
            )


def _public_name(kind: type) -> str:
    """`keras.Model` of a class that Keras defines somewhere deep; `Mapping` of a plain one."""
    package = kind.__module__.partition(".")[0]
    plain = package in ("builtins", "collections", "pathlib", "registry_core")
    return kind.__qualname__ if plain else f"{package}.{kind.__qualname__}"


def _code_digest(source: PluginSource, module: ModuleType) -> str:
    """sha256 over the plugin's own Python files, in hex: it changes when the code does."""
    import hashlib

    home = blame.home(module)
    digest = hashlib.sha256()
    # an editor's lock is a link that leads nowhere, and a folder may be called x.py
    files = sorted(each for each in home.rglob("*.py") if each.is_file()) if home.is_dir() else []
    for file in files or [Path(module.__file__ or "")]:
        try:
            code = file.read_bytes() if files else _own_code(module, file)
        except OSError as error:
            raise PluginError(
                f"{file} of plugin '{source.name}' cannot be read: {error.strerror or error}.",
                "A version records a digest of its plugin's code.",
            ) from error
        digest.update(os.fsencode(file.name) + b"\0" + code + b"\0")
    return digest.hexdigest()


def _own_code(module: ModuleType, file: Path) -> bytes:
    """What a module's file holds, also where it is in an archive."""
    loader: Any = getattr(module.__spec__, "loader", None)
    if file.is_file() or not hasattr(loader, "get_data"):
        return file.read_bytes()
    return bytes(loader.get_data(str(file)))
