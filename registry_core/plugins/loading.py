"""Importing one plugin's module, and checking its functions against the contract.

Each way in which that can fail has an error of its own: what is wrong, where, and what to change.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import traceback
from types import ModuleType
from typing import Any

from registry_core.errors import Interrupted, PluginError, one_line
from registry_core.plugins import hookspecs
from registry_core.plugins.sources import PluginSource
from registry_core.process.guard import ClosedFilesError, PluginGuard
from registry_core.process.requirements import how_to_install


def import_plugin(source: PluginSource) -> ModuleType:
    """Import a plugin's module.

    Raises:
        PluginError: there is no such module, it has no file, or its import failed.
    """
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
    """Refuse a text that cannot name a module, and a name that leads to another module."""
    if (meant := source.meant) is not None:
        raise PluginError(
            f"Plugin '{source.name}' is written as '{source.module}', which is not a module's "
            f"name. {source.origin} names it.",
            f"Write the module's name: {meant}" if meant else "Write the module's name.",
        )
    if hidden_by := source.hidden_by:
        raise PluginError(
            f"Plugin '{source.name}' is hidden: for '{source.module}' Python finds {hidden_by}, "
            f"not the file beside {source.origin}.",
            f"Give the file another name, such as {source.name}_plugin.py, and write that name "
            "in plugins.toml, without '.py'.",
        )


def _missing_module(source: PluginSource, error: ModuleNotFoundError) -> PluginError:
    """The error for a plugin that is not installed, or that imports a module that is not."""
    package = source.module.partition(".")[0]
    if source.missing:
        return PluginError(
            f"Plugin '{source.name}' is not installed: no module '{package}'.",
            f"Install the package that has it, or put {package}.py beside plugins.toml. "
            f"{source.origin} names it.",
            "mlreg plugins list",
        )
    if error.name and f"{source.module}.".startswith(f"{error.name}."):
        return PluginError(
            f"Plugin '{source.name}' is not found: '{package}' has no module '{error.name}'.",
            f"Correct the name in {source.origin}.",
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


def check_hook(source: PluginSource, name: str, function: Any) -> None:
    """Refuse a function that pluggy would ignore, or refuse without saying where it is.

    Raises:
        PluginError: a hook without @hookimpl, an unknown hook, or an argument it does not have.
    """
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
            f"Plugin '{source.name}' implements {hook}, which is not a hook: {place}.",
            f"Hooks: {', '.join(known)}.{meant}",
        )
    arguments = inspect.signature(known[hook]).parameters
    for argument in inspect.signature(function).parameters.values():
        required = argument.default is argument.empty
        named = argument.kind is argument.POSITIONAL_OR_KEYWORD
        if named and required and argument.name not in arguments:
            raise PluginError(
                f"{hook} of plugin '{source.name}' takes '{argument.name}', "
                f"which is not an argument of this hook: {place}.",
                f"Its arguments: {', '.join(arguments) or 'none'}. You can leave out any of them.",
            )
        if argument.name in arguments and not (named and required):
            # pluggy never passes an argument that has a default
            raise PluginError(
                f"{hook} of plugin '{source.name}' would never receive '{argument.name}', "
                f"which has a default or is keyword-only: {place}.",
                f"Write it as a plain argument, without a default: {argument.name}.",
            )
