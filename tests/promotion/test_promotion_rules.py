"""Promotion rules belong to the registry, and apply from every folder."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
from fakes import write_plugin, write_settings
from promotion_helpers import held_by, promote, publish

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
    """Without a plugins.toml, without a rule in it, and with a weaker rule in it."""
    set_rule(registry(tmp_path), "production", FLOOR)
    bad = publish(registry(tmp_path), 500)
    mild = PromotionRule(versus_incumbent="off")
    for settings in (Settings(), Settings(tmp_path / "p.toml"), Settings(promotion={"x": mild})):
        with pytest.raises(PromotionRefusedError, match=r"test_accuracy at least 0\.8: 0\.5"):
            promote(Registry(tmp_path / "registry", settings), bad)
    with pytest.raises(PromotionRefusedError):
        promote(registry(tmp_path, production=mild), bad)


def test_plugins_toml_may_add_requirements(tmp_path):
    """Both rules apply, each check names its source, and a warning names both."""
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


def test_the_same_rule_in_both_places_is_checked_once(tmp_path):
    """In any notation: order of aliases, integers for floats."""
    kept = PromotionRule(floor={"test_accuracy": 0.0, "test_seconds": 0}, requires=["b", "a"])
    file = PromotionRule(floor={"test_seconds": 0.0, "test_accuracy": 0}, requires=("a", "b"))
    registered = registry(tmp_path, production=file)
    set_rule(registered, "production", kept)
    with pytest.raises(PromotionRefusedError) as caught:
        promote(registered, publish(registered, 900))
    assert [rule.source for rule in caught.value.decision.rules] == ["registry"]
    assert len(caught.value.decision.checks) == 5
    assert caught.value.decision.warnings == []


def test_a_rule_only_in_plugins_toml_gives_a_warning(tmp_path):
    """It does not apply from other folders."""
    registered = registry(tmp_path, production=FLOOR)
    with pytest.raises(PromotionRefusedError) as caught:
        promote(registered, publish(registered, 500))
    (warning,) = caught.value.decision.warnings
    assert "a promotion from another folder ignores it" in warning


@pytest.mark.parametrize("place", ["registry", "file"])
def test_a_rule_for_an_unused_alias_gives_a_warning_with_a_suggestion(tmp_path, place):
    """Once a version holds the alias, there is no warning."""
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
    assert not [each for each in promote(registered, second).warnings if "Is it meant" in each]


def test_a_promotion_is_decided_again_if_the_rule_changed_meanwhile(tmp_path, monkeypatch):
    """The rule at the time of the move applies."""
    registered = registry(tmp_path)
    version = publish(registered, 500)
    decide = promotion_story.decide

    def decide_and_be_overtaken(*parts):
        decision = decide(*parts)
        monkeypatch.setattr(promotion_story, "decide", decide)
        set_rule(registry(tmp_path), "production", FLOOR)
        return decision

    monkeypatch.setattr(promotion_story, "decide", decide_and_be_overtaken)
    with pytest.raises(PromotionRefusedError, match="1 of 1 check failed"):
        promote(registered, version)
    with pytest.raises(UsageError):
        held_by(registered)
    assert [row.action for row in registered.history()] == ["refused", "rule set", "registered"]


@pytest.mark.gate
def test_a_replaced_rule_never_moves_an_alias(tmp_path):
    """While another process keeps changing the rule, each row has the rule of its time."""
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


def test_rules_of_both_places_share_one_comparison(tmp_path):
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


def test_a_missing_comparison_has_a_reason_and_stops_nothing(tmp_path):
    """No results, another split, damaged results of the version that holds the alias."""
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
    """No row in the ledger, and no check."""
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


def test_a_missing_plugin_that_checked_the_last_promotion_is_named(tmp_path):
    """Its check belongs to another folder; a warning says that it did not run."""
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


def test_each_objection_names_its_plugin(tmp_path):
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
def test_misspelt_aliases_are_recognised(typed, near):
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
def test_an_impossible_rule_is_refused_when_it_is_read(tmp_path, text, said):
    file = tmp_path / "plugins.toml"
    file.write_text(f"{text}\n")
    with pytest.raises(UsageError) as caught:
        read_settings(file)
    assert said in caught.value.what
    assert "line " in caught.value.what
