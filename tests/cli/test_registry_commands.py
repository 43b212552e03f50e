"""`mlreg list`, `show`, `history`, `promote`, `export` and `plugins list`, as processes."""

import os
import shutil
import subprocess
import sys
from itertools import pairwise

import pytest
from cli_helpers import (
    VERSION_KEYS,
    assert_error,
    damage,
    fill,
    forked_mlreg,
    in_turn,
    newest,
    process_environment,
    python,
    without_roots_rights,
)
from fakes import write_plugin, write_settings

from registry_core.cli import run_command
from registry_core.refs import Ref
from registry_core.store import Store

pytestmark = pytest.mark.processes

OBJECTING = """
from registry_core import Objection, hookimpl


@hookimpl
def mlreg_check_promotion(candidate, incumbent, alias):
    if alias == "production" and candidate.metrics["test_accuracy"] < 0.6:
        return [Objection("accuracy", "0.6 is [bold]needed[/bold]")]
    return []


@hookimpl
def mlreg_promoted(version, alias, previous):
    raise RuntimeError("told of " + version.ref)
"""


@pytest.fixture(scope="module")
def three_versions(tmp_path_factory):
    """`flowers` with three versions, the second the best, the first in production. To be read."""
    store = fill(tmp_path_factory.mktemp("three") / "registry", 0.5, 0.75, 0.625)
    store.move_alias(store.resolve(Ref("flowers", "number", "1")), "production", "the first")
    return store


@pytest.fixture
def store(three_versions, tmp_path):
    """A copy of that registry, to be changed."""
    shutil.copytree(three_versions.folder, tmp_path / "registry")
    return Store(tmp_path / "registry")


@pytest.fixture
def ask(store):
    """Run `mlreg WORDS` on that registry."""
    return lambda *words: forked_mlreg(*words, MLREG_HOME=str(store.folder))


@pytest.fixture
def ask_in_turn(store):
    """Run several command lines on that registry, one after another in one process."""
    return lambda *lines: in_turn(lines, MLREG_HOME=str(store.folder))


def holder(store: Store) -> int | None:
    """The version of `flowers` that is in production."""
    return store.models()[0].aliases.get("production")


# --- what programs read ---------------------------------------------------------------------


@pytest.mark.gate
def test_list_as_json_has_the_models(ask):
    """`list --json` has "models": each one's newest version and aliases."""
    done = ask("list", "--json")
    assert (done.status, done.stderr) == (0, "")
    (model,) = done.json["models"]
    assert done.json == {"schema": 1, "registry": done.json["registry"], "models": [model]}
    assert (model["name"], model["versions"]) == ("flowers", 3)
    assert model["aliases"] == {"production": 1}
    assert model["latest"]["ref"] == "flowers@3"


def test_list_of_a_model_as_json_has_its_versions_newest_first(ask, store):
    """`list NAME --json` has "versions", each with the keys of docs/json.md."""
    done = ask("list", "flowers", "--json")
    assert (done.status, done.stderr) == (0, "")
    assert list(done.json) == ["schema", "registry", "versions", "tags", "groups", "next"]
    versions = done.json["versions"]
    assert [version["version"] for version in versions] == [3, 2, 1]
    assert [version["aliases"] for version in versions] == [[], [], ["production"]]
    for version in versions:
        assert list(version) == VERSION_KEYS
        assert version["ref"] == f"flowers@{version['version']}"
        assert set(version["metrics"]) == {"test_accuracy", "test_loss"}
        assert set(version["seconds"]) == {"data", "fit", "evaluate", "save", "plot"}
        assert [list(file) for file in version["files"]] == [["path", "size", "sha256"]] * 2
    assert versions[0]["digest"] == newest(store).digest


def test_show_as_json_has_the_version(ask, store):
    """`show REF --json` has "version", and what its manifest keeps beside it."""
    done = ask("show", "flowers@2", "--json")
    assert (done.status, done.stderr) == (0, "")
    assert done.json["schema"] == 1
    assert list(done.json["version"]) == VERSION_KEYS
    assert done.json["version"] == store.resolve(Ref("flowers", "number", "2")).to_json()
    assert done.json["manifest"]["config"] == {"epochs": 3}


def test_promote_as_json_has_alias_version_and_previous(ask, store):
    """`promote --json` says which version holds the alias now, and which one held it before."""
    done = ask("promote", "flowers@2", "production", "--json")
    assert done.status == 0
    assert list(done.json) == [
        "schema", "alias", "version", "previous", "changed", "rules", "warnings", "decision",
        "dry_run",
    ]  # fmt: skip
    assert done.json["alias"] == "production"
    assert list(done.json["version"]) == list(done.json["previous"]) == VERSION_KEYS
    assert done.json["version"]["ref"] == "flowers@2"
    assert done.json["version"]["aliases"] == ["production"]
    assert done.json["previous"]["ref"] == "flowers@1"
    assert done.json["previous"]["aliases"] == []
    assert holder(store) == 2
    first = ask("promote", "flowers@2", "staging", "--json")
    assert first.json["previous"] is None


def test_history_as_json_has_every_row_newest_first(ask):
    """A chain that a program can verify: each row names the digest of the one before."""
    done = ask("history", "--json")
    rows = done.json["history"]
    assert [row["action"] for row in rows] == ["promoted", *["registered"] * 3]
    assert [row["number"] for row in rows] == [4, 3, 2, 1]
    for later, earlier in pairwise(rows):
        assert later["previous_digest"] == earlier["digest"]
    assert (rows[0]["alias"], rows[0]["version"], rows[0]["reason"]) == (
        "production", 1, "the first",
    )  # fmt: skip


def test_quiet_prints_references_alone(ask_in_turn):
    """Nothing else on stdout: made for `$(…)`."""
    told = ask_in_turn(
        ["list", "-q"],
        ["list", "flowers", "-q"],
        ["show", "flowers@best", "-q"],
        ["promote", "flowers", "3", "staging", "-q"],
        ["list", "flowers", "--limit", "1", "-q"],
    )
    assert [done.stdout.split() for done in told] == [
        ["flowers"],
        ["flowers@3", "flowers@2", "flowers@1"],
        ["flowers@2"],
        ["flowers@3"],
        ["flowers@3"],
    ]


def test_limit_keeps_the_newest(ask):
    """`--limit` counts from the newest row."""
    numbers = [row["number"] for row in ask("history", "--limit", "2", "--json").json["history"]]
    assert numbers == [4, 3]


# --- references -----------------------------------------------------------------------------


def test_a_version_is_named_in_one_word_or_two(three_versions):
    """Every selector of the grammar leads to its version, after an @ or as a word of its own."""
    digest = three_versions.resolve(Ref("flowers", "number", "2")).digest
    expected = {
        "flowers": 3,
        "flowers@latest": 3,
        "flowers@best": 2,
        "flowers@production": 1,
        "flowers@2": 2,
        "flowers@v2": 2,
        f"flowers@sha256:{digest[:12]}": 2,
        "flowers latest": 3,
        "flowers best": 2,
        "flowers production": 1,
        "flowers 2": 2,
        "flowers v2": 2,
        f"flowers sha256:{digest}": 2,
    }
    lines = [["show", *reference.split(), "-q"] for reference in expected]
    told = in_turn(lines, MLREG_HOME=str(three_versions.folder))
    found = dict(zip(expected, (done.stdout for done in told), strict=True))
    assert found == {reference: f"flowers@{n}\n" for reference, n in expected.items()}


def test_what_is_not_there_is_told_with_what_is_near(three_versions):
    """Status 2, the nearest names, and nothing written."""
    expected = [
        (["show", "flower"], ["'flower'", "Did you mean flowers?"]),
        (["list", "flower"], ["'flower'", "Did you mean flowers?"]),
        (["history", "flower"], ["'flower'", "Did you mean flowers?"]),
        (["show", "flowers@9"], ["version 9", "flowers@3, flowers@2, flowers@1"]),
        (["show", "flowers@producton"], ["'producton'", "Did you mean production?"]),
        (["history", "flowers@producton"], ["'producton'", "Did you mean production?"]),
        (["export", "flowers@9"], ["version 9", "flowers@3"]),
        (["promote", "flower@1", "production"], ["'flower'", "Did you mean flowers?"]),
        (["promote", "flowers@9", "production"], ["version 9", "flowers@3"]),
        (["promote", "flowers@producton", "staging"], ["'producton'", "production"]),
        (["show", "flowers@sha256:00000000"], ["00000000"]),
        (["promote", "flowers", "production"], ["mlreg promote flowers@3 production"]),
        (["list", "flowers@1"], ["'flowers@1'"]),
    ]
    told = in_turn([words for words, _ in expected], MLREG_HOME=str(three_versions.folder))
    for (_, named), done in zip(expected, told, strict=True):
        assert_error(done, 2, *named)
    assert len(three_versions.ledger()) == 4


# --- tables ---------------------------------------------------------------------------------


def test_tables_show_what_people_look_for(ask_in_turn):
    """Numbers, aliases, metrics; no hint and no escape sequence where there is no terminal."""
    models, versions, version, history = ask_in_turn(
        ["list"], ["list", "flowers"], ["show", "flowers@1"], ["history", "flowers"]
    )
    for done in (models, versions, version, history):
        assert (done.status, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout
    assert "flowers@3" in models.stdout
    assert "production=1" in models.stdout
    assert [line.split()[0] for line in versions.stdout.splitlines()[1:]] == [
        "flowers@3", "flowers@2", "flowers@1",
    ]  # fmt: skip
    head, *rows = versions.stdout.splitlines()
    assert [row[head.index("accuracy") :].split()[0] for row in rows][1] == "0.7500"
    assert "model.keras" in version.stdout
    assert "flowers@1 became production" in history.stdout
    assert "the first" in history.stdout


def test_an_empty_registry_lists_nothing_and_is_not_made(tmp_path):
    """Looking makes no folder."""
    write_settings(tmp_path, registry="none")
    done = forked_mlreg("list")
    assert (done.status, done.stdout) == (0, "")
    assert not (tmp_path / "none").exists()
    refused = forked_mlreg(
        "--registry", str(tmp_path / "none"), "promote", "flowers@1", "production"
    )
    assert_error(refused, 2, "No registry in")
    assert not (tmp_path / "none").exists()


def test_a_reason_is_shown_literally(ask, store):
    """Markup, escape sequences and newlines in a reason neither colour nor break a line."""
    reason = "[/red][bold]loud[/bold] \x1b[31mred\nnext \u202eback"
    assert ask("promote", "flowers@2", "production", "--reason", reason).status == 0
    done = ask("history", "flowers@production", "--limit", "1")
    assert len(done.stdout.splitlines()) == 2  # the head and one row
    assert r"[/red][bold]loud[/bold] \x1b[31mred\nnext \u202eback" in done.stdout
    assert store.ledger(limit=1)[0].reason == reason


@pytest.mark.gate
def test_a_reason_that_is_no_unicode_is_kept_and_shown(store):
    """A byte that is not UTF-8 reaches ledger and screen as an escape."""
    mlreg_words = [sys.executable, "-m", "registry_core", "--registry", str(store.folder)]
    for words in (["promote", "flowers", "2", "staging", "--reason", b"a \xff b"], ["history"]):
        done = subprocess.run(
            [*mlreg_words, *words], env=process_environment({}), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert r"a \udcff b" in done.stdout


# --- promotion ------------------------------------------------------------------------------


def test_promotion_moves_the_alias_and_writes_a_row(ask, store):
    """Where it was, where it is, why: on screen and in the ledger."""
    done = ask("promote", "flowers", "2", "production", "--reason", "better by a quarter")
    assert done.status == 0
    assert done.stdout.endswith("flowers@production is now flowers@2 (before: flowers@1)\n")
    assert holder(store) == 2
    row = store.ledger(limit=1)[0]
    assert (row.action, row.version, row.alias, row.previous, row.reason) == (
        "promoted", 2, "production", 1, "better by a quarter",
    )  # fmt: skip
    store.verify_ledger()


def test_promotion_without_the_dataset_plugin_warns_and_goes_on(ask, store):
    """Whoever answers for production need not have every plugin."""
    done = ask("promote", "flowers@3", "production")
    assert done.status == 0
    elsewhere, missing = done.stderr.splitlines()
    assert missing.startswith("Warning: The plugin 'nowhere' is not installed here")
    assert elsewhere.startswith("No plugins.toml here")
    assert holder(store) == 3


def test_dry_run_moves_nothing(ask, store):
    """It decides, says so, and leaves alias and ledger as they are."""
    done = ask("promote", "flowers@2", "production", "--dry-run")
    assert done.stdout.endswith("flowers@production would be flowers@2 (before: flowers@1)\n")
    assert holder(store) == 1
    assert len(store.ledger()) == 4


@pytest.mark.gate
def test_an_objection_refuses_and_a_reason_overrules(store, tmp_path):
    """9 and a ledger row; --force alone is 2; with a reason it goes through, and that is kept."""
    write_plugin(tmp_path, "strict_extension", OBJECTING)
    write_settings(tmp_path, extensions={"strict": "strict_extension"}, registry="registry")
    fill(store.folder, 0.4)
    promote = ["promote", "flowers@4", "production"]

    said = "accuracy: 0.6 is [bold]needed[/bold]"
    assert_error(forked_mlreg(*promote, "--dry-run", "-q"), 9, said)
    assert len(store.ledger()) == 5
    assert_error(
        forked_mlreg(*promote), 9, "Not promoted: 1 of 1 check failed.", "flowers@1 still holds",
        "--force --reason", shown="0.6 is [bold]needed[/bold]",
    )  # fmt: skip
    assert holder(store) == 1
    refusal = store.ledger(limit=1)[0]
    assert (refusal.action, refusal.version, refusal.alias) == ("refused", 4, "production")
    assert refusal.evidence["checks"] == [
        {
            "name": "accuracy",
            "passed": False,
            "found": "0.6 is [bold]needed[/bold]",
            "source": "plugin strict",
        }
    ]

    assert_error(forked_mlreg(*promote, "--force"), 2, "needs a reason", "--reason")
    assert_error(forked_mlreg(*promote, "--force", "--reason", "  "), 2, "needs a reason")
    assert holder(store) == 1
    assert len(store.ledger()) == 6

    forced = forked_mlreg(*promote, "--force", "--reason", "the demonstration is tonight")
    assert forced.status == 0
    assert "Overruled by --force: 1 failed check" in forced.stdout
    assert holder(store) == 4
    row = store.ledger(limit=1)[0]
    assert (row.action, row.reason) == ("promoted", "the demonstration is tonight")
    assert row.evidence["forced"] is True
    assert "told of flowers@4" in forced.stderr  # mlreg_promoted raised: a warning, no more
    history = forked_mlreg("history", "flowers@production").stdout
    assert "flowers@4 was refused as production" in history
    assert "0.6 is [bold]needed[/bold] (overruled)" in history


def test_a_check_that_fails_to_run_is_not_one_that_passed(store, tmp_path):
    """3, naming plugin, hook, file and line; the alias stays."""
    write_plugin(tmp_path, "strict_extension", OBJECTING.replace('["test_accuracy"]', '["f1"]'))
    write_settings(tmp_path, extensions={"strict": "strict_extension"}, registry="registry")
    done = forked_mlreg("promote", "flowers@2", "production")
    assert_error(done, 3, "strict", "mlreg_check_promotion", "strict_extension.py, line 7")
    assert holder(store) == 1


# --- what an alias asks for, and the way back -------------------------------------------------

RULE = """
[promotion.production]
floor = { test_accuracy = 0.65 }
versus_incumbent = "off"
"""


@pytest.mark.gate
def test_a_rule_in_plugins_toml_decides_and_the_way_back_is_told(store, tmp_path):
    """Refused below the floor, moved above it, rolled back; and the ledger tells the story."""
    write_settings(tmp_path, registry="registry")
    settings = tmp_path / "plugins.toml"
    settings.write_text(settings.read_text() + RULE)
    fill(store.folder, 0.4)

    refused = forked_mlreg("promote", "flowers@4", "production")
    assert_error(refused, 9, "Not promoted: 1 of 1 check failed.", shown="0.4000")
    as_json = forked_mlreg("promote", "flowers@4", "production", "--json")
    (check,) = as_json.json["decision"]["checks"]
    assert (as_json.status, check["passed"]) == (9, False)
    assert holder(store) == 1

    moved = forked_mlreg("promote", "flowers@2", "production")
    assert moved.status == 0
    assert "passed   test_accuracy at least 0.65" in moved.stdout
    back = forked_mlreg("rollback", "flowers", "production", "--reason", "odd answers", "--json")
    assert (back.status, back.json["version"]["ref"]) == (0, "flowers@1")
    assert back.json["previous"]["ref"] == "flowers@2"
    assert holder(store) == 1
    assert_error(
        forked_mlreg("rollback", "flowers", "production"), 2, "flowers@1 was the first",
        "mlreg promote flowers@2 production",
    )  # fmt: skip

    told = forked_mlreg("history", "flowers@production").stdout
    for line in (
        "production went back to flowers@1 (before: 2)",
        "flowers@2 became production (before: 1)",
        "flowers@4 was refused as production",
    ):
        assert line in told


def test_who_held_an_alias_then_can_be_asked(ask):
    """A day means its end; a time without a zone is UTC; before the first promotion, nobody."""
    then = ask("history", "flowers@production", "--at", "2020-05-03")
    assert then.stdout == ("flowers@production was on no version at 2020-05-03 23:59:59 UTC\n")
    later = ask("history", "flowers@production", "--at", "2999-01-01T10:00", "--json")
    assert later.json["version"]["ref"] == "flowers@1"
    assert_error(
        ask("history", "flowers@production", "--at", "May"), 2, "Cannot read 'May' as a date"
    )
    assert_error(ask("history", "flowers", "--at", "2020-05-03"), 2, "needs an alias")


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("versus_incumbent = 'best'", "must be one of not-worse, better, off"),
        ("alpha = 2", "must be a number between 0 and 1"),
        ("margin = -1", "must be a number, 0 or more"),
        ("floor = 3", "must be a table of metrics and numbers"),
        ("requires = 'staging'", "must be a list of aliases"),
        ("flor = {}", "Did you mean 'floor'?"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_line(store, tmp_path, rule, why):
    """2, with line and column; nothing is promoted by a rule that was not understood."""
    (tmp_path / "plugins.toml").write_text(f"[promotion.production]\n{rule}\n")
    done = forked_mlreg("--registry", str(store.folder), "promote", "flowers@2", "production")
    assert_error(done, 2, "line 2, column 1", why)


def test_compare_shows_what_differs(ask):
    """Metrics of each; and why there is no test where no answers are recorded."""
    done = ask("compare", "flowers@1", "flowers@2")
    assert done.status == 0
    assert "test_accuracy" in done.stdout
    assert "flowers@2 against flowers@1: not compared" in done.stdout
    as_json = ask("compare", "flowers@1", "flowers@2", "flowers@3", "--json")
    assert as_json.json["versions"] == ["flowers@1", "flowers@2", "flowers@3"]
    assert_error(ask("compare", "flowers@1"), 2, "only one version to compare")


def test_compare_shows_the_groups_of_versions_that_were_made_together(ask, store):
    """Each metric's n, mean, deviation and interval; and between groups Welch's test."""
    fill(store.folder, 0.70, 0.74, 0.72, group="one")
    fill(store.folder, 0.78, 0.75, 0.79, group="two")
    lines = ask("compare", "flowers@4", "flowers@7", "flowers@1").stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("group "))
    shown = [" ".join(line.split()) for line in lines[at:]]
    assert shown == [
        "group metric n mean deviation 95 % interval of the mean",
        "flowers@4 … flowers@6 test_accuracy 3 0.7200 0.0200 0.6703 to 0.7697",
        "test_loss 3 0.25 0 0.25 to 0.25",
        "flowers@7 … flowers@9 test_accuracy 3 0.7733 0.0208 0.7216 to 0.8250",
        "test_loss 3 0.25 0 0.25 to 0.25",
        "flowers@1 test_accuracy 1 0.5000",
        "test_loss 1 0.25",
        "",
        "flowers@7 … flowers@9 against flowers@4 … flowers@6, by their means:",
        "test_accuracy +0.0533, 95 % interval +0.0070 to +0.0996, p = 0.033 "
        "(Welch, 4.0 degrees of freedom)",
        "test_loss +0, without an interval: neither side varies",
        "",
        "flowers@1 against flowers@4 … flowers@6, by their means:",
        "test_accuracy -0.2200, without an interval: a single run has no standard deviation",
        "test_loss +0, without an interval: a single run has no standard deviation",
    ]


@pytest.mark.gate
def test_list_and_show_tell_which_versions_were_made_together(ask, store):
    """A column and a line that are there where they say something; and in JSON."""
    assert "group" not in ask("list", "flowers").stdout
    assert "made together" not in ask("show", "flowers@3").stdout
    fill(store.folder, 0.70, 0.74, 0.72, group="one")
    fill(store.folder, 0.6)
    store.removals.remove(store.resolve(Ref("flowers", "number", "5")), 0)
    head, *rows = ask("list", "flowers", "--limit", "3").stdout.splitlines()
    assert head.split()[-1] == "group"
    assert [row[head.index("group") :] for row in rows] == ["", "4, 6", "4, 6"]
    listed = ask("list", "flowers", "--json").json
    assert listed["groups"] == {"flowers@6": "one", "flowers@4": "one"}
    shown = ask("show", "flowers@6").stdout
    assert "made together with flowers@4" in shown
    assert "test_accuracy 0.7100 ± 0.0141, test_loss 0.25 ± 0, n = 2" in shown
    assert ask("show", "flowers@6", "--json").json["together"] == ["flowers@4", "flowers@6"]
    assert ask("show", "flowers@7", "--json").json["together"] == ["flowers@7"]


def test_verify_reads_everything_and_names_what_is_damaged(ask, store):
    """0 and the ledger's head; 6 and each thing that is not as it was written."""
    sound = ask("verify")
    assert sound.status == 0
    assert "OK: nothing is damaged." in sound.stdout
    assert store.ledger(limit=1)[0].digest in sound.stdout
    damage(store, newest(store))
    done = ask("verify", "--json")
    assert done.status == 6
    assert len(done.json["problems"]) == 1
    assert "model.keras" in done.json["problems"][0]


def test_verify_of_a_registry_that_is_not_there_is_wrong_usage(tmp_path):
    """A path with a slip in it is not a registry in order."""
    done = forked_mlreg("--registry", str(tmp_path / "registri"), "verify")
    assert_error(done, 2, "No registry in", "registri")


# --- damage ---------------------------------------------------------------------------------


def test_a_damaged_version_is_listed_and_neither_promoted_nor_exported(ask_in_turn, store):
    """`list` marks it and is 0; `promote` and `export` are 6, and nothing has changed."""
    damage(store, store.resolve(Ref("flowers", "number", "2")))
    models, listed, *refused, whole = ask_in_turn(
        ["list"],
        ["list", "flowers"],
        ["promote", "flowers@2", "production"],
        ["promote", "flowers@2", "production", "--dry-run"],
        ["export", "flowers@2"],
        ["export", "flowers@2", "--format", "h5"],
        ["show", "flowers@3"],
    )
    assert (models.status, listed.status, whole.status) == (0, 0, 0)
    (marked,) = [line for line in listed.stdout.splitlines() if "damaged" in line]
    assert marked.startswith("flowers@2  damaged")
    assert "Warning: flowers@2 is damaged: model.keras has" in listed.stderr
    for done in refused:
        assert_error(done, 6, "model.keras of flowers@2 is damaged", "should have sha256")
    assert holder(store) == 1
    assert len(store.ledger()) == 4
    assert {path.name for path in store.folder.parent.iterdir()} == {"registry"}


def test_a_damaged_manifest_is_marked_and_not_shown(ask, store):
    """6 before anything of it is parsed."""
    version = newest(store)
    blob = store.folder / "objects" / "sha256" / version.digest[:2] / version.digest
    blob.chmod(0o600)
    blob.write_bytes(b"{}")
    assert "the manifest is damaged" in ask("list", "flowers").stderr
    assert_error(ask("show", "flowers@3"), 6, "The manifest of flowers@3", version.digest)


def test_a_damaged_index_is_named_and_left_alone(ask, store):
    """6, the file untouched, and where the models still are."""
    index = store.folder / "registry.sqlite3"
    broken = bytes(100) + index.read_bytes()[100:]
    index.write_bytes(broken)
    assert_error(ask("list"), 6, str(index), str(store.folder / "objects"))
    assert index.read_bytes() == broken


# --- export ---------------------------------------------------------------------------------


def test_export_writes_the_registered_bytes(ask, store, tmp_path):
    """Under a name of its own, or where -o says; without TensorFlow for .keras and figures."""
    assert ask("export", "flowers@2").stdout == "Wrote flowers@2 to flowers-2.keras\n"
    assert (tmp_path / "flowers-2.keras").read_bytes() == b"weights of flowers 0.75"
    told = ask("export", "flowers", "1", "--format", "figures", "-o", "out", "--json").json
    found = {"version": "flowers@1", "format": "figures", "path": "out", "check": None}
    assert told == {"schema": 1, **found}
    assert (tmp_path / "out" / "loss.png").read_bytes() == b"a figure"
    assert ask("export", "flowers@3", "-o", "é 🙂.keras", "-q").stdout == "é 🙂.keras\n"


def test_export_replaces_nothing_unless_it_is_told_to(ask_in_turn, tmp_path):
    """A file needs --overwrite, a folder is never replaced, an unknown format is named."""
    (tmp_path / "here.keras").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    figures = ["export", "flowers@1", "--format", "figures", "--overwrite", "-o"]
    expected = [
        (["export", "flowers@1", "-o", "here.keras"], ["exists", "--overwrite"]),
        (["export", "flowers@1", "--format", "keras", "-o", "folder"], ["is a folder"]),
        ([*figures, "full"], ["is a folder that is not empty"]),
        ([*figures, "here.keras"], ["would not be a figures export", "Leave out --format"]),
        (["export", "flowers@1", "-o", "no/where.keras"], ["The folder no does not exist"]),
        (["export", "flowers@1", "--format", "torch"], ["'torch'", "savedmodel"]),
    ]
    told = ask_in_turn(*[words for words, _ in expected])
    for (_, named), done in zip(expected, told, strict=True):
        assert_error(done, 2, *named)
    assert (tmp_path / "here.keras").read_text() == "mine"
    assert (tmp_path / "full" / "mine").read_text() == "mine"

    told = ask_in_turn(
        ["export", "flowers@1", "-o", "here.keras", "--overwrite"],
        [*figures, "folder"],  # which is empty, so nothing is lost
    )
    assert [done.status for done in told] == [0, 0]
    assert (tmp_path / "here.keras").read_bytes() == b"weights of flowers 0.5"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["loss.png"]


@pytest.mark.skipif(not os.access("/proc", os.R_OK), reason="there is no /proc")
def test_export_to_where_nothing_can_be_written_is_a_storage_error(ask):
    """8, naming the place."""
    assert_error(ask("export", "flowers@1", "-o", "/proc/model.keras"), 8, "/proc")


# --- which registry -------------------------------------------------------------------------


def test_the_registry_is_the_first_that_is_named(tmp_path, monkeypatch):
    """--registry, then MLREG_HOME, then plugins.toml beside or above, then the user's own."""
    for place in ("option", "home", "project/settings", "data/mlreg"):
        fill(tmp_path / place, 0.5, model=place.partition("/")[0])
    below = tmp_path / "project" / "src" / "deep"
    below.mkdir(parents=True)
    home, data = {"MLREG_HOME": str(tmp_path / "home")}, {"XDG_DATA_HOME": str(tmp_path / "data")}

    def listed(*words, **environment):
        return forked_mlreg(*words, "list", "-q", cwd=below, **environment).stdout.strip()

    assert listed(**data) == "data"
    write_settings(tmp_path / "project", registry="settings")
    assert listed(**data) == "project"
    assert listed(**home, **data) == "home"
    assert listed("--registry", str(tmp_path / "option"), **home, **data) == "option"
    assert listed("--registry", "../../../option", **home) == "option"


def test_a_copied_registry_is_the_same_registry(store, tmp_path):
    """No absolute path is stored."""
    shutil.copytree(store.folder, tmp_path / "copy")
    shutil.rmtree(store.folder)
    copy = ["--registry", str(tmp_path / "copy")]
    assert forked_mlreg(*copy, "promote", "flowers@2", "production").status == 0
    assert forked_mlreg(*copy, "export", "flowers@production").status == 0


def test_a_home_with_spaces_accents_and_an_emoji(tmp_path):
    """The user's own registry works there, whatever the folder is called."""
    home = tmp_path / "Zoë Müller 🙂 100% #1?"
    home.mkdir()
    fill(home / ".local" / "share" / "mlreg", 0.5)
    lines = [["list"], ["show", "flowers"], ["promote", "flowers@1", "production"]]
    for done in in_turn(lines, HOME=str(home)):
        assert done.status == 0, done.stderr
        assert "flowers@1" in done.stdout
    failed = forked_mlreg("--registry", str(home / "x"), "show", "flowers", HOME=str(home))
    assert_error(failed, 2, "No registry in", "#1?/x")


@pytest.mark.gate
def test_a_read_only_registry_is_listed_and_refuses_to_change(store):
    """Reading needs no right to write; promoting is 8, and nothing has moved."""
    bound = without_roots_rights()
    folders = [store.folder, *(path for path in store.folder.rglob("*") if path.is_dir())]
    (store.folder / "registry.sqlite3").chmod(0o400)
    for folder in folders:
        folder.chmod(0o500)

    def ask(*words):
        done = subprocess.run(
            [*bound, sys.executable, "-m", "registry_core", "--registry", store.folder, *words],
            env=process_environment({}),
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    try:
        assert ask("list", "-q") == (0, "flowers\n")
        assert ask("list", "flowers", "-q")[0] == 0
        assert ask("show", "flowers@1")[0] == 0
        assert ask("history")[0] == 0
        status, said = ask("promote", "flowers@2", "production")
        assert status == 8, said
        assert str(store.folder) in said
        assert "Traceback" not in said
        assert holder(store) == 1
    finally:
        for folder in folders:
            folder.chmod(0o700)


# --- names ----------------------------------------------------------------------------------

BAD_NAMES = [
    "../x", "/etc", "a%2Fb", "CON", "", "a" * 300, "\u202eabc", "a\0b", "-x", "a b", "a\n", "é",
]  # fmt: skip


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_bad_name_is_refused_and_nothing_is_written(store, capfd, name):
    """2 from every command that takes a name, what a name can be, not one byte written.

    In this process, because no process can be given a name with a NUL in it.
    """
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
    bad_model = [
        ["list", name],
        ["show", name],
        ["history", name],
        ["export", name],
        ["promote", f"{name}@1", "production"],
        ["promote", "flowers@1", name],
        ["run", "cifar10", "--name", name],
        ["import", "cifar10", "model.keras", "--name", name],
        ["rollback", name, "production"],
        ["rollback", "flowers", name],
        ["compare", name, "flowers@1"],
        ["alias", name],
        ["alias", "flowers", name],
        ["alias", "flowers", name, "--remove"],
        ["tag", f"{name}@1", "reviewed"],
        ["rm", f"{name}@1"],
        ["restore", f"{name}@1"],
    ]
    for words in bad_model:
        assert run_command(["--registry", str(store.folder), *words]) == 2, words
        said = capfd.readouterr()
        assert not said.out
        assert "\u202e" not in said.err
        assert "\0" not in said.err
        if not name.startswith("-"):  # which is taken for an option
            assert "a-z first" in said.err or "MODEL@VERSION" in said.err, words
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")} == before


# --- errors and streams ---------------------------------------------------------------------


def test_an_error_is_three_lines_and_a_traceback_is_asked_for(ask):
    """What happened, what would work, what to type; --traceback puts the way there before it."""
    plain = ask("show", "flower")
    assert plain.stderr.splitlines() == [
        "Error: There is no model 'flower'.",
        "Models: flowers. Did you mean flowers?",
        "Try: mlreg list",
    ]
    traced = ask("--traceback", "show", "flower")
    assert (traced.status, traced.stdout) == (2, "")
    assert traced.stderr.startswith("Traceback (most recent call last):")
    assert traced.stderr.endswith(plain.stderr)


def test_a_wrong_command_line_is_told_in_our_words():
    """2, what was wrong, and the help page to ask for."""
    expected = [
        (["lst"], ["'lst'", "Try: mlreg list"]),
        (["list", "--jsn"], ["'--jsn'", "Did you mean --json?", "Try: mlreg list --json"]),
        (["list", "--limit", "many"], ["many", "Try: mlreg list --help"]),
        (["list", "--limit", "0"], ["--limit", "Try: mlreg list --help"]),
        (["list", "a", "b"], ["b", "Try: mlreg list --help"]),
        (["show"], ["Missing argument", "Try: mlreg show --help"]),
        (["show", "a", "b", "c"], ["Too many words: 'c'"]),
        (["plugins"], ["needs a command", "list", "Try: mlreg plugins --help"]),
        (["data"], ["needs a command", "fetch", "Try: mlreg data --help"]),
        (["--registry"], ["'--registry' needs a value", "Try: mlreg --help"]),
        (["run", "a", "--tensorboard"], ["'--tensorboard' needs a value", "mlreg run --help"]),
        (["export", "a@1", "--as", "onnx"], ["no option '--as'", "Try: mlreg export --help"]),
    ]
    assert_error(forked_mlreg(*expected[0][0]), 2, *expected[0][1])
    for (_, named), done in zip(expected, in_turn([words for words, _ in expected]), strict=True):
        assert_error(done, 2, *named)


def test_mlreg_alone_shows_what_it_can_do():
    """The help page, on stdout, with every command."""
    done = forked_mlreg()
    assert (done.status, done.stderr) == (0, "")
    for command in ("run", "list", "show", "history", "promote", "export", "plugins", "data"):
        assert f"\n  {command} " in done.stdout
    assert forked_mlreg("--version").stdout.count(".") == 2


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [(["list"], ""), (["list"], "1"), (["list", "flowers", "--json"], "1"), (["--help"], "")],
)
def test_a_reader_that_has_seen_enough_is_no_error(three_versions, words, unbuffered):
    """`mlreg list | head -1`: quiet, 0, whether the pipe breaks in the middle or at the end."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "registry_core", "--registry", three_versions.folder, *words],
        env=process_environment({"PYTHONUNBUFFERED": unbuffered}),
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_log_that_nobody_reads_any_longer_stops_nothing(store):
    """A warning into a closed pipe costs neither the promotion nor what goes to stdout."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "registry_core", "promote", "flowers@2", "production", "-q"],
        env=process_environment({"MLREG_HOME": str(store.folder)}),
        stdout=subprocess.PIPE,
        stderr=write,
        text=True,
    )
    os.close(write)
    assert (done.returncode, done.stdout) == (0, "flowers@2\n")
    assert holder(store) == 2


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(store, closed):
    """A service manager may start mlreg without stdout."""
    line = f'exec "$0" -m registry_core --registry "$1" list {closed}'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, store.folder],
        env=process_environment({}),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
def test_a_full_disk_behind_stdout_is_a_storage_error(store):
    """`mlreg list > file` on a full disk says so, with 8."""
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "registry_core", "--registry", store.folder, "list"],
            env=process_environment({}),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 8
    assert "full" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_console_script_is_the_same_program(ask):
    """`mlreg` and `python -m registry_core` have one entry."""
    code = "import sys; from registry_core.cli import main; main(['list', '-q'])"
    assert python("-c", code).status == 0


# --- plugins --------------------------------------------------------------------------------


def test_plugins_are_listed_without_being_imported(tmp_path):
    """A module that is missing is marked and warned of, one that would fail is not touched."""
    write_plugin(tmp_path, "explosive", "raise SystemExit('imported')")
    write_settings(tmp_path, {"flowers": "explosive", "weeds": "weeds_plugin"}, {"late": "gone"})
    done = forked_mlreg("plugins", "list", "--json")
    assert done.status == 0
    plugins = {plugin["name"]: plugin for plugin in done.json["plugins"]}
    assert list(plugins["flowers"]) == [
        "name", "kind", "distribution", "version", "module", "named_by", "state",
    ]  # fmt: skip
    assert plugins["flowers"]["state"] == "ok"
    assert plugins["flowers"]["named_by"] == str(tmp_path / "plugins.toml")
    assert (plugins["weeds"]["state"], plugins["weeds"]["kind"]) == ("missing", "dataset")
    assert (plugins["late"]["state"], plugins["late"]["kind"]) == ("missing", "extension")
    assert "Warning: Plugin 'weeds' cannot run: no module 'weeds_plugin'" in done.stderr
    assert "Warning: Plugin 'late' cannot run" in done.stderr
    assert {"flowers", "late", "weeds"} <= set(forked_mlreg("plugins", "list", "-q").stdout.split())
    table = forked_mlreg("plugins", "list")
    assert "weeds_plugin" in table.stdout
    assert "\x1b" not in table.stdout + table.stderr


@pytest.mark.exhaustive(keep=3)
@pytest.mark.gate(keep=2)
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"[plugins]\nflowers = \n", "line 2, column 11"),
        (b"[plugins]\nflowers = 'caf\xe9'\n", "line 2, column 15"),
        (b"[registry]\npaht = 'x'\n", "line 2, column 1"),
        (b"\n[plugin]\n", "line 2, column 2"),
        (b"[plugins]\n  flowers = 3\n", "line 2, column 3"),
        (b"registry = 'here'\n", "line 1, column 1"),
    ],
    ids=["malformed", "not UTF-8", "unknown key", "unknown section", "wrong type", "no section"],
)
def test_a_bad_plugins_toml_is_told_by_line_and_column(tmp_path, content, place):
    """2 from every command that reads it."""
    (tmp_path / "plugins.toml").write_bytes(content)
    assert_error(forked_mlreg("list"), 2, str(tmp_path / "plugins.toml"), place)
    assert_error(forked_mlreg("plugins", "list"), 2, place)


def test_one_name_from_two_places_is_marked(tmp_path):
    """`plugins list` goes on and names both."""
    write_plugin(tmp_path, "mine", "")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mlreg.plugins]\nflowers = theirs\n")
    write_settings(tmp_path, {"flowers": "mine"})
    done = forked_mlreg("plugins", "list", "--json", PYTHONPATH=str(tmp_path))
    (flowers,) = [row for row in done.json["plugins"] if row["name"] == "flowers"]
    assert flowers["state"] == "named twice: also theirs (theirs 1.0)"


def test_reading_leaves_no_trace(ask_in_turn, store):
    """list, show and history change neither file nor folder."""

    def state():
        return {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}

    before = state()
    for done in ask_in_turn(["list"], ["list", "flowers"], ["show", "flowers"], ["history"]):
        assert done.status == 0
    assert state() == before
