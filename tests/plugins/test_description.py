"""`mlreg plugins show`: what a plugin offers, without anything heavy being imported."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

import pytest
from cli_helpers import mlreg
from fakes import COUNTING_EXTENSION, TABLE_PLUGIN, write_project

from registry_core.errors import UsageError
from registry_core.plugins.description import describe_plugin
from registry_core.plugins.manager import KnownPlugins
from registry_core.plugins.source_digests import libraries

DESCRIBED = (
    TABLE_PLUGIN.replace(
        "class TableConfig(RunConfig):",
        '''from typing import Annotated, Literal
from pydantic import Field


class TableConfig(RunConfig):
    """Numbers for tables.

    Args:
        learning_rate: the optimizer's, in
            every epoch.
        batch_size: rows a step.

    Raises:
        ValueError: never.
    """

    order: Literal["shuffled", "sorted"] = "sorted"
    widths: tuple[Annotated[int, Field(gt=0)], ...] = (8, 4)
    dropout: float | None = Field(None, description="Part of the units\\n  that is dropped.")
    rate: Annotated[float, Field(gt=0)] | None = Field(None, le=1)
    layers: Annotated[int, Field(ge=1, multiple_of=2)] = 2
    names: list[str] = Field(default_factory=list, max_length=3)
    color: Literal["red", "grey"] | None = None
''',
    )
    + """

class OtherConfig(RunConfig):
    depth: int = 2
"""
).replace("epochs=1),", 'epochs=1),\n        "other": OtherConfig(about="another recipe"),')


def described(folder, plugin=DESCRIBED, name="flowers"):
    known = KnownPlugins(write_project(folder, plugin, {"counting": COUNTING_EXTENSION}))
    return describe_plugin(known.load_alone(name))


def test_presets_are_described_by_their_about(tmp_path):
    """In the plugin's order; the first is the default."""
    assert dict(described(tmp_path).presets) == {
        "baseline": "three passes",
        "quick": "one pass",
        "other": "another recipe",
    }


def test_settings_have_type_value_and_meaning(tmp_path):
    """The field's description, or the docstring of the class, or of the class above."""
    found = {(s.name, *s.values): s for s in described(tmp_path).settings}
    rate = found["learning_rate", "baseline", "quick"]
    assert (rate.type, rate.about) == ("float", "the optimizer's, in every epoch.")
    assert dict(rate.values) == {"baseline": 0.1, "quick": 0.1}
    assert dict(found["epochs", "baseline", "quick"].values) == {"baseline": 3, "quick": 1}
    assert found["epochs", "other"].about == "passes over the training split, 1 or more."
    assert found["batch_size", "baseline", "quick"].about == "rows a step."
    assert found["dropout", "baseline", "quick"].about == "Part of the units that is dropped."
    assert found["depth", "other"].about == ""
    types = {name: found[name, "baseline", "quick"].type for name in ("order", "widths", "dropout")}
    assert types == {
        "order": "'shuffled' | 'sorted'",
        "widths": "tuple[int, …]",
        "dropout": "float | None",
    }
    assert ("about", "other") not in found


def test_settings_have_a_default_bounds_and_choices(tmp_path):
    """From the Field or the type, inside a union too; the class's default beside the presets'."""
    found = {s.name: s for s in described(tmp_path).settings if "baseline" in s.values}
    assert dict(found["epochs"].bounds) == {"gt": 0}
    assert found["epochs"].default == 1
    assert dict(found["seed"].bounds) == {"ge": 0, "lt": 2**31}
    assert dict(found["rate"].bounds) == {"gt": 0, "le": 1}
    assert dict(found["layers"].bounds) == {"ge": 1, "multiple_of": 2}
    assert dict(found["names"].bounds) == {"max_length": 3}
    assert found["names"].default is None
    assert found["widths"].default == [8, 4]
    assert found["order"].choices == ("shuffled", "sorted")
    assert found["color"].choices == ("red", "grey", None)
    assert found["deterministic"].choices == (True, False)
    assert found["rate"].choices == found["epochs"].choices == ()
    assert found["seed"].range == "int >= 0, < 2147483648"
    assert found["dropout"].range == "float | None"


def test_hooks_module_and_origin_are_described(tmp_path):
    """Of this plugin alone, in the order of the hookspecs."""
    found = described(tmp_path)
    assert found.hooks == ("mlreg_presets", "mlreg_dataset", "mlreg_model")
    assert (found.kind, found.module) == ("dataset", "flowers_plugin")
    assert found.file == str(tmp_path / "flowers_plugin.py")
    assert found.origin == str(tmp_path / "plugins.toml")


def test_an_extension_is_described(tmp_path):
    """It has hooks, and neither presets nor settings."""
    found = described(tmp_path, name="counting")
    assert (found.kind, found.hooks) == ("extension", ("mlreg_registered",))
    assert (dict(found.presets), found.settings) == ({}, ())


def test_a_broken_plugin_does_not_affect_another(tmp_path):
    """Only the described plugin is imported."""
    settings = write_project(tmp_path, extensions={"broken": "raise RuntimeError"})
    assert describe_plugin(KnownPlugins(settings).load_alone("flowers")).name == "flowers"


def test_an_unknown_plugin_suggests_the_nearest(tmp_path):
    """As `mlreg run` does."""
    with pytest.raises(UsageError) as refused:
        described(tmp_path, name="flower")
    assert "flowers" in refused.value.remedy


@pytest.mark.gate
@pytest.mark.processes
def test_the_command_shows_the_description_as_table_and_json(tmp_path):
    """Names, presets, values and meanings."""
    write_project(tmp_path, DESCRIBED)
    shown = mlreg("plugins", "show", "flowers", cwd=tmp_path)
    assert shown.status == 0, shown.stderr
    for word in ("three passes", "learning_rate", "0.1", "the optimizer's", "mlreg_model"):
        assert word in shown.stdout
    plugin = mlreg("plugins", "show", "flowers", "--json", cwd=tmp_path).json["plugin"]
    assert plugin["presets"]["quick"] == "one pass"
    depth = next(each for each in plugin["settings"] if each["name"] == "depth")
    assert depth == {
        "name": "depth", "type": "int", "values": {"other": 2}, "default": 2, "bounds": {},
        "choices": [], "about": "",
    }  # fmt: skip
    quiet = mlreg("plugins", "show", "flowers", "-q", cwd=tmp_path)
    assert quiet.stdout.split() == ["baseline", "quick", "other"]


@pytest.mark.processes
def test_describing_cifar10_imports_nothing_heavy():
    """Neither TensorFlow nor NumPy; and every setting has a meaning."""
    code = """
import json, sys
from registry_core.cli import run_command
status = run_command(["plugins", "show", "cifar10", "--json"])
heavy = {"tensorflow", "keras", "numpy", "matplotlib"} & set(sys.modules)
sys.exit(status or (f"imported {heavy}" if heavy else 0))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plugin = json.loads(done.stdout)["plugin"]
    assert all(plugin["presets"].values())
    assert [s["name"] for s in plugin["settings"] if not s["about"]] == []


def test_libraries_are_read_once_in_a_process(monkeypatch):
    """A run describes them before and after training, and parsing each one's README takes 2 ms."""
    before = libraries()
    assert before["pytest"] == importlib.metadata.version("pytest")
    monkeypatch.setattr(importlib.metadata, "version", None)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", None)
    assert libraries() == before
