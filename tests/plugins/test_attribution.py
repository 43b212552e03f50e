"""Errors in a plugin's code name the plugin, the hook, the file and the line."""

import functools
import traceback
from pathlib import Path

import pytest
from fakes import (
    COUNTING_EXTENSION,
    TABLE_PLUGIN,
    write_plugin,
    write_settings,
)
from plugin_helpers import HOOKS, line_of, loaded, raising, says

from registry_core.errors import DataError, Interrupted, MlregError, PluginError
from registry_core.plugins.manager import KnownPlugins
from registry_core.types import DataSplits

pytestmark = pytest.mark.drawn

# --- broken in a call ---


@pytest.mark.gate(keep=14)
@pytest.mark.parametrize("what", ["KeyError('petal')", "SystemExit(0)", "BaseException('odd')"])
@pytest.mark.parametrize("hook", HOOKS)
def test_an_exception_in_a_hook_names_plugin_hook_file_and_line(tmp_path, hook, what):
    """Any exception, including SystemExit, is a plugin error with the original as its cause."""
    plugins = loaded(tmp_path, raising(hook, what))
    with pytest.raises(PluginError) as caught:
        plugins.call(hook, **HOOKS[hook])
    file = tmp_path / "flowers_plugin.py"
    place = f"{file}, line {line_of(file, 'raise ')}"
    cause = caught.value.__cause__
    says(caught.value, "'flowers'", hook, what.partition("(")[0], place)
    assert caught.value.exit_status == 3
    assert type(cause).__name__ == what.partition("(")[0]
    assert cause.__notes__ == [f"in plugin 'flowers', hook {hook}, {place}"]
    assert traceback.extract_tb(cause.__traceback__)[-1].name == "helper"


def test_a_generator_exit_is_reported_like_any_other_exception(tmp_path):
    """GeneratorExit is not an Exception."""
    plugins = loaded(tmp_path, raising("mlreg_scheduler", "GeneratorExit"))
    with pytest.raises(PluginError, match="GeneratorExit") as caught:
        plugins.call("mlreg_scheduler", **HOOKS["mlreg_scheduler"])
    assert type(caught.value.__cause__) is GeneratorExit


def test_an_error_in_a_library_names_the_plugins_line(tmp_path):
    """The reported place is the plugin's call, not a line of json."""
    text = "@hookimpl\ndef mlreg_data():\n    import json\n\n    return json.loads('{')\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    with pytest.raises(PluginError) as caught:
        plugins.call("mlreg_data", data_dir=None)
    file = tmp_path / "flowers_plugin.py"
    says(caught.value, f"{file}, line {line_of(file, 'json.loads')}")
    assert type(caught.value.__cause__).__name__ == "JSONDecodeError"


def test_an_error_in_a_plugins_package_names_the_deepest_line(tmp_path):
    """All files of the package belong to the plugin, not only the one with the hooks."""
    text = "@hookimpl\ndef mlreg_data():\n    from garden.parts import shed\n\n    shed.open()\n"
    write_plugin(tmp_path, "garden.plugin", TABLE_PLUGIN + text)
    shed = write_plugin(tmp_path, "garden.parts.shed", "def open():\n    return {}['key']\n")
    plugins = KnownPlugins(write_settings(tmp_path, {"garden": "garden.plugin"})).load("garden")
    with pytest.raises(PluginError) as caught:
        plugins.call("mlreg_data", data_dir=None)
    says(caught.value, "'garden'", f"{shed}, line 2")


def test_the_error_names_the_extension_that_raised(tmp_path):
    """Several plugins implement the hook; only the one that raised is named."""
    text = "from registry_core import hookimpl\n\n@hookimpl\ndef mlreg_report():\n    1 / 0\n"
    report = "@hookimpl\ndef mlreg_report():\n    return []\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + report, zealous=text, quiet=COUNTING_EXTENSION)
    with pytest.raises(PluginError) as caught:
        plugins.collect("mlreg_report", Path, result=None, out_dir=None)
    says(caught.value, "'zealous'", f"{tmp_path / 'zealous_extension.py'}, line 5")
    assert "'flowers'" not in str(caught.value)


@pytest.mark.parametrize("kind", ["DataError", "UsageError", "MlregError"])
def test_an_mlreg_error_from_a_plugin_is_unchanged(tmp_path, kind):
    """Message, remedy and command of the plugin are kept."""
    text = (
        f"@hookimpl\ndef mlreg_dataset():\n    from registry_core.errors import {kind}\n\n"
        f"    raise {kind}('No flowers.', 'Plant some.', 'mlreg data fetch') from OSError('dry')\n"
    )
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    with pytest.raises(MlregError) as caught:
        plugins.call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])
    assert type(caught.value).__name__ == kind
    assert str(caught.value) == "No flowers.\nPlant some.\nTry: mlreg data fetch"
    assert isinstance(caught.value.__cause__, OSError)
    assert "plugin 'flowers', hook mlreg_dataset" in caught.value.__notes__[0]


def test_an_mlreg_error_keeps_its_context(tmp_path):
    """The exception that the plugin caught stays in the traceback."""
    text = (
        "@hookimpl\ndef mlreg_dataset():\n    from registry_core import DataError\n\n"
        "    try:\n        1 / 0\n    except ZeroDivisionError:\n        raise DataError('No.')\n"
    )
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    with pytest.raises(DataError) as caught:
        plugins.call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])
    assert isinstance(caught.value.__context__, ZeroDivisionError)


@pytest.mark.parametrize("what", ["Interrupted(2)", "KeyboardInterrupt()"])
def test_an_interrupt_passes_through_hooks(tmp_path, what):
    """Ctrl-C in a plugin's code is not a plugin error."""
    text = (
        "from registry_core.errors import Interrupted\n"
        f"@hookimpl\ndef mlreg_model():\n    raise {what}\n"
    )
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    with pytest.raises((Interrupted, KeyboardInterrupt)) as caught:
        plugins.call("mlreg_model", **HOOKS["mlreg_model"])
    assert not hasattr(caught.value, "__notes__")
    with (
        pytest.raises((Interrupted, KeyboardInterrupt)),
        plugins.attribute_errors("mlreg_model"),
    ):
        plugins.call("mlreg_model", **HOOKS["mlreg_model"])


# --- code of plugins that runs outside their hooks ---


def test_an_error_in_a_provided_function_names_its_line(tmp_path):
    """An augmentation fails long after its hook returned; the line is still the plugin's."""
    text = "@hookimpl\ndef mlreg_augmentation():\n    return lambda inputs, batch: 1 / 0\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    augmentation = plugins.call("mlreg_augmentation", **HOOKS["mlreg_augmentation"])
    with pytest.raises(PluginError) as caught, plugins.attribute_errors("mlreg_model"):
        augmentation(None, None)
    file = tmp_path / "flowers_plugin.py"
    says(caught.value, "'flowers'", f"{file}, line {line_of(file, '1 / 0')}")
    assert type(caught.value.__cause__) is ZeroDivisionError


@pytest.mark.parametrize("kind", [ValueError, SystemExit, GeneratorExit, BaseException])
def test_an_error_in_a_library_names_the_hook_that_provided_the_value(tmp_path, kind):
    """If no line of a plugin is in the traceback, the hook's plugin is named."""
    plugins = loaded(tmp_path)

    with pytest.raises(PluginError) as caught, plugins.attribute_errors("mlreg_model"):
        functools.reduce(lambda *_: throw(kind("shapes differ")), [1, 2])
    says(caught.value, "'flowers'", "mlreg_model", "shapes differ")
    assert type(caught.value.__cause__) is kind


def throw(error: BaseException) -> None:
    raise error


def test_mlreg_errors_are_not_attributed_to_a_plugin(tmp_path):
    """Diverged training is not a plugin's fault."""
    plugins = loaded(tmp_path)
    with pytest.raises(DataError) as caught, plugins.attribute_errors("mlreg_model"):
        raise DataError("No flowers.")
    assert not hasattr(caught.value, "__notes__")


def test_a_bug_of_mlreg_is_not_attributed_to_a_plugin(tmp_path):
    """An error raised by the host's own line stays a bug of mlreg."""
    plugins = loaded(tmp_path)
    with pytest.raises(AttributeError), plugins.attribute_errors("mlreg_model"):
        plugins.wrong_type("mlreg_nothing", int, None)
