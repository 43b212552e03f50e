"""Plugins as files: found, joined, called, and blamed when they break.

Each way to break has a broken plugin of its own, written where mlreg looks for it.
"""

import functools
import importlib
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest
from fakes import (
    COUNTING_EXTENSION,
    TABLE_PLUGIN,
    WRAPPING_EXTENSION,
    Recorder,
    write_distribution,
    write_plugin,
    write_project,
    write_settings,
)

from registry_core.config import RunConfig
from registry_core.errors import DataError, Interrupted, MlregError, PluginError, UsageError
from registry_core.plugins.hookspecs import REQUIRED
from registry_core.plugins.manager import KnownPlugins, PluginSet
from registry_core.records import Objection
from registry_core.types import DataSplits

# every hook, and arguments to call it with
HOOKS = {
    "mlreg_presets": {},
    "mlreg_dataset": {"config": None, "data_dir": None, "progress": Recorder()},
    "mlreg_data": {"data_dir": None},
    "mlreg_augmentation": {"config": None, "data": None},
    "mlreg_scheduler": {"config": None, "steps_per_epoch": 3},
    "mlreg_model": {"config": RunConfig(), "data": None, "learning_rate": None},
    "mlreg_inference_model": {"config": None, "model": None},
    "mlreg_callbacks": {"config": None, "run_dir": None},
    "mlreg_report": {"result": None, "out_dir": None},
    "mlreg_check_promotion": {"candidate": None, "incumbent": None, "alias": "production"},
    "mlreg_registered": {"version": None},
    "mlreg_promoted": {"version": None, "alias": "production", "previous": None},
}


def loaded(folder: Path, plugin: str = TABLE_PLUGIN, **extensions: str) -> PluginSet:
    return KnownPlugins(write_project(folder, plugin, extensions)).load("flowers")


def refused(folder: Path, plugin: str = TABLE_PLUGIN, **extensions: str) -> PluginError:
    with pytest.raises(PluginError) as caught:
        loaded(folder, plugin, **extensions)
    assert caught.value.exit_status == 3
    return caught.value


def line_of(file: Path, text: str) -> int:
    """The last line that holds a text, as a traceback counts lines."""
    lines = file.read_text().splitlines()
    return max(number for number, line in enumerate(lines, start=1) if text in line)


def says(error: MlregError, *texts: str) -> None:
    for text in texts:
        assert text in str(error)


# --- found -------------------------------------------------------------------------------------


def test_a_plugin_beside_plugins_toml_is_found_imported_and_called(tmp_path):
    """A module needs no installing: it lies beside the file that names it."""
    plugins = loaded(tmp_path)
    presets = plugins.call("mlreg_presets", Mapping)
    assert list(presets) == ["baseline", "quick"]
    assert plugins.dataset.name == "flowers"
    assert plugins.dataset.origin == str(tmp_path / "plugins.toml")


def test_listing_imports_nothing(tmp_path):
    """Names, origins and what is missing are known without importing a plugin."""
    settings = write_settings(
        tmp_path,
        {"bomb": "bomb_plugin", "gone": "gone_plugin.inner"},
        {"loud": "bomb_plugin"},
    )
    write_plugin(tmp_path, "bomb_plugin", "raise SystemExit('imported')")
    known = KnownPlugins(settings)
    assert {"bomb", "gone"} <= set(known.datasets)
    assert list(known.datasets) == sorted(known.datasets)
    assert known.datasets["gone"].missing
    assert not known.datasets["bomb"].missing
    assert not known.extensions["loud"].missing
    assert known.extensions["loud"].kind == "extension"
    assert "bomb_plugin" not in sys.modules


@pytest.mark.parametrize("module", ["", ".relative", "no such module"])
def test_a_name_that_is_no_module_is_shown_as_missing(tmp_path, module):
    """A slip in plugins.toml does not stop the list, and is the plugin's fault when it runs."""
    known = KnownPlugins(write_settings(tmp_path, {"odd": module}))
    assert known.datasets["odd"].missing
    with pytest.raises(PluginError, match="odd"):
        known.load("odd")


def test_an_unknown_name_says_which_there_are_and_which_was_meant(tmp_path):
    """A misspelt dataset is wrong usage, answered with the nearest."""
    known = KnownPlugins(write_project(tmp_path))
    with pytest.raises(UsageError) as caught:
        known.load("flower")
    says(caught.value, "No dataset plugin 'flower'", "Did you mean 'flowers'?", "mlreg run flowers")
    with pytest.raises(UsageError) as caught:
        known.load("zzz")
    assert "Did you mean" not in str(caught.value)
    assert caught.value.command == "mlreg plugins list"


def test_an_extension_is_no_dataset(tmp_path):
    """What adds to every run cannot be run itself."""
    known = KnownPlugins(write_project(tmp_path, extensions={"counter": COUNTING_EXTENSION}))
    with pytest.raises(UsageError, match="No dataset plugin 'counter'"):
        known.load("counter")


def test_an_installed_distribution_brings_its_plugins(tmp_path):
    """Entry points are found, and the distribution is the origin."""
    site = tmp_path / "site"
    write_plugin(site, "petals.plugin", TABLE_PLUGIN)
    write_plugin(site, "petals_notice", COUNTING_EXTENSION)
    write_distribution(
        site,
        "petals-data",
        {
            "mlreg.plugins": {"petals": "petals.plugin"},
            "mlreg.extensions": {"notice": "petals_notice"},
        },
        "2.5",
    )
    sys.path.append(str(site))
    known = KnownPlugins(write_project(tmp_path))
    assert known.datasets["petals"].origin == "petals-data 2.5"
    assert {"flowers", "petals"} <= set(known.datasets)
    plugins = known.load("petals")
    described = {plugin["name"]: plugin for plugin in plugins.describe()}
    assert described["petals"]["kind"] == "dataset"
    assert described["notice"]["kind"] == "extension"


def test_one_name_from_two_places_is_an_error_that_names_both(tmp_path):
    """Neither wins: whoever runs it is told who claims it."""
    site = tmp_path / "site"
    write_plugin(site, "other_flowers", TABLE_PLUGIN)
    write_distribution(site, "bouquet", {"mlreg.plugins": {"flowers": "other_flowers"}}, "0.3")
    sys.path.append(str(site))
    error = refused(tmp_path)
    says(error, "'flowers'", "flowers_plugin", str(tmp_path / "plugins.toml"))
    says(error, "other_flowers", "bouquet 0.3")
    assert "other_flowers" not in sys.modules


def test_one_name_from_two_distributions_is_an_error_that_names_both(tmp_path):
    """The same holds where plugins.toml has no part in it."""
    site = tmp_path / "site"
    for name in ("rose", "tulip"):
        write_distribution(site, f"{name}-data", {"mlreg.plugins": {"petals": f"{name}_plugin"}})
    sys.path.append(str(site))
    with pytest.raises(PluginError) as caught:
        KnownPlugins(write_project(tmp_path)).load("petals")
    says(caught.value, "'petals'", "rose_plugin", "rose-data 1.0", "tulip_plugin", "tulip-data 1.0")


def test_two_claims_on_another_name_do_not_matter(tmp_path):
    """Only the name that is run must be clear."""
    site = tmp_path / "site"
    for name in ("rose", "tulip"):
        write_distribution(site, f"{name}-data", {"mlreg.plugins": {"petals": f"{name}_plugin"}})
    sys.path.append(str(site))
    assert KnownPlugins(write_project(tmp_path)).load("flowers").dataset.name == "flowers"


def test_one_plugin_named_twice_is_one_plugin(tmp_path):
    """A checkout's plugins.toml may name what is installed from it."""
    site = tmp_path / "site"
    write_distribution(site, "flowers-data", {"mlreg.plugins": {"flowers": "flowers_plugin"}})
    sys.path.append(str(site))
    assert loaded(tmp_path).dataset.module == "flowers_plugin"


def test_a_dataset_and_an_extension_cannot_share_a_name(tmp_path):
    """A run's plugins are told apart by name."""
    error = refused(tmp_path, flowers=COUNTING_EXTENSION)
    says(error, "flowers")


# --- broken before the first call ----------------------------------------------------------------


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
def test_a_module_that_fails_to_import_names_plugin_file_and_line(tmp_path, text, kind, message):
    """Whatever is raised at import is told with its place, and is the cause."""
    error = refused(tmp_path, f"import sys\n\n{text}\n")
    says(error, "'flowers'", kind.__name__, message)
    says(error, f"{tmp_path / 'flowers_plugin.py'}, line 3")
    assert type(error.__cause__) is kind
    assert error.__cause__.__traceback__ is not None


def test_ctrl_c_while_importing_is_no_fault_of_the_plugin(tmp_path):
    """A stop passes as it is."""
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
def test_a_misspelt_hook_is_an_error_with_the_nearest_right_name(tmp_path, text, wrong, right):
    """It would never be called, and nobody would know."""
    error = refused(tmp_path, TABLE_PLUGIN + text)
    says(error, wrong, "'flowers'", f"Did you mean '{right}'?")
    file = tmp_path / "flowers_plugin.py"
    says(error, f"{file}, line {line_of(file, '@hookimpl')}")


def test_an_unmarked_hook_is_an_error(tmp_path):
    """A forgotten @hookimpl would be silence."""
    error = refused(tmp_path, TABLE_PLUGIN + "def mlreg_report(result):\n    return []\n")
    file = tmp_path / "flowers_plugin.py"
    says(error, "'flowers'", "mlreg_report", "@hookimpl")
    says(error, f"{file}, line {line_of(file, 'mlreg_report')}")


def test_an_unknown_argument_is_an_error(tmp_path):
    """A hook may take fewer arguments than its spec has, and no others."""
    text = "@hookimpl\ndef mlreg_report(result, folder):\n    return []\n"
    error = refused(tmp_path, TABLE_PLUGIN + text)
    file = tmp_path / "flowers_plugin.py"
    says(error, "'flowers'", "mlreg_report", "folder")
    says(error, f"{file}, line {line_of(file, '@hookimpl')}")


@pytest.mark.parametrize("arguments", ["config, steps_per_epoch=3", "*, steps_per_epoch"])
def test_an_argument_that_pluggy_would_never_pass_is_an_error(tmp_path, arguments):
    """A default would always win over what the host knows, without a word."""
    text = f"@hookimpl\ndef mlreg_scheduler({arguments}):\n    return None\n"
    error = refused(tmp_path, TABLE_PLUGIN + text)
    file = tmp_path / "flowers_plugin.py"
    says(error, "'flowers'", "mlreg_scheduler", "never receive 'steps_per_epoch'")
    says(error, f"{file}, line {line_of(file, '@hookimpl')}")


def test_an_argument_of_the_plugins_own_may_have_a_default(tmp_path):
    """It is the plugin's affair; the host passes what its spec has."""
    text = "@hookimpl\ndef mlreg_scheduler(steps_per_epoch, factor=2):\n"
    text += "    return steps_per_epoch * factor\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    assert plugins.call("mlreg_scheduler", config=None, steps_per_epoch=4) == 8


def test_a_hook_may_take_any_subset_of_its_arguments(tmp_path):
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
def test_a_required_hook_from_an_extension_does_not_count(tmp_path, hook):
    """An extension cannot stand in for the dataset, nor go before it."""
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
    """A promotion check that cannot be imported is not one that passed."""
    error = refused(tmp_path, gate="1 / 0")
    says(error, "'gate'", "ZeroDivisionError", f"{tmp_path / 'gate_extension.py'}, line 1")


def test_extensions_alone_need_no_dataset(tmp_path):
    """Commands that are about no dataset still ask the extensions."""
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


# --- broken in a call ----------------------------------------------------------------------------


def raising(hook: str, what: str) -> str:
    arguments = ", ".join(HOOKS[hook])
    return (
        f"{TABLE_PLUGIN}\n\ndef helper():\n    raise {what}\n\n\n"
        f"@hookimpl\ndef {hook}({arguments}):\n    return helper()\n"
    )


@pytest.mark.parametrize("what", ["KeyError('petal')", "SystemExit(0)", "BaseException('odd')"])
@pytest.mark.parametrize("hook", HOOKS)
def test_what_a_hook_raises_is_told_with_plugin_hook_file_and_line(tmp_path, hook, what):
    """Whatever is raised, SystemExit too, is the plugin's fault and is kept as the cause."""
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


def test_a_generator_exit_is_told_like_any_other(tmp_path):
    """GeneratorExit is no Exception either."""
    plugins = loaded(tmp_path, raising("mlreg_scheduler", "GeneratorExit"))
    with pytest.raises(PluginError, match="GeneratorExit") as caught:
        plugins.call("mlreg_scheduler", **HOOKS["mlreg_scheduler"])
    assert type(caught.value.__cause__) is GeneratorExit


def test_an_error_deep_in_a_library_is_told_at_the_plugins_own_line(tmp_path):
    """The place is where the plugin called, not where json gave up."""
    text = "@hookimpl\ndef mlreg_data():\n    import json\n\n    return json.loads('{')\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    with pytest.raises(PluginError) as caught:
        plugins.call("mlreg_data", data_dir=None)
    file = tmp_path / "flowers_plugin.py"
    says(caught.value, f"{file}, line {line_of(file, 'json.loads')}")
    assert type(caught.value.__cause__).__name__ == "JSONDecodeError"


def test_an_error_in_a_plugins_own_package_is_told_at_its_deepest_line(tmp_path):
    """All files of the package are the plugin's, not only the one with the hooks."""
    text = "@hookimpl\ndef mlreg_data():\n    from garden.parts import shed\n\n    shed.open()\n"
    write_plugin(tmp_path, "garden.plugin", TABLE_PLUGIN + text)
    shed = write_plugin(tmp_path, "garden.parts.shed", "def open():\n    return {}['key']\n")
    plugins = KnownPlugins(write_settings(tmp_path, {"garden": "garden.plugin"})).load("garden")
    with pytest.raises(PluginError) as caught:
        plugins.call("mlreg_data", data_dir=None)
    says(caught.value, "'garden'", f"{shed}, line 2")


def test_the_extension_that_raised_is_blamed_not_the_dataset(tmp_path):
    """Several plugins have the hook; the one whose code raised is named."""
    text = "from registry_core import hookimpl\n\n@hookimpl\ndef mlreg_report():\n    1 / 0\n"
    report = "@hookimpl\ndef mlreg_report():\n    return []\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + report, zealous=text, quiet=COUNTING_EXTENSION)
    with pytest.raises(PluginError) as caught:
        plugins.collect("mlreg_report", Path, result=None, out_dir=None)
    says(caught.value, "'zealous'", f"{tmp_path / 'zealous_extension.py'}, line 5")
    assert "'flowers'" not in str(caught.value)


@pytest.mark.parametrize("kind", ["DataError", "UsageError", "MlregError"])
def test_an_mlreg_error_that_a_plugin_raises_passes_as_it_is(tmp_path, kind):
    """A plugin that says what is wrong, and what would work, is not talked over."""
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


def test_an_mlreg_error_keeps_the_error_it_was_raised_for(tmp_path):
    """What the plugin caught before it raised stays in the traceback."""
    text = (
        "@hookimpl\ndef mlreg_dataset():\n    from registry_core import DataError\n\n"
        "    try:\n        1 / 0\n    except ZeroDivisionError:\n        raise DataError('No.')\n"
    )
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    with pytest.raises(DataError) as caught:
        plugins.call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])
    assert isinstance(caught.value.__context__, ZeroDivisionError)


@pytest.mark.parametrize("what", ["Interrupted(2)", "KeyboardInterrupt()"])
def test_a_stop_passes_through_hooks_untouched(tmp_path, what):
    """Ctrl-C in a plugin's code is no fault of the plugin."""
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


# --- what a hook returns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "expected", "value", "received", "wanted"),
    [
        ("mlreg_presets", Mapping, "[1]", "list ([1])", "Mapping"),
        ("mlreg_presets", Mapping, "None", "None", "Mapping"),
        ("mlreg_dataset", DataSplits, "(1, 2)", "tuple ((1, 2))", "DataSplits"),
        ("mlreg_dataset", DataSplits, "None", "None", "DataSplits"),
        ("mlreg_model", int, "'x' * 9999", "str ('xxx", "int"),
        ("mlreg_model", (int, str), "None", "None", "int or str"),
    ],
)
def test_a_wrong_type_says_what_was_expected_and_received(
    tmp_path, hook, expected, value, received, wanted
):
    """Plugin, hook, place, expected and received: and not ten thousand letters of it."""
    text = f"@hookimpl\ndef {hook}():\n    return {value}\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    with pytest.raises(PluginError) as caught:
        plugins.call(hook, expected, **HOOKS[hook])
    file = tmp_path / "flowers_plugin.py"
    says(caught.value, f"{hook} of flowers returned {received}", f"Expected: {wanted}.")
    says(caught.value, f"{file}, line {line_of(file, '@hookimpl')}")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("value", "received", "wanted"),
    [("'no'", "str ('no')", "list or tuple"), ("['no']", "str ('no')", "Objection")],
)
def test_what_is_collected_is_checked_one_by_one(tmp_path, value, received, wanted):
    """A text is no list of objections, and its letters are none either."""
    text = f"@hookimpl\ndef mlreg_check_promotion():\n    return {value}\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    with pytest.raises(PluginError) as caught:
        plugins.collect("mlreg_check_promotion", Objection, **HOOKS["mlreg_check_promotion"])
    says(caught.value, "mlreg_check_promotion of flowers", received, wanted)


def test_what_everyone_adds_is_joined_and_none_adds_nothing(tmp_path):
    """Lists and tuples alike; the dataset's own come first."""

    def objecting(value: str) -> str:
        return (
            "from registry_core import Objection, hookimpl\n\n"
            f"@hookimpl\ndef mlreg_check_promotion(alias):\n    return {value}\n"
        )

    plugins = loaded(
        tmp_path,
        TABLE_PLUGIN + objecting("[Objection('own', alias), Objection('own', 'twice')]"),
        one=objecting("(Objection('one', 'x'),)"),
        two=objecting("None"),
    )
    found = plugins.collect("mlreg_check_promotion", Objection, **HOOKS["mlreg_check_promotion"])
    assert [(each.check, each.reason) for each in found] == [
        ("own", "production"),
        ("own", "twice"),
        ("one", "x"),
    ]


def test_a_hook_that_nobody_has_returns_none(tmp_path):
    """Optional hooks are optional."""
    plugins = loaded(tmp_path)
    assert plugins.call("mlreg_scheduler", **HOOKS["mlreg_scheduler"]) is None
    assert plugins.collect("mlreg_callbacks", object, **HOOKS["mlreg_callbacks"]) == []


def test_only_the_datasets_own_hooks_count_as_provided(tmp_path):
    """An extension's report is no reason to leave out the host's figures."""
    report = "from registry_core import hookimpl\n@hookimpl\ndef mlreg_report():\n    return []\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN, report=report)
    assert not plugins.provides("mlreg_report")
    assert plugins.provides("mlreg_model")


# --- wrappers ------------------------------------------------------------------------------------


def test_an_extension_can_wrap_a_stage(tmp_path):
    """`wrapper=True` sees the dataset's own answer and may change it."""
    plain = loaded(tmp_path).call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])
    wrapped = loaded(tmp_path, TABLE_PLUGIN, flip=WRAPPING_EXTENSION)
    changed = wrapped.call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])
    assert (changed.train.inputs == -plain.train.inputs).all()
    assert (changed.test.inputs == plain.test.inputs).all()


def test_a_wrapper_that_raises_is_blamed_itself(tmp_path):
    """Before and after the wrapped hook alike."""
    text = (
        "from registry_core import hookimpl\n\n@hookimpl(wrapper=True)\n"
        "def mlreg_dataset():\n    yield\n    raise OSError('torn')\n"
    )
    plugins = loaded(tmp_path, TABLE_PLUGIN, tear=text)
    with pytest.raises(PluginError) as caught:
        plugins.call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])
    says(caught.value, "'tear'", "OSError: torn", f"{tmp_path / 'tear_extension.py'}, line 6")


def test_a_wrapper_does_not_take_the_blame_for_what_it_wraps(tmp_path):
    """The deepest line of a plugin's code on the way to the error is the place."""
    plugins = loaded(tmp_path, raising("mlreg_dataset", "OSError('dry')"), flip=WRAPPING_EXTENSION)
    with pytest.raises(PluginError, match="Plugin 'flowers' failed in mlreg_dataset"):
        plugins.call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])


# --- code of plugins that runs outside their hooks -----------------------------------------------


def test_code_that_a_plugin_handed_over_is_blamed_where_it_raises(tmp_path):
    """An augmentation fails long after its hook returned, and the line is still the plugin's."""
    text = "@hookimpl\ndef mlreg_augmentation():\n    return lambda inputs, batch: 1 / 0\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    augmentation = plugins.call("mlreg_augmentation", **HOOKS["mlreg_augmentation"])
    with pytest.raises(PluginError) as caught, plugins.attribute_errors("mlreg_model"):
        augmentation(None, None)
    file = tmp_path / "flowers_plugin.py"
    says(caught.value, "'flowers'", f"{file}, line {line_of(file, '1 / 0')}")
    assert type(caught.value.__cause__) is ZeroDivisionError


@pytest.mark.parametrize("kind", [ValueError, SystemExit, GeneratorExit, BaseException])
def test_what_a_library_raises_is_blamed_on_the_hook_that_provided_the_value(tmp_path, kind):
    """Where no line of a plugin is on the way, the hook's owner answers."""
    plugins = loaded(tmp_path)

    with pytest.raises(PluginError) as caught, plugins.attribute_errors("mlreg_model"):
        functools.reduce(lambda *_: throw(kind("shapes differ")), [1, 2])
    says(caught.value, "'flowers'", "mlreg_model", "shapes differ")
    assert type(caught.value.__cause__) is kind


def throw(error: BaseException) -> None:
    raise error


def test_errors_of_ours_pass_where_a_plugin_answers(tmp_path):
    """A diverged training is no plugin's fault."""
    plugins = loaded(tmp_path)
    with pytest.raises(DataError) as caught, plugins.attribute_errors("mlreg_model"):
        raise DataError("No flowers.")
    assert not hasattr(caught.value, "__notes__")


def test_a_bug_of_ours_is_not_blamed_on_a_plugin(tmp_path):
    """What the host's own lines raise, with no plugin on the way, stays a bug of ours."""
    plugins = loaded(tmp_path)
    with pytest.raises(AttributeError), plugins.attribute_errors("mlreg_model"):
        plugins.wrong_type("mlreg_nothing", int, None)


# --- what is remembered --------------------------------------------------------------------------


def test_plugins_are_described_with_a_digest_of_their_code(tmp_path):
    """The record changes when any file of a plugin's package does."""
    write_plugin(tmp_path, "garden.plugin", TABLE_PLUGIN)
    helper = write_plugin(tmp_path, "garden.parts.model", "UNITS = 8\n")
    settings = write_settings(tmp_path, {"garden": "garden.plugin"})
    plugins = KnownPlugins(settings).load("garden")
    (before,) = (each for each in plugins.describe() if each["name"] == "garden")
    assert before["module"] == "garden.plugin"
    assert before["kind"] == "dataset"
    assert before["distribution"] is None
    assert len(before["code_sha256"]) == 64
    (again,) = (each for each in plugins.describe() if each["name"] == "garden")
    assert again == before
    helper.write_text("UNITS = 9\n")
    (after,) = (each for each in plugins.describe() if each["name"] == "garden")
    assert after["code_sha256"] != before["code_sha256"]


def test_a_module_that_is_alone_is_digested_alone(tmp_path):
    """A file beside plugins.toml has nothing to do with the files beside it."""
    plugins = loaded(tmp_path)
    (before,) = plugins.describe()
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    assert plugins.describe() == [before]
