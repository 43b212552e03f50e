"""Plugins that cannot be loaded: each way to break has a broken plugin of its own."""

import importlib
import sys
from pathlib import Path

import pytest
from fakes import (
    COUNTING_EXTENSION,
    TABLE_PLUGIN,
    write_plugin,
    write_project,
    write_settings,
)
from plugin_helpers import line_of, loaded, refused, says

from registry_core.errors import Interrupted, PluginError
from registry_core.plugins.hookspecs import REQUIRED
from registry_core.plugins.manager import KnownPlugins


def test_a_missing_module_says_how_to_install_it(tmp_path):
    """Not installed, and not beside plugins.toml."""
    with pytest.raises(PluginError) as caught:
        KnownPlugins(write_settings(tmp_path, {"gone": "gone_plugin"})).load("gone")
    says(caught.value, "'gone' is not installed", "gone_plugin.py", str(tmp_path / "plugins.toml"))
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_dependency_says_which(tmp_path):
    """The plugin is there, and what it imports is not."""
    error = refused(tmp_path, "import a_module_nobody_has\n" + TABLE_PLUGIN)
    says(
        error,
        "'flowers'",
        "'a_module_nobody_has'",
        "Install the package that provides 'a_module_nobody_has'",
    )


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("from math import sinus", ImportError, "sinus"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("raise SystemExit('gone')", SystemExit, "gone"),
        ("raise GeneratorExit", GeneratorExit, "GeneratorExit"),
        ("raise BaseException('odd')", BaseException, "odd"),
        ("def broken(:", SyntaxError, "invalid syntax"),
        ("  x = 1", IndentationError, "unexpected indent"),
    ],
)
def test_a_failed_import_names_plugin_file_and_line(tmp_path, text, kind, message):
    """Any exception at import is reported with its place, and is the cause."""
    error = refused(tmp_path, f"import sys\n\n{text}\n")
    says(error, "'flowers'", kind.__name__, message)
    says(error, f"{tmp_path / 'flowers_plugin.py'}, line 3")
    assert type(error.__cause__) is kind
    assert error.__cause__.__traceback__ is not None


def test_an_interrupt_during_import_is_not_a_plugin_error(tmp_path):
    """An interrupt passes through unchanged."""
    text = "from registry_core.errors import Interrupted\nraise Interrupted(15)\n"
    with pytest.raises(Interrupted) as caught:
        loaded(tmp_path, text)
    assert caught.value.exit_status == 143
    with pytest.raises(KeyboardInterrupt):
        loaded(tmp_path, "raise KeyboardInterrupt\n")


@pytest.mark.parametrize(
    ("text", "wrong", "right"),
    [
        ("@hookimpl\ndef mlreg_reprot(result):\n    return []\n", "mlreg_reprot", "mlreg_report"),
        (
            "@hookimpl\ndef mlreg_agumentation():\n    pass\n",
            "mlreg_agumentation",
            "mlreg_augmentation",
        ),
        ("@hookimpl\ndef mlrg_report(result):\n    return []\n", "mlrg_report", "mlreg_report"),
        (
            "@hookimpl(specname='mlreg_raport')\ndef draw(result):\n    return []\n",
            "mlreg_raport",
            "mlreg_report",
        ),
    ],
)
def test_a_misspelt_hook_is_an_error_with_the_nearest_name(tmp_path, text, wrong, right):
    """It would never be called, and nobody would notice."""
    error = refused(tmp_path, TABLE_PLUGIN + text)
    says(error, wrong, "'flowers'", f"Did you mean '{right}'?")
    file = tmp_path / "flowers_plugin.py"
    says(error, f"{file}, line {line_of(file, '@hookimpl')}")


def test_a_hook_without_hookimpl_is_an_error(tmp_path):
    """A function without @hookimpl would never be called."""
    error = refused(tmp_path, TABLE_PLUGIN + "def mlreg_report(result):\n    return []\n")
    file = tmp_path / "flowers_plugin.py"
    says(error, "'flowers'", "mlreg_report", "@hookimpl")
    says(error, f"{file}, line {line_of(file, 'mlreg_report')}")


def test_an_unknown_argument_is_an_error(tmp_path):
    """A hook can leave out arguments of its spec, and add none."""
    text = "@hookimpl\ndef mlreg_report(result, folder):\n    return []\n"
    error = refused(tmp_path, TABLE_PLUGIN + text)
    file = tmp_path / "flowers_plugin.py"
    says(error, "'flowers'", "mlreg_report", "folder")
    says(error, f"{file}, line {line_of(file, '@hookimpl')}")


@pytest.mark.parametrize("arguments", ["config, steps_per_epoch=3", "*, steps_per_epoch"])
def test_an_argument_that_pluggy_would_never_pass_is_an_error(tmp_path, arguments):
    """A default would silently replace the host's value."""
    text = f"@hookimpl\ndef mlreg_scheduler({arguments}):\n    return None\n"
    error = refused(tmp_path, TABLE_PLUGIN + text)
    file = tmp_path / "flowers_plugin.py"
    says(error, "'flowers'", "mlreg_scheduler", "never receive 'steps_per_epoch'")
    says(error, f"{file}, line {line_of(file, '@hookimpl')}")


def test_an_extra_argument_can_have_a_default(tmp_path):
    """The host passes only the arguments of the spec."""
    text = "@hookimpl\ndef mlreg_scheduler(steps_per_epoch, factor=2):\n"
    text += "    return steps_per_epoch * factor\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    assert plugins.call("mlreg_scheduler", config=None, steps_per_epoch=4) == 8


def test_a_hook_can_take_any_subset_of_its_arguments(tmp_path):
    """None, one, or all, in any order."""
    text = "@hookimpl\ndef mlreg_scheduler(steps_per_epoch):\n    return steps_per_epoch\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    assert plugins.call("mlreg_scheduler", config=None, steps_per_epoch=4) == 4


@pytest.mark.parametrize("hook", REQUIRED)
def test_a_missing_required_hook_is_named(tmp_path, hook):
    """A dataset plugin without data, model or presets cannot be run."""
    error = refused(tmp_path, TABLE_PLUGIN + f"\ndel {hook}\n")
    says(error, "'flowers'", "flowers_plugin", f"lacks the hook {hook}")


@pytest.mark.parametrize("hook", REQUIRED)
def test_an_extension_cannot_implement_a_required_hook(tmp_path, hook):
    """Required hooks must come from the dataset plugin."""
    text = f"from registry_core import hookimpl\n\n@hookimpl\ndef {hook}():\n    return None\n"
    error = refused(tmp_path, TABLE_PLUGIN + f"\ndel {hook}\n", pushy=text)
    says(error, "'flowers'", hook)
    for name in ("flowers_plugin", "pushy_extension"):
        del sys.modules[name]
    importlib.invalidate_caches()
    error = refused(tmp_path, TABLE_PLUGIN, pushy=text)
    says(error, "'pushy'", hook, "wrapper=True")


def test_a_broken_plugin_for_another_dataset_does_not_matter(tmp_path):
    """It is never imported, so it cannot stop this run."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    write_plugin(tmp_path, "bomb_plugin", "raise SystemExit('imported')")
    settings = write_settings(tmp_path, {"flowers": "flowers_plugin", "bomb": "bomb_plugin"})
    assert KnownPlugins(settings).load("flowers").call("mlreg_presets")
    assert "bomb_plugin" not in sys.modules


def test_a_broken_extension_stops_every_run(tmp_path):
    """A promotion check that cannot be imported must not count as passed."""
    error = refused(tmp_path, gate="1 / 0")
    says(error, "'gate'", "ZeroDivisionError", f"{tmp_path / 'gate_extension.py'}, line 1")


def test_extensions_load_without_a_dataset(tmp_path):
    """Commands without a dataset still call the extensions."""
    settings = write_project(tmp_path, "1 / 0", {"counter": COUNTING_EXTENSION})
    plugins = KnownPlugins(settings).load(None)
    assert plugins.dataset is None
    assert not plugins.provides("mlreg_registered")
    assert [source.name for source in plugins.sources] == ["counter"]


def test_a_file_beside_plugins_toml_cannot_replace_an_installed_module(tmp_path):
    """Installed packages come first on the path."""
    write_plugin(tmp_path, "pluggy", "raise SystemExit('replaced')")
    KnownPlugins(write_project(tmp_path))
    assert sys.path.index(str(tmp_path)) > sys.path.index(
        str(Path(importlib.import_module("pluggy").__file__).parents[1])
    )
