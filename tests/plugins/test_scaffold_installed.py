"""A project of each kind: built, installed, checked, run and promoted, as it comes out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from fresh_environment import FreshEnvironment

from registry_core.plugins.scaffold.projects import KINDS

pytestmark = [pytest.mark.gate, pytest.mark.processes, pytest.mark.tensorflow]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return FreshEnvironment(tmp_path_factory.mktemp("environment"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
def test_a_project_is_checked_run_and_promoted_as_it_comes_out(environment, tmp_path, kind):
    """From an empty folder, with the commands that its README shows."""
    folder = tmp_path / "work"
    folder.mkdir()
    name = f"fresh_{kind}"
    environment.run(
        f"""
        mlreg init
        mlreg plugins new {name} --kind {kind}
        pip install -q -e ./{name}
        """,
        folder,
    )
    listed = json.loads(environment.run("mlreg plugins list --json", folder))["plugins"]
    (row,) = (row for row in listed if row["name"] == name)
    assert (row["state"], row["version"]) == ("ok", "0.1.0")
    environment.run(f"mlreg plugins check {name} --quick --strict", folder)
    environment.run(
        f"""
        mlreg run {name} --preset quick
        mlreg run {name}
        mlreg promote {name}@2 production
        """,
        folder,
    )
    shown = json.loads(environment.run(f"mlreg show {name}@production --json", folder))
    version = shown["version"]
    assert (version["version"], version["dataset"]) == (2, name)
    assert (folder / "registry" / "registry.sqlite3").is_file()
    # every rule of `plugins check`, those that need TensorFlow too
    said = environment.run("pytest -q -p no:cacheprovider", folder / name)
    assert " passed" in said and "failed" not in said


def test_a_wheel_has_the_package_and_nothing_else(environment, tmp_path):
    """And is found by its entry point where it is installed."""
    environment.run(
        """
        mlreg plugins new wheeled --kind table
        pip wheel -q --no-deps -w dist ./wheeled
        pip install -q --no-deps dist/*.whl
        cd /
        mlreg plugins show wheeled
        """,
        tmp_path,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {Path(name).parts[0] for name in archive.namelist()}
    assert tops == {"wheeled", "mlreg_wheeled-0.1.0.dist-info"}
