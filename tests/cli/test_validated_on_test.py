"""Where the validation split is the test split itself, whoever looks at the numbers is told."""

from __future__ import annotations

import pytest
from fakes import TABLE_PLUGIN, Recorder, run_context, standard_report, write_project

from registry_core.data.recorded import validation_split
from registry_core.lifecycle import run as lifecycle
from registry_core.lifecycle.spec import spec_from_preset
from registry_core.plugins.manager import KnownPlugins
from registry_core.store import Store
from registry_core.terminal.tables.versions import show_version

SPLITS = "split(30), split(12), split(6),"
SAME = TABLE_PLUGIN.replace(SPLITS, "split(30), (test := split(12)), test,")
EQUAL = TABLE_PLUGIN.replace(
    "return DataSplits(",
    "random = np.random.default_rng(3); test = split(12)\n    "
    "random = np.random.default_rng(3); copy = split(12)\n    return DataSplits(",
).replace(SPLITS, "split(30), test, copy,")


def ran(folder, plugin):
    """Run it; returns the version, its manifest, what was said, and what the report was given."""
    results = []

    def report(result, out_dir):
        results.append(result)
        return standard_report(result, out_dir)

    plugins = KnownPlugins(write_project(folder, plugin)).load("flowers")
    store, observer = Store(folder / "registry"), Recorder()
    version = lifecycle.run(
        spec_from_preset(plugins, "quick"),
        store,
        run_context(plugins, folder, observer=observer, report=report),
    )
    return version, store.manifest(version), observer.said, results[0]


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("plugin", [SAME, EQUAL], ids=["the same object", "equal arrays"])
def test_a_run_that_watches_the_test_split_says_so(tmp_path, capsys, plugin):
    """Before training, to the report, and in `show`: equal fingerprints are enough."""
    version, manifest, said, result = ran(tmp_path, plugin)
    assert "The validation split is the test split itself" in said
    assert result.validated_on_test
    show_version(version, manifest, [version], None)
    assert "30 train, 12 test, validation is the test split itself;" in capsys.readouterr().out


@pytest.mark.gate
def test_a_validation_split_of_its_own_is_counted(tmp_path, capsys):
    """Nothing is said but how many examples it has."""
    version, manifest, said, result = ran(tmp_path, TABLE_PLUGIN)
    assert not any("itself" in line for line in said)
    assert not result.validated_on_test
    show_version(version, manifest, [version], None)
    assert "30 train, 12 test, 6 validation;" in capsys.readouterr().out


def test_what_is_validated_on_is_told_by_fingerprints():
    """The training split counts as well; no validation split is none of them."""
    train, test = {"fingerprint": "a"}, {"fingerprint": "b"}
    assert validation_split({"train": train, "test": test}) is None
    assert (
        validation_split({"train": train, "test": test, "validation": {"fingerprint": "c"}}) is None
    )
    assert validation_split({"train": train, "test": test, "validation": dict(test)}) == "test"
    assert validation_split({"train": train, "test": test, "validation": dict(train)}) == "train"
