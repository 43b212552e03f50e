"""Rules belong to the registry that they protect: the same from every folder, never in silence."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from cli_helpers import assert_error, in_turn, process_environment
from fakes import write_plugin, write_settings
from test_promotion import EXAMPLES, held_by, promote, publish

from registry_core.errors import UsageError
from registry_core.plugins.manager import KnownPlugins, PluginSet
from registry_core.promotion import promote as promotion_story
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.registry import Registry
from registry_core.rules import PromotionRule, near_alias
from registry_core.settings import Settings, read_settings

FLOOR = PromotionRule(floor={"test_accuracy": 0.8}, versus_incumbent="off")
COMPARED = PromotionRule(margin=0.01)


def registry(folder, **file_rules) -> Registry:
    """A registry, seen from a folder whose plugins.toml has these rules."""
    return Registry(folder / "registry", Settings(folder / "plugins.toml", promotion=file_rules))


def set_rule(registry: Registry, alias: str, rule: PromotionRule | None) -> None:
    registry.store.rules.change(lambda before: {alias: rule})


# --- whose rule applies --------------------------------------------------------------------------


def test_the_registrys_rule_applies_whatever_plugins_toml_says(tmp_path):
    """Without one, with one that says nothing, with one that asks for less."""
    set_rule(registry(tmp_path), "production", FLOOR)
    bad = publish(registry(tmp_path), 500)
    mild = PromotionRule(versus_incumbent="off")
    for settings in (Settings(), Settings(tmp_path / "p.toml"), Settings(promotion={"x": mild})):
        with pytest.raises(PromotionRefusedError, match=r"test_accuracy at least 0\.8: 0\.5"):
            promote(Registry(tmp_path / "registry", settings), bad)
    with pytest.raises(PromotionRefusedError):
        promote(registry(tmp_path, production=mild), bad)


def test_plugins_toml_may_ask_for_more(tmp_path):
    """Both rules apply, each check says whose it is, and a warning names both."""
    strict = PromotionRule(floor={"test_accuracy": 0.95}, versus_incumbent="off")
    registered = registry(tmp_path, production=strict)
    set_rule(registered, "production", FLOOR)
    with pytest.raises(PromotionRefusedError, match="1 of 2 checks failed") as caught:
        promote(registered, publish(registered, 900))
    decision = caught.value.decision
    ours, theirs = decision.checks
    assert (ours.passed, theirs.passed) == (True, False)
    assert ours.source.startswith("rule of the registry, set 2")
    assert theirs.source == f"rule in {tmp_path / 'plugins.toml'}"
    (warning,) = decision.warnings
    assert str(tmp_path / "plugins.toml") in warning
    assert "different rules for 'production'" in warning
    assert "mlreg rules sync" in warning
    told = registered.history(limit=1)[0].evidence["rules"]
    assert [each["source"] for each in told] == ["registry", "plugins.toml"]
    assert told[0]["rule"] == FLOOR.to_json()


def test_the_same_rule_in_both_places_is_asked_once(tmp_path):
    """However it is written: the order of aliases, a whole number for a fraction."""
    kept = PromotionRule(floor={"test_accuracy": 0.0, "test_loss": 0}, requires=["b", "a"])
    file = PromotionRule(floor={"test_loss": 0.0, "test_accuracy": 0}, requires=("a", "b"))
    registered = registry(tmp_path, production=file)
    set_rule(registered, "production", kept)
    with pytest.raises(PromotionRefusedError) as caught:
        promote(registered, publish(registered, 900))
    assert [rule.source for rule in caught.value.decision.rules] == ["registry"]
    assert len(caught.value.decision.checks) == 5
    assert caught.value.decision.warnings == []


def test_a_rule_that_only_plugins_toml_has_is_told_as_such(tmp_path):
    """It applies here, and not from another folder."""
    registered = registry(tmp_path, production=FLOOR)
    with pytest.raises(PromotionRefusedError) as caught:
        promote(registered, publish(registered, 500))
    (warning,) = caught.value.decision.warnings
    assert "a promotion from another folder ignores it" in warning


@pytest.mark.parametrize("place", ["registry", "file"])
def test_a_rule_for_an_alias_that_nobody_holds_is_told_with_the_guess(tmp_path, place):
    """`[promotion.prod]` protects nothing; once a version holds prod, nothing is odd."""
    registered = registry(tmp_path, **({"prod": FLOOR} if place == "file" else {}))
    if place == "registry":
        set_rule(registered, "prod", FLOOR)
    first, second = publish(registered, 500), publish(registered, 900)
    decision = promote(registered, first)
    (warning,) = decision.warnings
    assert warning.startswith("No version holds 'prod', which has a rule")
    assert warning.endswith(". Is it meant for 'production'?")
    assert decision.rules == []
    promote(registered, second, "prod")
    assert not [each for each in promote(registered, second).warnings if "meant?" in each]


def test_a_rule_that_changes_while_it_is_decided_is_decided_by_anew(tmp_path, monkeypatch):
    """The decision that moves an alias is made by the rule of that moment."""
    registered = registry(tmp_path)
    version = publish(registered, 500)
    decide = promotion_story._decide

    def decide_and_be_overtaken(*parts):
        decision = decide(*parts)
        monkeypatch.setattr(promotion_story, "_decide", decide)
        set_rule(registry(tmp_path), "production", FLOOR)
        return decision

    monkeypatch.setattr(promotion_story, "_decide", decide_and_be_overtaken)
    with pytest.raises(PromotionRefusedError, match="1 of 1 check failed"):
        promote(registered, version)
    with pytest.raises(UsageError):
        held_by(registered)
    assert [row.action for row in registered.history()] == ["refused", "rule set", "registered"]


def test_no_alias_moves_by_a_rule_that_was_replaced(tmp_path):
    """Beside a process that changes the rule again and again: each row tells the rule of then."""
    from store_helpers import start_child, wait_for

    registered = registry(tmp_path)
    versions = [publish(registered, right) for right in (850, 860)]
    mild = [replace(FLOOR, floor={"test_accuracy": least / 100}) for least in range(2)]

    def change_again_and_again():
        for turn in range(9):  # fewer than a promotion decides anew before it says so
            time.sleep(0.05)
            set_rule(registry(tmp_path), "production", (*mild, None)[turn % 3])

    child = start_child(change_again_and_again)
    turns = 0
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        promote(registered, versions[turns % 2])
        turns += 1
    assert wait_for(child) == 0
    rule, moved = None, 0
    for row in reversed(registered.history()):
        if row.action in ("rule set", "rule removed"):
            rule = row.number if row.action == "rule set" else None
        elif row.action == "promoted":
            moved += 1
            assert [each["row"] for each in row.evidence["rules"]] == ([rule] if rule else [])
    assert moved == turns > 0


def test_rules_of_both_places_share_what_they_read(tmp_path):
    """Two rules with one level compare once; the evidence has one comparison."""
    registered = registry(tmp_path, production=PromotionRule(margin=0.02))
    set_rule(registered, "production", COMPARED)
    set_rule(registered, "staging", FLOOR)
    promote(registered, publish(registered, 850))
    decision = promote(registered, publish(registered, 860))
    assert len(decision.checks) == 2
    assert decision.comparison.confidence == 0.95
    assert decision.fingerprint == "sha256:test"


# --- what a promotion shows ----------------------------------------------------------------------


def test_a_difference_that_cannot_be_told_says_why_and_stops_nothing(tmp_path):
    """No record, another split, a damaged record of the version that the alias is to leave."""
    from store_helpers import blob

    registered = registry(tmp_path)
    first = publish(registered, 800)
    promote(registered, first)
    bare = promote(registered, publish(registered, 810, kept=False), dry_run=True)
    assert bare.not_compared == "dummy@2 has no recorded per-example results"
    other = promote(registered, publish(registered, 820, fingerprint="sha256:o"), dry_run=True)
    assert other.not_compared == "they were evaluated on different test splits"
    file = blob(registered.store, first.file("outcomes.json").sha256)
    file.chmod(0o600)
    file.write_bytes(b"X" + file.read_bytes()[1:])
    left = promote(registered, publish(registered, 830))
    assert "outcomes.json of dummy@1" in left.not_compared
    assert left.comparison is None
    assert held_by(registered) == 4
    row = registered.history(limit=1)[0]
    assert row.evidence["not_compared"] == left.not_compared
    assert row.evidence["metrics"]["incumbent"]["test_accuracy"] == 0.8


def test_promoting_the_holder_again_does_nothing(tmp_path):
    """No row, no question to a rule that it would fail by now."""
    registered = registry(tmp_path)
    version = publish(registered, 500)
    promote(registered, version)
    set_rule(registered, "production", FLOOR)
    rows = len(registered.history())
    plugins = PluginSet(None, [])
    promotion = registered.promote("dummy@1", "production", plugins=plugins)
    decision = promotion.decision
    assert not promotion.changed
    assert promotion.to_json()["changed"] is False
    assert decision.checks == ()
    assert len(registered.history()) == rows


def test_a_plugin_that_was_asked_before_and_is_not_here_is_named(tmp_path):
    """Its check belongs to the folder; that it was not asked is told."""
    text = "from registry_core import hookimpl\n\n@hookimpl\ndef mlreg_check_promotion():\n"
    write_plugin(tmp_path, "rules_gate_extension", f"{text}    return []\n")
    write_settings(tmp_path, extensions={"gate": "rules_gate_extension"})
    plugins = KnownPlugins(read_settings(tmp_path / "plugins.toml")).load(None)
    registered = registry(tmp_path)
    first, second = publish(registered, 800), publish(registered, 810)
    decision = registered.promote(first.ref, "production", plugins=plugins).decision
    assert decision.plugins == ["gate"]
    (warning,) = promote(registered, second).warnings
    assert "The plugin 'gate' was asked at the last promotion to production" in warning


def test_who_objects_is_named(tmp_path):
    """Each plugin's objections are its own, also where several object."""
    body = "from registry_core import Objection, hookimpl\n\n@hookimpl\n"
    body += "def mlreg_check_promotion():\n    return [Objection('size', '{0}')]\n"
    extensions = {name: f"rules_{name}_extension" for name in ("one", "two")}
    for name, module in extensions.items():
        write_plugin(tmp_path, module, body.format(f"said {name}"))
    write_settings(tmp_path, extensions=extensions)
    plugins = KnownPlugins(read_settings(tmp_path / "plugins.toml")).load(None)
    registered = registry(tmp_path)
    version = publish(registered, 800)
    with pytest.raises(PromotionRefusedError) as caught:
        registered.promote(version.ref, "production", plugins=plugins)
    found = {check.source: check.found for check in caught.value.decision.checks}
    assert found == {"plugin one": "said one", "plugin two": "said two"}


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("prodction", "production"),
        ("produktion", "production"),
        ("stagign", "staging"),
        ("production-eu", None),
        ("canary-2", None),
        ("canary2", None),
        ("best-so-far", None),
        ("prod", None),
    ],
)
def test_a_misspelling_is_told_from_a_name_that_is_meant_so(typed, near):
    assert near_alias(typed, ["production", "staging", "canary-1"]) == near


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[promotion.latest]", "'latest' cannot name an alias"),
        ("[promotion.Prod]", "'Prod' cannot name an alias"),
        ("[promotion.prod]\nrequires = ['Staging']", "'Staging', which cannot name an alias"),
        ("[promotion.prod]\nrequires = ['prod']", "must not name prod itself"),
        ("[promotion.prod]\nmargin = inf", "must be a number, 0 or more"),
        ("[promotion.prod]\nfloor = { f1 = inf }", "must be a table of metrics and numbers"),
        (f"[promotion.prod]\nmargin = {10**400}", "must be a number, 0 or more"),
    ],
)
def test_a_rule_that_could_never_hold_is_refused_where_it_is_read(tmp_path, text, said):
    file = tmp_path / "plugins.toml"
    file.write_text(f"{text}\n")
    with pytest.raises(UsageError) as caught:
        read_settings(file)
    assert said in caught.value.what
    assert "line " in caught.value.what


# --- at the command line -------------------------------------------------------------------------


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


@pytest.mark.processes
def test_one_rule_refuses_one_promotion_from_three_folders(project):
    """9 where plugins.toml has it, where there is none, and where there is another."""
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
    """Each step says what changed and leaves a row; what changes nothing leaves none."""
    told = lines(
        project.parent / "elsewhere",
        "rules",
        "rules set production --floor test_accuracy=0.75 --versus better --reason customers",
        "rules set production --requires staging -n",
        "rules set production --requires staging",
        "rules set production --requires staging",
        "rules",
        "rules --json",
        "rules set production --floor test_accuracy=off --floor tset_loss=1 --requires-none",
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
    assert "no metric 'tset_loss'. Did you mean test_loss?" in dropped.stderr
    assert quiet.stdout == "production\n"
    assert_error(asked, 2, "Remove the rule for 'production'", "--yes")
    assert_error(wrong, 2, "no rule for 'prod'", "Did you mean production?")
    assert gone.stdout.startswith("production: the rule is removed\n")
    assert "the rule for production was removed" in rows.stdout
    assert "was changed: now holds or has held staging  " in rows.stdout
    assert "now tset_loss at least 1; no longer test_accuracy at least 0.75" in rows.stdout
    assert "the rule for production was set: test_accuracy at least 0.75; better" in rows.stdout
    assert end.stdout == none.stdout
    for done in (new, changed, dropped, gone):
        assert done.status == 0, done.stderr
    (typo,) = lines(project, "rules set produciton --floor test_accuracy=0.9")
    assert "No version holds 'produciton'; was 'production' meant?" in typo.stderr


@pytest.mark.processes
def test_rules_that_cannot_be_are_refused(project):
    """2, by the option that is wrong, and nothing is kept."""
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
def test_sync_takes_the_rules_of_plugins_toml_and_leaves_the_others(project):
    """What changes is shown; again nothing does; without plugins.toml there is nothing to take."""
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
def test_a_promotion_is_told_with_both_versions_metrics(project):
    """Without a rule too: who asked for nothing still sees that it is far worse."""
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
def test_what_is_missing_is_asked_for_with_real_names(project):
    """Each command that is shown can be typed as it stands."""
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
def test_a_misspelt_alias_is_not_made_in_silence(project):
    """Off a terminal it is refused with the alias that is there; --yes makes it."""
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


@pytest.mark.processes
@pytest.mark.parametrize(("answer", "status"), [("n", 2), ("y", 0)])
def test_a_terminal_is_asked_about_a_misspelt_alias(project, answer, status):
    """No is no fault of anybody's; yes makes the alias."""
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
