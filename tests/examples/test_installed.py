"""Each example is a package that pip installs and mlreg finds by its entry point."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest
from cli_helpers import mlreg, python

EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES = sorted(file.parent.name for file in EXAMPLES.glob("*/pyproject.toml"))


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.processes
def test_examples_are_found_where_they_are_installed(tmp_path):
    """All of them in one environment; each has all that it needs to be imported."""
    for package in PACKAGES:  # pip writes into the folder that it builds
        shutil.copytree(EXAMPLES / package, tmp_path / "sources" / package)
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    sources = [str(tmp_path / "sources" / package) for package in PACKAGES]
    done = python(*pip, "--target", str(tmp_path / "installed"), *sources, cwd=tmp_path)
    assert done.status == 0, done.stderr
    found = mlreg("plugins", "list", "--json", cwd=tmp_path, PYTHONPATH=str(tmp_path / "installed"))
    listed = {each["name"]: each for each in found.json["plugins"]}
    for package in PACKAGES:
        assert listed[package]["state"] == "ok", listed
        shown = mlreg(
            "plugins", "show", package, cwd=tmp_path, PYTHONPATH=str(tmp_path / "installed")
        )
        assert shown.status == 0, shown.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_an_example_says_what_it_is(package):
    """Its name on the command line, its license, what it needs, and a page about it."""
    project = tomllib.loads((EXAMPLES / package / "pyproject.toml").read_text())["project"]
    (names,) = project["entry-points"].values()
    assert list(names) == [package]
    assert project["name"] == f"mlreg-{package}"
    assert any(need.startswith("mlreg") for need in project["dependencies"])
    assert project["license"] == "Apache-2.0"
    if "readme" in project:
        text = (EXAMPLES / package / project["readme"]).read_text()
        assert text.startswith(f"# mlreg-{package}\n"), text[:80]
