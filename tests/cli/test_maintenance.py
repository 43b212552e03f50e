"""`mlreg rm`, `restore`, `gc`, `tag` and `alias`, as processes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from cli_helpers import (
    VERSION_KEYS,
    assert_error,
    fill,
    in_turn,
    mlreg,
    newest,
    process_environment,
)

pytestmark = pytest.mark.processes


@pytest.fixture
def store(tmp_path):
    """`flowers` with three versions, none of which holds an alias."""
    return fill(tmp_path / "registry", 0.5, 0.75, 0.625)


@pytest.fixture
def ask(store):
    def ask(*lines: str):
        return in_turn([line.split(" ") for line in lines], MLREG_HOME=str(store.folder))

    return ask


def test_a_removed_version_is_out_of_sight_and_comes_back(ask):
    gone, listed, removed, shown, back, again = ask(
        "rm flowers@2 --reason old",
        "list flowers -q",
        "list flowers --removed --json",
        "show flowers@2",
        "restore flowers 2 --json",
        "list flowers -q",
    )
    assert gone.stdout == "flowers@2 is removed.\n"
    assert listed.stdout.split() == ["flowers@3", "flowers@1"]
    (entry,) = removed.json["removed"]
    assert list(entry["version"]) == VERSION_KEYS
    assert (entry["version"]["ref"], entry["collected"]) == ("flowers@2", "")
    assert_error(shown, 2, "was removed", "mlreg restore flowers@2")
    assert back.json["version"]["ref"] == "flowers@2"
    assert again.stdout.split() == ["flowers@3", "flowers@2", "flowers@1"]


def test_what_is_in_use_is_refused_with_status_9(ask, store):
    store.move_alias(newest(store), "production")
    held, bare, dry = ask("rm flowers@3", "rm flowers", "rm flowers@1 --dry-run")
    assert_error(held, 9, "flowers@3 is production", "mlreg alias flowers production --remove")
    assert_error(bare, 2, "Which version of flowers?", "mlreg rm flowers@latest")
    assert dry.stdout == "flowers@1 would be removed.\n"
    assert len(store.versions("flowers")) == 3


def test_gc_asks_before_anything_goes_for_good(ask, store):
    """Without a terminal there is nobody to ask; --dry-run says what would go."""
    unasked, dry, young, done, after = ask(
        "gc --older-than 0",
        "gc --older-than 0 -n",
        "gc",
        "gc --older-than 0 -y --json",
        "verify --json",
    )
    for answer in (unasked, dry, young):
        assert answer.status == 0
        assert "Nothing to delete" in answer.stdout
    assert done.json["versions"] == []
    store.removals.remove(newest(store), 30)
    unasked, dry, young, done, after = ask(
        "gc --older-than 0",
        "gc --older-than 0 -n",
        "gc",
        "gc --older-than 0 -y --json",
        "verify --json",
    )
    assert_error(unasked, 2, "1 version, 1 file and 24 B", "mlreg gc --older-than 0 --yes")
    assert dry.stdout.splitlines()[0] == "1 version, 1 file and 24 B would be deleted."
    assert young.stdout == "Nothing to delete.\n"
    assert (done.json["versions"], done.json["files"]) == (["flowers@3"], 1)
    assert (after.json["problems"], after.json["orphans"], after.json["versions"]) == ([], 0, 3)


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 2), (b"y\n", 0)])
def test_gc_on_a_terminal_does_what_the_person_says(store, answer, status):
    store.removals.remove(newest(store), 30)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "registry_core", "gc", "--older-than", "0"],
        env=process_environment({"MLREG_HOME": str(store.folder)}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, answer)
    assert process.wait(60) == status
    said = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "Permanently delete 1 version, 1 file and 24 B?" in said
    assert bool(store.removals.of("flowers")[0].collected) == (status == 0)


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    "words", [["--older-than", "-1"], ["--keep-last", "-1"], ["--older-than", "x"]]
)
def test_a_number_that_makes_no_sense_collects_nothing(store, words):
    done = mlreg("gc", "-y", *words, MLREG_HOME=str(store.folder))
    assert_error(done, 2, words[0])


def test_tags_are_shown_literally(store):
    words = ["note=[/red]\x1b[31m\ntwo lines", "reviewed"]
    tagged, shown, listed, found, plain, history = in_turn(
        [
            ["tag", "flowers", "2", *words],
            ["show", "flowers@2", "--json"],
            ["list", "flowers", "--tag", "reviewed", "--json"],
            ["list", "flowers", "--tag", "reviewed=no", "--json"],
            ["list", "flowers"],
            ["history"],
        ],
        MLREG_HOME=str(store.folder),
    )
    for said in (tagged, plain, history):
        assert said.status == 0
        assert "[/red]\\x1b[31m\\ntwo lines" in said.stdout
        assert "\x1b" not in said.stdout
    assert shown.json["tags"] == {"note": words[0].removeprefix("note="), "reviewed": ""}
    assert [version["ref"] for version in listed.json["versions"]] == ["flowers@2"]
    assert listed.json["tags"] == {"flowers@2": shown.json["tags"]}
    assert found.json["versions"] == []


def test_a_tag_that_cannot_be_says_what_can(ask, store):
    store.tag(newest(store), {"owner": "ann"})
    bad, unknown, both, nobody, all_models = ask(
        "tag flowers@3 Owner=x",
        "tag flowers@3 --remove owne",
        "tag flowers@3 owner=x --remove owner",
        "tag flowers owner=x",
        "list --tag owner",
    )
    assert_error(bad, 2, "'Owner'", "[a-z]")
    assert_error(unknown, 2, "Did you mean owner?")
    assert_error(both, 2, "owner", "set and deleted")
    assert_error(nobody, 2)
    assert_error(all_models, 2, "Which model?")


def test_aliases_are_shown_with_who_moved_them_and_released(ask, store):
    first, second, third = reversed(store.versions("flowers"))
    store.move_alias(first, "staging", "to try")
    store.move_alias(second, "production", "the best")
    all_of_them, one, released, back, moved, nothing = ask(
        "alias flowers --json",
        "alias flowers staging -q",
        "alias flowers production --remove --reason recalled",
        "rollback flowers production -q",
        "alias flowers@3 production",
        "alias flowers nope --remove",
    )
    assert [(row["alias"], row["ref"], row["reason"]) for row in all_of_them.json["aliases"]] == [
        ("production", "flowers@2", "the best"),
        ("staging", "flowers@1", "to try"),
    ]
    assert one.stdout == "flowers@1\n"
    assert released.stdout == "flowers@production is deleted; it was flowers@2.\n"
    assert back.stdout == "flowers@2\n"
    assert_error(moved, 2, "moves none", "mlreg promote flowers@3 production")
    assert_error(nothing, 2, "no alias 'nope'")
    assert third.aliases == ()
