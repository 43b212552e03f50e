"""The presets of a dataset plugin, checked."""

from __future__ import annotations

from collections.abc import Mapping

from registry_core.config import RunConfig
from registry_core.errors import PluginError
from registry_core.plugins.manager import PluginSet


def find_presets(plugins: PluginSet) -> Mapping[str, RunConfig]:
    """The dataset plugin's presets: name -> configuration.

    Raises:
        PluginError: a value is not a configuration, a name is not a text, or there are none.
    """
    with plugins.attribute_errors("mlreg_presets"):
        presets: dict[str, RunConfig] = dict(plugins.call("mlreg_presets", Mapping))
    for name, config in presets.items():
        if not isinstance(config, RunConfig):
            raise plugins.wrong_type("mlreg_presets", RunConfig, config)
        if not isinstance(name, str):
            raise plugins.wrong_type("mlreg_presets", str, name)
    if not presets:
        raise PluginError(
            "mlreg_presets returned no preset.", "A dataset plugin needs at least one."
        )
    return presets
