"""A registry that was copied, moved, mounted read-only, or is read where its plugins are not.

No absolute path is in it, and nothing in it depends on who owns it; what cannot be known without
the plugin is told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from cli_helpers import assert_error, faked, in_turn, stop
from fakes import TABLE_PLUGIN, write_plugin, write_settings

from registry_core.store import Store

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project `here` with two versions, an alias, and a version that was removed."""
    folder = tmp_path_factory.mktemp("made") / "here"
    folder.mkdir()
    write_plugin(folder, "flowers_plugin", TABLE_PLUGIN)
    write_settings(folder, {"flowers": "flowers_plugin"}, registry="models")
    for _ in range(3):
        done = faked("run", "flowers", "--preset", "quick", cwd=folder)
        assert done.status == 0, done.stderr
    for words in (["promote", "flowers@1", "production"], ["rm", "flowers@3"]):
        assert faked(*words, cwd=folder).status == 0
    assert str(folder) not in (folder / "models" / "ledger.jsonl").read_text()
    return folder


@pytest.fixture
def copied(made, tmp_path) -> Path:
    """Another folder with a copy of it, `there`; the project's own is out of reach."""
    shutil.copytree(made, tmp_path / "there")
    return tmp_path / "there"


def assert_works(project: Path) -> None:
    """All that reads and all that writes is done, with what was made before."""
    lines = [
        ["list", "-q"],
        ["show", "flowers@production"],
        ["compare", "flowers@1", "flowers@2"],
        ["export", "flowers@1", "-o", str(project / "model.keras")],
        ["promote", "flowers@2", "production"],
        ["rollback", "flowers", "production"],
        ["tag", "flowers@1", "moved=yes"],
        ["restore", "flowers@3"],
        ["rm", "flowers@3"],
        ["gc", "--older-than", "0", "--yes"],
        ["verify"],
    ]
    for words, done in zip(lines, in_turn(lines, cwd=project), strict=True):
        assert done.status == 0, (words, done.stderr)
    done = faked("run", "flowers", "--preset", "quick", cwd=project)
    assert "Registered flowers@4" in done.stdout, done.stderr
    assert f"Registry: {project / 'models'}" in done.stderr


@pytest.mark.gate
def test_a_registry_that_was_moved_works_in_its_new_place(copied, tmp_path):
    copied.rename(tmp_path / "somewhere else")
    assert_works(tmp_path / "somewhere else")


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    "copy",
    [
        ["cp", "-r"],
        ["bash", "-c", 'umask 077; cp -r --no-preserve=all "$0" "$1"'],
        ["bash", "-c", 'mkdir "$1"; tar c -C "$0" . | (umask 002; tar x --no-same-owner -C "$1")'],
        ["bash", "-c", 'cp -r "$0" "$1"; chmod -R u+rwX,go+rX "$1"'],
    ],
    ids=["cp", "without modes", "tar", "writable objects"],
)
def test_a_copy_works_whatever_became_of_the_modes(made, tmp_path, copy):
    """Objects that may be written are still what their names say."""
    subprocess.run([*copy, str(made), str(tmp_path / "there")], check=True)
    assert_works(tmp_path / "there")


@pytest.mark.gate
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_registry_on_a_read_only_mount_is_read_and_says_why_it_is_not_written(made, tmp_path):
    """As a snapshot, a container's volume or a squashed image is, for root too."""
    place = tmp_path / "mounted"
    place.mkdir()
    bound = subprocess.run(["mount", "--bind", made / "models", place], capture_output=True)
    if bound.returncode:
        reason = bound.stderr.decode(errors="replace")
        warnings.warn(f"a read-only mount is NOT tested: {reason}", stacklevel=1)
        pytest.skip(reason)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        reading = [["list", "-q"], ["show", "flowers@1"], ["runs"], ["verify"], ["history"],
                   ["export", "flowers@1"], ["promote", "flowers@2", "production", "--dry-run"],
                   ["gc", "--dry-run"]]  # fmt: skip
        for done in in_turn([["--registry", str(place), *words] for words in reading]):
            assert done.status == 0, done.stderr
        writing = [["promote", "flowers@2", "production"], ["tag", "flowers@1", "a=b"],
                   ["rm", "flowers@2"], ["restore", "flowers@3"]]  # fmt: skip
        for done in in_turn([["--registry", str(place), *words] for words in writing]):
            said = f"Cannot write to {place}: its file system is mounted read-only."
            assert_error(done, 8, said, "Nothing was changed.", f"findmnt -T {place}")
        done = faked("--registry", str(place), "run", "flowers", cwd=made)
        assert_error(done, 8, "mounted read-only", "Nothing was registered")
        assert "drawn" not in done.stderr
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.gate
def test_a_reader_without_the_plugin_is_told_what_needs_it(copied, tmp_path):
    """Listing, showing, exporting need none; measuring and training again do, and say which."""
    registry = copied / "models"
    package = {"name": "flowers", "module": "flowers", "distribution": "mlreg-flowers 1.0"}
    run = stop(Store(registry), plugins=[package])
    bare = tmp_path / "bare"
    bare.mkdir()
    without = ["--registry", str(registry)]
    lines = [
        ["list"], ["list", "flowers"], ["show", "flowers@1"], ["history"], ["runs"], ["verify"],
        ["compare", "flowers@1", "flowers@2"], ["export", "flowers@1"],
        ["export", "flowers@1", "--format", "figures"], ["alias", "flowers"],
    ]  # fmt: skip
    for done in in_turn([[*without, *words] for words in lines], cwd=bare):
        assert done.status == 0, done.stderr
        assert "Warning" not in done.stderr, done.stderr
    for done in in_turn(
        [[*without, *words] for words in (["evaluate", "flowers@1"], ["reproduce", "flowers@1"])],
        cwd=bare,
    ):
        assert_error(
            done,
            3,
            "flowers@1 needs the plugin 'flowers' (module flowers_plugin), which is not here.",
            "run this in the folder whose plugins.toml names it",
            "Try: mlreg plugins list",
        )
    (done,) = in_turn([[*without, "resume"]], cwd=bare)
    assert_error(done, 3, f"Run {run} needs the plugin 'flowers'", "Install mlreg-flowers 1.0")
