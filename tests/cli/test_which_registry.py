"""Which registry a command works on: it is named where nothing is found, and where it is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_helpers import assert_error, faked, fill, in_turn
from fakes import TABLE_PLUGIN, write_plugin, write_settings

from registry_core.places import registry_place
from registry_core.registry import open_registry
from registry_core.settings import Settings

pytestmark = pytest.mark.processes

# each looks at what is there; none makes a registry
LOOKING = [
    ["list"],
    ["list", "flowers"],
    ["list", "--json"],
    ["show", "flowers@1"],
    ["history"],
    ["compare", "flowers@1", "flowers@2"],
    ["report", "flowers@1"],
    ["runs"],
    ["resume"],
    ["verify"],
    ["gc"],
    ["export", "flowers@1"],
    ["evaluate", "flowers@1"],
    ["reproduce", "flowers@1"],
    ["promote", "flowers@1", "production"],
    ["rollback", "flowers", "production"],
    ["alias", "flowers"],
    ["tag", "flowers@1", "a=b"],
    ["rm", "flowers@1"],
    ["restore", "flowers@1"],
]


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("named_by", ["--registry", "MLREG_HOME"])
def test_a_named_registry_that_is_not_there_is_an_error_of_every_command(tmp_path, named_by):
    """Status 2, with the path and what names it; no folder is made."""
    nowhere = tmp_path / "nowhere"
    option = ["--registry", str(nowhere)] if named_by == "--registry" else []
    variables = {"MLREG_HOME": str(nowhere)} if named_by == "MLREG_HOME" else {}
    for done in in_turn([[*option, *words] for words in LOOKING], **variables):
        assert_error(done, 2, f"No registry in {nowhere}", f"named by {named_by}", "Check it")
        assert f"Try: mlreg {' '.join(option)}".rstrip() in done.stderr
    assert not nowhere.exists()


@pytest.mark.gate
def test_a_folder_of_other_things_and_a_file_are_no_registries(tmp_path):
    """`/etc`, a file, and what lies below one: told in plain words, and left as they are."""
    other, file = tmp_path / "other", tmp_path / "file"
    other.mkdir()
    (other / "passwd").write_text("root")
    file.write_text("")
    for place, said in (
        (other, "is not a registry: it has other files"),
        (file, f"{file} is a file, not the folder of a registry"),
        (file / "below", f"No registry in {file / 'below'}"),
    ):
        for done in in_turn([["--registry", str(place), *words] for words in LOOKING]):
            assert_error(done, 2, said, "named by --registry")
    assert [path.name for path in other.iterdir()] == ["passwd"]


def test_the_first_run_that_is_suggested_is_of_a_plugin_that_is_named_here(tmp_path):
    """That of plugins.toml before the installed ones, and its preset that takes little time."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    write_plugin(tmp_path, "weeds_plugin", "raise SystemExit('broken')")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    write_settings(elsewhere, {"weeds": "weeds_plugin"})
    write_settings(tmp_path, {"flowers": "flowers_plugin"})
    (shown,) = in_turn([["show", "flowers@1"]])
    assert_error(shown, 2, "No registry in", "Try: mlreg run flowers --preset quick")
    (shown,) = in_turn([["show", "weeds@1"]], cwd=elsewhere)
    assert shown.stderr.endswith("Try: mlreg run weeds\n")


def test_the_default_registry_is_named_where_nothing_is_registered_yet(tmp_path):
    """A newcomer's first `mlreg list` is no mistake: a line on stderr, also off a terminal."""
    default = Path(os.environ["HOME"]) / ".local" / "share" / "mlreg"
    lines = [["list"], ["history"], ["runs"]]
    for done, what in zip(in_turn(lines), ("models", "events", "runs"), strict=True):
        assert (done.status, done.stdout) == (0, "")
        assert done.stderr.startswith(f"No {what} in {default} yet (the default, ")
        assert "MLREG_HOME" in done.stderr
    as_json, quiet, show = in_turn([["list", "--json"], ["list", "-q"], ["show", "flowers"]])
    assert as_json.json == {"schema": 1, "registry": str(default), "models": []}
    assert (quiet.status, quiet.stdout, quiet.stderr) == (0, "", "")
    assert_error(show, 2, f"No registry in {default}", "the default")
    assert not default.exists()


def test_the_registry_of_a_plugins_toml_is_named_with_the_file(tmp_path):
    """An empty folder is a registry that nothing is in yet, whoever names it."""
    write_settings(tmp_path, registry="models")
    for made in (False, True):
        if made:
            (tmp_path / "models").mkdir()
        (done,) = in_turn([["list"]])
        assert (done.status, done.stdout) == (0, "")
        named = f"No models in {tmp_path / 'models'} yet (named by {tmp_path / 'plugins.toml'})."
        assert done.stderr.strip() == named
    (done,) = in_turn([["--registry", "models", "list"]])
    assert (done.status, done.stderr.strip()[:9]) == (0, "No models")


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_run_tells_in_which_registry_its_version_is(tmp_path):
    """So that `cd / ; mlreg list`, which looks into another one, is no riddle."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    write_settings(tmp_path, {"flowers": "flowers_plugin"}, registry="models")
    registry = tmp_path / "models"
    done = faked("run", "flowers", "--preset", "quick", cwd=tmp_path)
    assert f"\nRegistry: {registry}\n" in done.stderr
    done = faked("run", "flowers", "--preset", "quick", "--seeds", "2", cwd=tmp_path)
    assert f"\nRegistry: {registry}\n" in done.stderr
    as_json = faked("run", "flowers", "--preset", "quick", "--json", cwd=tmp_path)
    assert as_json.json["registry"] == str(registry)
    assert faked("list", "flowers", "--json", cwd=tmp_path).json["registry"] == str(registry)
    lost = faked("list", cwd=Path("/"))
    assert (lost.status, lost.stdout) == (0, "")
    assert "No models in" in lost.stderr and str(registry) not in lost.stderr


def test_why_a_registry_was_chosen(tmp_path, monkeypatch):
    """The option, MLREG_HOME, plugins.toml, the user's data folder: the first that names one."""
    settings = write_settings(tmp_path, registry="models")
    assert registry_place(tmp_path / "x", settings).named_by == "--registry"
    assert registry_place(None, settings).reason == f"named by {tmp_path / 'plugins.toml'}"
    assert registry_place(None, Settings()).named_by == ""
    monkeypatch.setenv("MLREG_HOME", str(tmp_path / "home"))
    assert registry_place(None, settings).reason == "named by MLREG_HOME"
    fill(tmp_path / "home", 0.5)
    assert open_registry().place.folder == tmp_path / "home"
