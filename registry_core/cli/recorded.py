"""The plugin that made a version or a run, for commands that need it again.

A registry may be read where that plugin is not: on another machine, by another user, from a
folder without the plugins.toml that names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from registry_core.errors import PluginError
from registry_core.plugins import KnownPlugins

if TYPE_CHECKING:
    from registry_core.plugins import PluginSet
    from registry_core.settings import Settings


def load_recorded(settings: Settings, made: str, record: Mapping[str, Any]) -> PluginSet:
    """The plugins to work with what a plugin made before.

    Args:
        settings: what plugins.toml says here.
        made: what the plugin made: `cifar10@3`, `run 20261125T…`.
        record: the version's manifest, or what the run began with.

    Raises:
        PluginError: the plugin is not known here; says where it came from.
    """
    known, dataset = KnownPlugins(settings), record["dataset"]
    if dataset not in known.datasets:
        raise PluginError(
            f"{made} needs the plugin '{dataset}', which is not installed here.",
            _origin(dataset, record.get("plugins") or []),
            "mlreg plugins list",
        )
    return known.load(dataset)


def _origin(dataset: str, plugins: list[Mapping[str, Any]]) -> str:
    """What to install, or where to work, as far as the record tells."""
    source = next((each for each in plugins if each.get("name") == dataset), {})
    if distribution := source.get("distribution"):
        return f"It came with the package {distribution}: install that."
    module = f"the module '{source['module']}'" if source.get("module") else "a module"
    return f"It was {module} beside a plugins.toml: work in that folder, or install the plugin."
