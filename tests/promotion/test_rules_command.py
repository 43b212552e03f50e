"""`mlreg rules` and `mlreg promote` with rules, as commands."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from cli_helpers import assert_error, in_turn, process_environment
from promotion_helpers import EXAMPLES, promote, publish

from registry_core.registry import Registry
from registry_core.settings import Settings


@pytest.fixture
def project(tmp_path):
    """Three versions, the best in production; a rule in plugins.toml; folders that lack it."""
    registered = Registry(tmp_path / "registry", Settings())
    for right in (850, 500, 900):
        publish(registered, right)
    promote(registered, registered.version("dummy@1"))
    for name in ("project", "elsewhere", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "plugins.toml").write_text("")
    (tmp_path / "project" / "plugins.toml").write_text(
        "[promotion.production]\nfloor = { test_accuracy = 0.7 }\nversus_incumbent = 'not-worse'\n"
    )
    return tmp_path / "project"


def lines(folder, *typed: str):
    words = [line.split() for line in typed]
    return in_turn(words, cwd=folder, MLREG_HOME=str(folder.parent / "registry"))


@pytest.mark.gate
@pytest.mark.processes
def test_one_rule_refuses_one_promotion_from_three_folders(project):
    """Exit status 9 from each folder, whatever its plugins.toml says."""
    (synced,) = lines(project, "rules sync --yes --reason agreed")
    assert synced.status == 0, synced.stderr
    folders = [project, project.parent / "elsewhere", project.parent / "other"]
    for folder in folders:
        shown, quiet, told = lines(
            folder,
            "promote dummy@2 production",
            "promote dummy@2 production -q",
            "promote dummy@2 production --json",
        )
        assert_error(shown, 9, "Not promoted: 2 of 2 checks failed.", shown="0.5000")
        assert "Rule of the registry, set 2" in shown.stdout
        assert shown.stderr.count("0.5000") == 0, "told once, in the table"
        assert_error(quiet, 9, "test_accuracy at least 0.7: 0.5000")
        assert [rule["source"] for rule in told.json["rules"]] == ["registry"]
        assert told.json["rules"][0]["reason"] == "agreed"
    store = Registry(project.parent / "registry", Settings()).store
    assert store.aliases("dummy") == {"production": 1}
    assert [row.action for row in store.ledger(limit=9)] == ["refused"] * 9


@pytest.mark.processes
def test_rules_are_set_shown_changed_and_removed(project):
    """Each change adds a row to the ledger; no change adds none."""
    told = lines(
        project.parent / "elsewhere",
        "rules",
        "rules set production --floor test_accuracy=0.75 --versus better --reason customers",
        "rules set production --requires staging -n",
        "rules set production --requires staging",
        "rules set production --requires staging",
        "rules",
        "rules --json",
        "rules set production --floor test_accuracy=off --floor tset_accuracy=1 --requires-none",
        "rules -q",
        "rules remove production",
        "rules remove prod --yes",
        "rules remove production --yes --reason over",
        "history dummy@production",
        "rules",
    )
    none, new, dry, changed, again, shown, as_json, dropped, quiet, *rest = told
    asked, wrong, gone, rows, end = rest
    assert none.stdout.startswith("No alias has a rule")
    assert "  + test_accuracy at least 0.75\n" in new.stdout
    assert "better than the version that holds it (p < 0.05)" in new.stdout
    assert "the rule would be changed" in dry.stdout
    assert "  + holds or has held staging\n" in changed.stdout
    assert "  + test_accuracy" not in changed.stdout, "what is not named stays"
    assert "No version holds the alias 'staging'" in changed.stderr
    assert again.stdout == "production: already set; nothing changed\n"
    assert shown.stdout.startswith("production: dummy@1\n")
    (rule,) = as_json.json["rules"]
    assert rule["rule"]["requires"] == ["staging"]
    assert (rule["source"], rule["holders"]) == ("registry", ["dummy@1"])
    assert "  - test_accuracy at least 0.75\n" in dropped.stdout
    assert "no metric 'tset_accuracy'. Did you mean test_accuracy?" in dropped.stderr
    assert quiet.stdout == "production\n"
    assert_error(asked, 2, "Remove the rule for 'production'", "--yes")
    assert_error(wrong, 2, "no rule for 'prod'", "Did you mean production?")
    assert gone.stdout.startswith("production: the rule is removed\n")
    assert "the rule for production was removed" in rows.stdout
    assert "was changed: now holds or has held staging  " in rows.stdout
    assert "now tset_accuracy at least 1; no longer test_accuracy at least 0.75" in rows.stdout
    assert "the rule for production was set: test_accuracy at least 0.75; better" in rows.stdout
    assert end.stdout == none.stdout
    for done in (new, changed, dropped, gone):
        assert done.status == 0, done.stderr
    (typo,) = lines(project, "rules set produciton --floor test_accuracy=0.9")
    assert "No version holds 'produciton'. Did you mean 'production'?" in typo.stderr


@pytest.mark.processes
def test_invalid_rules_are_refused(project):
    """Exit status 2; the message names the option, and nothing is stored."""
    told = lines(
        project,
        "rules set production --floor test_accuracy",
        "rules set production --floor test_accuracy=high",
        "rules set production --floor test_accuracy=inf",
        "rules set production --versus best",
        "rules set production --alpha 1",
        "rules set production --margin -1",
        "rules set production --requires production",
        "rules set latest",
    )
    named = ["--floor", "--floor", "--floor", "--versus", "--alpha", "margin", "--requires"]
    for done, name in zip(told, [*named, "latest"], strict=True):
        assert_error(done, 2, name)
    assert Registry(project.parent / "registry", Settings()).rules().rules == []


@pytest.mark.processes
def test_sync_copies_the_rules_of_plugins_toml_and_keeps_the_others(project):
    """Changes are shown; a second sync changes nothing."""
    planned, asked, none = lines(
        project, "rules sync -n", "rules sync", "rules set staging --floor test_accuracy=0.1"
    )
    done, again, listed = lines(project, "rules sync -y", "rules sync", "rules --json")
    (nowhere,) = lines(project.parent / "elsewhere", "rules sync")
    assert "production: the rule would be set\n  + test_accuracy at least 0.7" in planned.stdout
    assert_error(asked, 2, "without a terminal", "mlreg rules sync --yes", shown="would be set")
    assert none.status == done.status == 0
    assert "production: the rule is set" in done.stdout
    assert "staging: only the registry has a rule; it stays" in done.stdout
    assert again.stdout.startswith("production: already set; nothing changed\n")
    rules = {rule["alias"]: rule for rule in listed.json["rules"]}
    assert set(rules) == {"production", "staging"}
    assert rules["production"]["file"] == str(project / "plugins.toml")
    assert_error(nowhere, 2, "no plugins.toml", "mlreg rules set production")


@pytest.mark.processes
def test_a_promotion_shows_the_metrics_of_both_versions(project):
    """Also without a rule."""
    worse, again, better = lines(
        project.parent / "elsewhere",
        "promote dummy@2 production",
        "promote dummy@2 production",
        "promote dummy@3 production --json",
    )
    assert "test_accuracy   0.5000    0.8500    -0.3500" in worse.stdout
    assert "only dummy@2 right: 0; only dummy@1 right: 350" in worse.stdout
    assert f"on {EXAMPLES:,} examples" in worse.stdout
    assert "No rule for 'production'.\n" in worse.stdout
    assert worse.stdout.endswith("dummy@production is now dummy@2 (before: dummy@1)\n")
    assert (again.status, again.stdout) == (
        0, "dummy@production is already dummy@2; nothing changed.\n",
    )  # fmt: skip
    assert better.json["rules"] == []
    found = better.json["decision"]
    assert found["metrics"]["incumbent"]["test_accuracy"] == 0.5
    assert found["comparison"]["only_candidate"] == 400
    assert better.json["changed"] is True


@pytest.mark.processes
def test_missing_arguments_are_suggested_with_real_names(project):
    """Each suggested command can be typed as it is."""
    told = lines(
        project.parent / "elsewhere",
        "promote dummy 3",
        "promote dummy@3",
        "promote dummy production",
        "promote dummy",
        "rollback dummy@production",
        "rollback dummy@3",
        "rollback dummy",
        "alias dummy@production -q",
        "alias dummy@production --remove",
        "rollback dummy@production -q",
    )
    alias, together, version, both, first, number, bare, shown, deleted, back = told
    for done in (alias, together):
        assert_error(done, 2, "Which alias is dummy@3 to get?", "mlreg promote dummy@3 production")
    for done in (version, both):
        assert_error(done, 2, "Which version of dummy", "mlreg promote dummy@3 production")
    assert_error(first, 2, "dummy@1 was the first", "mlreg list dummy")
    assert_error(number, 2, "is a version", "mlreg rollback dummy@production")
    assert_error(bare, 2, "Which alias of dummy?", "mlreg rollback dummy@production")
    assert shown.stdout == "dummy@1\n"
    assert deleted.stdout == "dummy@production is deleted; it was dummy@1.\n"
    assert back.stdout == "dummy@1\n"


@pytest.mark.processes
def test_a_misspelt_alias_is_refused_off_a_terminal(project):
    """The message suggests the existing alias; --yes creates the new one."""
    refused, ruled, meant, other = lines(
        project,
        "promote dummy@3 prodction",
        "promote dummy@1 staging",
        "promote dummy@3 prodction --yes",
        "promote dummy@3 production-eu",
    )
    assert_error(refused, 2, "'prodction' would be a new alias", "mlreg promote dummy@3 production")
    assert (ruled.status, meant.status, other.status) == (0, 0, 0)
    names = {"production", "staging", "prodction", "production-eu"}
    assert set(Registry(project.parent / "registry", Settings()).store.aliases("dummy")) == names


@pytest.mark.gate(keep=1)
@pytest.mark.processes
@pytest.mark.parametrize(("answer", "status"), [("n", 2), ("y", 0)])
def test_a_terminal_asks_about_a_misspelt_alias(project, answer, status):
    """Answering no is not an error; yes creates the alias."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "registry_core", "promote", "dummy@3", "prodction"],
        cwd=project,
        env=process_environment({"MLREG_HOME": str(project.parent / "registry")}),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    heard = b""
    while b"[y/N]" not in heard:
        heard += os.read(controller, 1000)
    os.write(controller, f"{answer}\n".encode())
    process.communicate(timeout=60)
    os.close(controller)
    assert process.returncode == status
    aliases = Registry(project.parent / "registry", Settings()).store.aliases("dummy")
    assert ("prodction" in aliases) == (answer == "y")
