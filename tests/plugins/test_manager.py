"""Plugins are found, loaded, called and described."""

import sys
from collections.abc import Mapping

import pytest
from fakes import (
    COUNTING_EXTENSION,
    TABLE_PLUGIN,
    WRAPPING_EXTENSION,
    write_distribution,
    write_plugin,
    write_project,
    write_settings,
)
from plugin_helpers import HOOKS, line_of, loaded, raising, refused, says

from registry_core.errors import PluginError, UsageError
from registry_core.plugins.manager import KnownPlugins
from registry_core.process import guard
from registry_core.records import Objection
from registry_core.types import DataSplits

# --- found ---


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
def test_a_text_that_is_not_a_module_name_is_listed_as_missing(tmp_path, module):
    """A mistake in plugins.toml does not stop the list; running the plugin is an error."""
    known = KnownPlugins(write_settings(tmp_path, {"odd": module}))
    assert known.datasets["odd"].missing
    with pytest.raises(PluginError, match="odd"):
        known.load("odd")


def test_an_unknown_plugin_name_suggests_the_nearest(tmp_path):
    """A misspelt dataset is a usage error with the known names."""
    known = KnownPlugins(write_project(tmp_path))
    with pytest.raises(UsageError) as caught:
        known.load("flower")
    says(caught.value, "No dataset plugin 'flower'", "Did you mean 'flowers'?", "mlreg run flowers")
    with pytest.raises(UsageError) as caught:
        known.load("zzz")
    assert "Did you mean" not in str(caught.value)
    assert caught.value.command == "mlreg plugins list"


def test_an_extension_cannot_be_run(tmp_path):
    """An extension is not a dataset plugin."""
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


def test_one_name_from_two_places_is_an_error_with_both(tmp_path):
    """Neither module is loaded; the message names both."""
    site = tmp_path / "site"
    write_plugin(site, "other_flowers", TABLE_PLUGIN)
    write_distribution(site, "bouquet", {"mlreg.plugins": {"flowers": "other_flowers"}}, "0.3")
    sys.path.append(str(site))
    error = refused(tmp_path)
    says(error, "'flowers'", "flowers_plugin", str(tmp_path / "plugins.toml"))
    says(error, "other_flowers", "bouquet 0.3")
    assert "other_flowers" not in sys.modules


def test_one_name_from_two_distributions_is_an_error_with_both(tmp_path):
    """Also if plugins.toml does not name the plugin."""
    site = tmp_path / "site"
    for name in ("rose", "tulip"):
        write_distribution(site, f"{name}-data", {"mlreg.plugins": {"petals": f"{name}_plugin"}})
    sys.path.append(str(site))
    with pytest.raises(PluginError) as caught:
        KnownPlugins(write_project(tmp_path)).load("petals")
    says(caught.value, "'petals'", "rose_plugin", "rose-data 1.0", "tulip_plugin", "tulip-data 1.0")


def test_a_name_conflict_of_another_plugin_does_not_matter(tmp_path):
    """Only the chosen plugin's name must be unique."""
    site = tmp_path / "site"
    for name in ("rose", "tulip"):
        write_distribution(site, f"{name}-data", {"mlreg.plugins": {"petals": f"{name}_plugin"}})
    sys.path.append(str(site))
    assert KnownPlugins(write_project(tmp_path)).load("flowers").dataset.name == "flowers"


def test_the_same_module_named_twice_is_one_plugin(tmp_path):
    """A checkout's plugins.toml may name a plugin that is also installed."""
    site = tmp_path / "site"
    write_distribution(site, "flowers-data", {"mlreg.plugins": {"flowers": "flowers_plugin"}})
    sys.path.append(str(site))
    assert loaded(tmp_path).dataset.module == "flowers_plugin"


def test_a_dataset_and_an_extension_cannot_share_a_name(tmp_path):
    """Names identify the plugins of a run."""
    error = refused(tmp_path, flowers=COUNTING_EXTENSION)
    says(error, "flowers")


# --- what a hook returns ---


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
def test_a_wrong_type_names_the_expected_and_the_received_one(
    tmp_path, hook, expected, value, received, wanted
):
    """With plugin, hook and place; a long value is truncated."""
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
def test_every_element_of_a_collected_list_is_checked(tmp_path, value, received, wanted):
    """A text is not a list of objections, and neither are its characters."""
    text = f"@hookimpl\ndef mlreg_check_promotion():\n    return {value}\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN + text)
    with pytest.raises(PluginError) as caught:
        plugins.collect("mlreg_check_promotion", Objection, **HOOKS["mlreg_check_promotion"])
    says(caught.value, "mlreg_check_promotion of flowers", received, wanted)


def test_collected_lists_are_joined(tmp_path):
    """Lists and tuples; the dataset plugin's come first, None is skipped."""

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


def test_a_hook_without_implementation_returns_none(tmp_path):
    """Optional hooks are optional."""
    plugins = loaded(tmp_path)
    assert plugins.call("mlreg_scheduler", **HOOKS["mlreg_scheduler"]) is None
    assert plugins.collect("mlreg_callbacks", object, **HOOKS["mlreg_callbacks"]) == []


def test_only_the_dataset_plugin_provides_hooks(tmp_path):
    """An extension's report does not replace the host's figures."""
    report = "from registry_core import hookimpl\n@hookimpl\ndef mlreg_report():\n    return []\n"
    plugins = loaded(tmp_path, TABLE_PLUGIN, report=report)
    assert not plugins.provides("mlreg_report")
    assert plugins.provides("mlreg_model")


# --- wrappers ---


def test_an_extension_can_wrap_a_hook(tmp_path):
    """`wrapper=True` gets the dataset plugin's value and can change it."""
    plain = loaded(tmp_path).call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])
    wrapped = loaded(tmp_path, TABLE_PLUGIN, flip=WRAPPING_EXTENSION)
    changed = wrapped.call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])
    assert (changed.train.inputs == -plain.train.inputs).all()
    assert (changed.test.inputs == plain.test.inputs).all()


def test_an_error_in_a_wrapper_names_the_wrapper(tmp_path):
    """Before and after the wrapped hook."""
    text = (
        "from registry_core import hookimpl\n\n@hookimpl(wrapper=True)\n"
        "def mlreg_dataset():\n    yield\n    raise OSError('torn')\n"
    )
    plugins = loaded(tmp_path, TABLE_PLUGIN, tear=text)
    with pytest.raises(PluginError) as caught:
        plugins.call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])
    says(caught.value, "'tear'", "OSError: torn", f"{tmp_path / 'tear_extension.py'}, line 6")


def test_an_error_in_a_wrapped_hook_does_not_name_the_wrapper(tmp_path):
    """The deepest line of a plugin in the traceback is reported."""
    plugins = loaded(tmp_path, raising("mlreg_dataset", "OSError('dry')"), flip=WRAPPING_EXTENSION)
    with pytest.raises(PluginError, match="Plugin 'flowers' failed in mlreg_dataset"):
        plugins.call("mlreg_dataset", DataSplits, **HOOKS["mlreg_dataset"])


# --- what is remembered ---


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


def test_the_digest_of_a_single_module_covers_that_file_alone(tmp_path):
    """Other files beside plugins.toml do not matter."""
    plugins = loaded(tmp_path)
    (before,) = plugins.describe()
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    assert plugins.describe() == [before]


def test_a_hook_that_no_plugin_implements_runs_no_plugin(tmp_path, monkeypatch):
    """A command that asks nobody ends like one that knows no plugins."""
    monkeypatch.setattr(guard, "_used", False)
    nobody = KnownPlugins(write_settings(tmp_path, {})).load(None)
    assert nobody.call("mlreg_registered", version=None) == []
    assert not guard.used()
    write_plugin(tmp_path, "audit_plugin", COUNTING_EXTENSION)
    KnownPlugins(write_settings(tmp_path, {}, {"audit": "audit_plugin"})).load(None)
    assert guard.used()
