"""`mlreg push`, `pull`, `pack` and `unpack`, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import assert_error, forked_mlreg, forked_python, in_turn
from hostile_files import archive, dense, keras_object, members, model, sound
from store_helpers import blob
from transfer_helpers import record

from registry_core.store import Store

# Ctrl-C, while the second version is copied.
INTERRUPTED = """
import itertools, sys
from registry_core.cli import main
from registry_core.store import Store

count, whole = itertools.count(), Store.receive

def receive(*given):
    if next(count):
        raise KeyboardInterrupt
    return whole(*given)

Store.receive = receive
main(sys.argv[1:])
"""

pytestmark = pytest.mark.processes


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A registry with two versions whose models are real files."""
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "mine")
    for seed in (1, 2):
        with store.start_run("flowers") as run:
            files = {"model.keras": sound(run.files / "model.keras")}
            store.publish(run, record(seed=seed), files, lambda _: None)
    return store


def lines(*typed: str):
    return in_turn([line.split() for line in typed], MLREG_HOME="mine")


def test_a_version_is_pushed_pulled_packed_and_unpacked(store):
    """Each says what it did; the second time, that it was done before."""
    first, again, pulled, packed, unpacked, history, shown = lines(
        "push flowers@2 ./theirs",
        "push --all ./theirs",
        "pull flowers@1 ./theirs --name roses",
        "pack --all flowers -o flowers.mlreg",
        "unpack flowers.mlreg -q",
        "history roses",
        "show roses@1",
    )
    theirs = Path("theirs").absolute()
    assert "copied" in first.stdout
    assert first.stdout.endswith(f" copied to {theirs}\n")
    assert again.stdout.endswith(f"copied to {theirs}; 1 was there already\n")
    assert "flowers@1" in pulled.stdout
    assert "roses@1" in pulled.stdout
    assert "2 versions" in packed.stdout
    assert unpacked.stdout == "flowers@1\nflowers@2\n"
    assert "roses@1 was registered, a copy of flowers@2 of registry" in history.stdout
    assert "copy of     flowers@2 of registry" in shown.stdout
    assert Path("flowers.mlreg").is_file()


def test_a_push_counts_the_files_that_it_put_again(store):
    """They were damaged there, so the version was there and something was done nevertheless."""
    lines("push --all ./theirs")
    (first, _) = store.versions("flowers")
    blob(Store(Path("theirs")), first.files[0].sha256).unlink()
    (again,) = lines("push --all ./theirs")
    assert again.stdout.startswith("version")
    assert "was there; put again: model.keras" in again.stdout
    there = f"Nothing copied to {Path('theirs').absolute()}; 2 were there already"
    assert again.stdout.endswith(f"{there}, and 1 file of them was put again\n")


def test_what_is_missing_on_the_command_line_is_asked_for(store):
    """With a command that can be typed as it stands."""
    asked = lines(
        "push flowers@2", "push ./theirs", "push flowers ./theirs", "push flowers@2 nobody",
        "pull ./theirs", "pack -o x.mlreg", "push flowers@2 ./theirs --since 2026-01-01",
        "push --all ./theirs --since yesterday", "unpack nothing.mlreg", "push flowers@9 ./theirs",
    )  # fmt: skip
    for done, words in zip(
        asked,
        (
            "To which registry", "Which versions", "Which version of flowers", "no remote 'nobody'",
            "Which versions", "Which versions", "--since is for --all", "as a date",
            "cannot be read", "no version 9",
        ),
        strict=True,
    ):  # fmt: skip
        assert_error(done, 2, words)
    assert "mlreg push flowers@latest ./theirs" in asked[2].stderr
    assert not Path("theirs").exists()


def test_an_archive_that_is_there_comes_with_the_same_command_for_another_file(store):
    """The versions, models and dates that were typed stay in it."""
    Path("my archive.mlreg").write_bytes(b"something else")
    since = "2026-01-01T00:00:00+00:00"
    told = in_turn(
        [
            ["pack", "flowers@1", "flowers@latest", "-o", "my archive.mlreg"],
            ["pack", "--all", "flowers", "--since", "2026-01-01", "-o", "my archive.mlreg"],
            ["pack", "--all", "-o", "-"],
        ],
        MLREG_HOME="mine",
    )
    for done, words in zip(
        told,
        (
            "mlreg pack flowers@1 flowers@latest -o 'my archive-2.mlreg'",
            f"mlreg pack --all flowers --since {since} -o 'my archive-2.mlreg'",
            f"mlreg pack --all -o {Path.cwd()}/versions.mlreg",
        ),
        strict=True,
    ):
        assert_error(done, 2, f"Try: {words}\n")
    assert Path("my archive.mlreg").read_bytes() == b"something else"


@pytest.mark.gate
def test_a_refused_version_is_named_and_the_others_are_copied(store):
    """Status 9 for code in a file, and 6 for damage, also beside what was refused."""
    with store.start_run("flowers") as run:
        file = run.files / "model.keras"
        hostile = keras_object("Lambda", {"name": "f", "function": "x"})
        archive(file, members(model(dense(), hostile)))
        store.publish(run, record(seed=3), {"model.keras": file}, lambda _: None)
    done = forked_mlreg("push", "--all", "./theirs", MLREG_HOME="mine")
    assert_error(done, 9, "flowers@3 was not copied", shown=done.stdout)
    assert done.stdout.count("copied") == 3, "two lines, and their number"
    assert "refused" in done.stdout
    blob(store, store.versions("flowers")[0].files[0].sha256).unlink()
    done = forked_mlreg("push", "--all", "./theirs", "--json", MLREG_HOME="mine")
    assert done.status == 6
    assert [each["state"] for each in done.json["versions"]] == ["there", "there", "refused"]
    assert done.json["error"]["exit_status"] == 6


@pytest.mark.gate
def test_ctrl_c_says_what_it_leaves(store):
    """Whole versions, which the same command passes over."""
    done = forked_python("-c", INTERRUPTED, "push", "--all", "./theirs", MLREG_HOME="mine")
    assert done.status == 130
    assert "What was copied by then stays" in done.stderr
    done = forked_mlreg("push", "--all", "./theirs", MLREG_HOME="mine")
    assert "1 version" in done.stdout
    assert "1 was there already" in done.stdout


@pytest.mark.gate
def test_a_dry_run_says_what_would_be_copied(store):
    (done,) = lines("push --all ./theirs -n")
    assert "would be copied" in done.stdout
    assert not Path("theirs").exists()
