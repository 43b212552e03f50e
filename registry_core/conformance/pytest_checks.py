"""The rules as pytest tests; the only module that imports pytest.

`from mlreg.testing import plugin_checks` is its public name.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from registry_core.conformance.outcome import Outcome
from registry_core.conformance.runner import PluginCheck
from registry_core.plugins.hookspecs import REQUIRED
from registry_core.plugins.manager import KnownPlugins
from registry_core.plugins.sources import PluginSource
from registry_core.settings import Settings, find_settings


def plugin_checks(
    plugin: str | ModuleType,
    *,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    quick: bool = False,
    expected_failures: Mapping[str, str] | None = None,
) -> Callable[[str], None]:
    """Make a pytest test for each rule that a plugin has to keep.

    The rules are those of `mlreg plugins check`. They are checked in processes of their own, two
    for all tests, which start when the first test needs them.

    Args:
        plugin: its name on the command line, or its module.
        preset: the preset's name; None takes the first.
        overrides: setting -> value, as `-p` gives them.
        data_dir: a file or folder that holds the data, for the plugin.
        quick: leave out the rules that need TensorFlow.
        expected_failures: rule -> the reason why it fails. A listed rule that passes fails.

    Returns:
        A test function with a case for each rule. Give it a name that pytest collects.

    Raises:
        UsageError: there is no such plugin or rule; names the nearest.

    Example:
        from mlreg.testing import plugin_checks

        test_digits = plugin_checks(
            "digits", expected_failures={"prints-nothing": "a library prints its version"}
        )
    """
    settings = find_settings()
    check = PluginCheck(
        _source(plugin, settings),
        settings,
        preset,
        overrides or {},
        None if data_dir is None else Path(data_dir),
        quick,
        expected_failures or {},
    )
    outcomes = _Outcomes(check)

    def test_plugin(rule: str) -> None:
        outcome = outcomes.of(rule)
        if outcome.status == "skipped":
            pytest.skip(outcome.found)
        if outcome.status == "expected failure":
            pytest.xfail(f"{outcome.reason} ({outcome.found})")
        if outcome.status == "failed":
            pytest.fail("\n".join([outcome.found, outcome.remedy]).strip(), pytrace=False)

    for_each_rule = pytest.mark.parametrize("rule", [rule.id for rule in check.rules])
    tests: Callable[[str], None] = for_each_rule(test_plugin)
    return tests


class _Outcomes:
    """Checks rules in their order until the wanted one is done, and keeps what was found."""

    def __init__(self, check: PluginCheck) -> None:
        self._check = check
        self._running: Iterator[Outcome] | None = None
        self._found: dict[str, Outcome] = {}

    def of(self, rule: str) -> Outcome:
        if self._running is None:
            running = self._running = self._check.outcomes()
            atexit.register(running.close)  # ends the processes if not all tests are run
        while rule not in self._found:
            outcome = next(self._running)
            self._found[outcome.rule.id] = outcome
        return self._found[rule]


def _source(plugin: str | ModuleType, settings: Settings) -> PluginSource:
    """The plugin of this name, or the module as a plugin."""
    if isinstance(plugin, str):
        return KnownPlugins(settings).source(plugin)
    kind = "dataset" if any(hasattr(plugin, hook) for hook in REQUIRED) else "extension"
    name = plugin.__name__
    return PluginSource(name, name, kind, f"the module {name}")
