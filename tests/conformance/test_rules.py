"""Each rule holds for a sound plugin, and fails for a plugin that breaks it and no other rule."""

from __future__ import annotations

import pytest
from conformance_helpers import HERE, failures, outcomes

from registry_core.conformance.rules import BY_ID, RULES

pytestmark = pytest.mark.processes

BROKEN = {file.stem.replace("_", "-"): file.stem for file in (HERE / "broken").glob("*.py")}
# what a plugin needs so that its rule fails; a rule that watches is checked without TensorFlow
LIGHT = [rule.id for rule in RULES if not rule.needs_tensorflow]
LIGHT.remove("imports-without-tensorflow")  # imports it
HEAVY = [rule.id for rule in RULES if rule.needs_tensorflow]


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.syspath_prepend(str(HERE / "broken"))


def test_every_rule_has_a_plugin_that_breaks_it():
    assert sorted(BROKEN) == sorted(BY_ID)


@pytest.mark.parametrize("rule", LIGHT)
def test_exactly_the_broken_rule_fails(rule):
    """A rule that needs no TensorFlow; what to do is said."""
    found = outcomes(BROKEN[rule], quick=True)
    assert list(failures(found)) == [rule]
    assert found[rule].found
    assert found[rule].remedy


@pytest.mark.gate(keep=2)
@pytest.mark.tensorflow
@pytest.mark.parametrize("rule", [*HEAVY, "imports-without-tensorflow"])
def test_exactly_the_broken_rule_fails_with_tensorflow(rule):
    """Rules that need the broken one are skipped, and all others hold."""
    found = outcomes(BROKEN[rule])
    assert list(failures(found)) == [rule]
    assert found[rule].remedy


@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_sound_plugin_keeps_every_rule():
    """None is skipped: it has every hook that a rule is about."""
    found = outcomes("sound_plugin")
    assert {each.status for each in found.values()} == {"passed"}
    assert list(found) == list(BY_ID)
