"""The plugins that are known, and the plugins of one run.

Each run has a pluggy manager of its own. It holds the extensions and the one chosen dataset
plugin. A broken plugin for another dataset is never imported, so it cannot stop this run.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
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
from registry_core.plugins import hookspecs
from registry_core.plugins.attribution import (
    code_location,
    describe_error,
    error_source,
    find_hook,
    raised_in_host,
)
from registry_core.plugins.loading import check_hook, import_plugin
from registry_core.plugins.source_digests import code_digest, describe_code
from registry_core.plugins.sources import PluginSource, distribution_of, find_sources
from registry_core.process import keras_environment
from registry_core.process.guard import PluginGuard
from registry_core.process.requirements import how_to_install
from registry_core.settings import Settings

# exit statuses that a plugin's own subclass of MlregError may have
_STATUSES = range(1, 10)


class KnownPlugins:
    """Every plugin that plugins.toml and the installed packages name. None is imported yet."""

    def __init__(self, settings: Settings) -> None:
        # after the installed packages, so that a file beside plugins.toml cannot replace one
        if str(settings.folder) not in sys.path:
            sys.path.append(str(settings.folder))
        self.datasets = find_sources("dataset", settings.plugins, settings)
        self.extensions = find_sources("extension", settings.extensions, settings)

    def dataset(self, name: str) -> PluginSource:
        """The dataset plugin of this name.

        Raises:
            UsageError: there is no such plugin.
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

    def source(self, name: str) -> PluginSource:
        """The dataset plugin or extension of this name.

        Raises:
            UsageError: there is no such plugin.
        """
        if name in self.extensions and name not in self.datasets:
            return self.extensions[name]
        return self.dataset(name)

    def load_alone(self, name: str) -> PluginSet:
        """Import one plugin alone: a dataset plugin or an extension.

        Raises:
            UsageError: there is no plugin of this name.
            PluginError: it is missing, does not import, or breaks the contract.
        """
        keras_environment.prepare()  # as for a run: it may import Keras
        source = self.source(name)
        return PluginSet(None, [source]) if source.kind == "extension" else PluginSet(source, [])

    def load(self, dataset: str | None) -> PluginSet:
        """Import the extensions, and one dataset plugin if a name is given.

        Raises:
            UsageError: there is no plugin of this name.
            PluginError: one of them is missing, does not import, or breaks the contract.
        """
        chosen = self.dataset(dataset) if dataset is not None else None
        keras_environment.prepare()  # plugins may import Keras before the trainer does
        return PluginSet(chosen, list(self.extensions.values()))


class PluginSet:
    """The plugins of one run. It calls their hooks and says which plugin raised an error."""

    def __init__(self, dataset: PluginSource | None, extensions: Sequence[PluginSource]) -> None:
        self.dataset = dataset
        self.sources = [*extensions, *([dataset] if dataset else [])]
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        # pluggy calls the last one first: the dataset plugin before the extensions
        self._modules = {source.name: self._register(source) for source in self.sources}
        self._locations = {name: code_location(module) for name, module in self._modules.items()}
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
        """Call a hook.

        Args:
            hook: its name.
            expected: the type that a `firstresult` hook must return, or that each plugin must
                return from a collecting one; None checks nothing.
            only: call this plugin and the wrappers alone; None calls every plugin.
            known: the hook's arguments.

        Returns:
            The value of a `firstresult` hook, or the list of the plugins' values.

        Raises:
            PluginError: a plugin raised an exception or returned another type. It names the
                plugin, hook, file and line; the plugin's exception is its cause.
            MlregError: a plugin raised one itself, such as a DataError; a note names the plugin.
        """
        caller = getattr(self._manager.hook, hook)
        if only is not None:
            others = [self._modules[name] for name in self.providers(hook) if name != only]
            caller = self._manager.subset_hook_caller(hook, others)
        asked = caller.get_hookimpls()
        try:
            # without a plugin, nothing of one runs: `guard.used`
            with PluginGuard(self._providers(hook), f"in {hook}") if asked else nullcontext():
                result = caller(**known)
        except (Interrupted, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit and the like are errors of the plugin too
            raise self._attributed(error, hook) from _cause(error)
        if expected is not None:
            for value in [result] if caller.spec.opts["firstresult"] else result:
                if not isinstance(value, expected):
                    raise self.wrong_type(hook, expected, value)
        return result

    def collect(
        self, hook: str, expected: type, only: str | None = None, **known: Any
    ) -> list[Any]:
        """Call a collecting hook, and join the plugins' lists into one.

        Args:
            hook: its name.
            expected: the type of each element.
            only: call this plugin alone; None calls every plugin.
            known: the hook's arguments.

        Raises:
            PluginError: as for `call`.
        """
        elements: list[Any] = []
        for part in self.call(hook, (list, tuple), only, **known):
            for element in part:
                if not isinstance(element, expected):
                    raise self.wrong_type(hook, expected, element)
                elements.append(element)
        return elements

    def providers(self, hook: str) -> list[str]:
        """The plugins that implement this hook, in the order in which they are called."""
        return [
            impl.plugin_name
            for impl in reversed(self._implementations(hook))
            if not (impl.wrapper or impl.hookwrapper)
        ]

    def provides(self, hook: str) -> bool:
        """Whether the dataset plugin itself implements this hook."""
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
        """A context for plugin code that runs outside its hook, such as a model or a callback.

        An error of the host passes as it is. Any other becomes a PluginError that names a plugin.

        Args:
            hook: the hook whose value runs here. If no line of a plugin is in the traceback, as
                where Keras refuses a model, its plugin is named.
            provided: other hooks -> the functions and objects of theirs that run here too.
        """
        everyone = _either([source.name for source in self.sources])
        try:
            with PluginGuard(everyone, "in code that it provided"):
                yield
        except (MlregError, Interrupted, KeyboardInterrupt):
            raise
        except BaseException as error:
            if error_source(error, self._locations) is None and raised_in_host(error):
                raise
            hook = find_hook(error, provided or {}) or hook
            raise self._attributed(error, hook) from error

    def wrong_type(self, hook: str, expected: type | tuple[type, ...], value: Any) -> PluginError:
        """The error for a hook that returned another type than the contract says."""
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
        """The plugins for a version's record: names, packages, digests of their code."""
        return [
            {
                "name": source.name,
                "module": source.module,
                "kind": source.kind,
                "distribution": distribution_of(source.module),
                "code_sha256": code_digest(source.name, self._modules[source.name]),
            }
            for source in self.sources
        ]

    def code_digests(self) -> dict[str, str]:
        """Plugin -> the digest of its code, as `describe` has it."""
        return {
            source.name: code_digest(source.name, self._modules[source.name])
            for source in self.sources
        }

    def describe_code(self, folder: Path) -> dict[str, Any]:
        """Digests of the plugins' files, and of other modules of theirs that were imported.

        Args:
            folder: the folder of plugins.toml.
        """
        return describe_code(self._modules, folder)

    # --- loading -----------------------------------------------------------------------------

    def _register(self, source: PluginSource) -> ModuleType:
        if source.rival:
            raise PluginError(
                f"Two places give the name '{source.name}' to different plugins: "
                f"{source.module} ({source.origin}) and {source.rival}.",
                "Rename one in plugins.toml, or uninstall the other.",
                "mlreg plugins list",
            )
        module = import_plugin(source)
        for name, function in vars(module).items():
            if inspect.isfunction(function):
                check_hook(source, name, function)
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
                    f"The extension '{min(others)}' implements {hook}.",
                    "Only the dataset plugin can; an extension can wrap it "
                    "with @hookimpl(wrapper=True).",
                )

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        return list(getattr(self._manager.hook, hook).get_hookimpls())

    def _providers(self, hook: str) -> str:
        return _either([impl.plugin_name for impl in self._implementations(hook)])

    # --- errors ------------------------------------------------------------------------------

    def _attributed(self, error: BaseException, hook: str) -> MlregError:
        owner, place = error_source(error, self._locations) or self._provider(hook)
        with suppress(Exception):  # the plugin's class may override add_note
            error.add_note(f"in plugin '{owner}', hook {hook}, {place}")
        if isinstance(error, MlregError) and error.exit_status in _STATUSES:
            return error
        remedy, command = f"In {place}.", ""
        if isinstance(error, ModuleNotFoundError) and error.name:
            install, command = how_to_install(error.name)
            remedy = f"{install} {remedy}"
        return PluginError(
            f"Plugin '{owner}' failed in {hook}: {_described(error)}", remedy, command
        )

    def _provider(self, hook: str) -> tuple[str, str]:
        implementations = self._implementations(hook)
        if not implementations:
            return (self.sources[-1].name if self.sources else "?"), "an unknown place"
        last = implementations[-1]
        return last.plugin_name, self._definition(last)

    @staticmethod
    def _definition(impl: pluggy.HookImpl) -> str:
        code = inspect.unwrap(impl.function).__code__
        return f"{code.co_filename}, line {code.co_firstlineno}"


def _described(error: BaseException) -> str:
    """The error in one line; for an invalid configuration, which setting is wrong."""
    if type(error).__module__.partition(".")[0] == "pydantic_core":
        from registry_core.config import explain

        return f"{explain(error)}." if hasattr(error, "errors") else describe_error(error)
    return describe_error(error)


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ if isinstance(error, MlregError) else error


def _either(names: Sequence[str]) -> str:
    """`'flowers' or 'audit'`."""
    return " or ".join(f"'{name}'" for name in dict.fromkeys(names)) or "unknown"


def _public_name(kind: type) -> str:
    """`keras.Model`, without the inner module that defines it; `Mapping` without `collections`."""
    package = kind.__module__.partition(".")[0]
    plain = package in ("builtins", "collections", "pathlib", "registry_core")
    return kind.__qualname__ if plain else f"{package}.{kind.__qualname__}"
