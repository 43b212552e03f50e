"""Each rule holds for a sound plugin, and fails for a plugin that breaks it and no other rule."""

from __future__ import annotations

import pytest
from conformance_helpers import HERE, failures, outcomes

from registry_core.conformance.rules import BY_ID, RULES

pytestmark = pytest.mark.processes

ROOT = HERE.parents[1]
BROKEN = {file.stem.replace("_", "-"): file.stem for file in (HERE / "broken").glob("*.py")}
# what a plugin needs so that its rule fails; a rule that watches is checked without TensorFlow
LIGHT = [rule.id for rule in RULES if not rule.needs_tensorflow]
LIGHT.remove("imports-without-tensorflow")  # imports it
HEAVY = [rule.id for rule in RULES if rule.needs_tensorflow] + ["imports-without-tensorflow"]
# these stop before a model is trained
SOON_DONE = ("augmentation-keeps-shape", "model-fits-task")


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.syspath_prepend(str(HERE / "broken"))


def test_every_rule_has_a_plugin_that_breaks_it():
    assert sorted(BROKEN) == sorted(BY_ID)


@pytest.mark.exhaustive(keep=4)
@pytest.mark.gate(keep=4)
@pytest.mark.parametrize("rule", LIGHT)
def test_exactly_the_broken_rule_fails(rule):
    """A rule that needs no TensorFlow; what to do is said."""
    found = outcomes(BROKEN[rule], quick=True)
    assert list(failures(found)) == [rule]
    assert found[rule].found
    assert found[rule].remedy


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "rule",
    [pytest.param(rule, marks=[] if rule in SOON_DONE else pytest.mark.gate) for rule in HEAVY],
)
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


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("plugin", "folder", "preset"),
    [
        ("spirals", ROOT / "examples" / "spirals", "baseline"),
        ("small_cifar", HERE, "baseline"),
        ("small_cifar", HERE, "airbench94"),
    ],
)
def test_the_plugins_that_ship_keep_every_rule(plugin, folder, preset, monkeypatch):
    """A rule about something that a plugin does not have is skipped."""
    monkeypatch.syspath_prepend(str(folder))
    found = outcomes(plugin, preset=preset)
    assert failures(found) == {}
    skipped = {rule for rule, each in found.items() if each.status == "skipped"}
    assert all(each.found.startswith("It has no mlreg_") for each in found.values() if each.found)
    reports = {"report-files-open", "report-sections-kept"}
    assert skipped <= reports | {rule for rule in BY_ID if "augmentation" in rule}


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_an_extension_keeps_the_rules_that_are_for_it():
    """It is checked on a tiny dataset; one that adds no report has no files to open."""
    found = outcomes("stopping_extension", kind="extension")
    assert failures(found) == {}
    assert found["resumes-to-same-weights"].status == "passed"
    assert found["report-files-open"].status == "skipped"


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("plugin", "unchecked"),
    [
        ("streams_plugin", {"data-repeats-elsewhere", "read-inputs-fit"}),
        ("nested_plugin", {"read-inputs-fit"}),  # no common file holds its examples
        ("targets_plugin", set()),
    ],
)
def test_every_kind_of_split_is_checked_on_a_few_examples(plugin, unchecked):
    """Streams, examples that are read by index, nestings, texts, weights, several targets."""
    found = outcomes(plugin)
    assert failures(found) == {}
    skipped = {rule for rule, each in found.items() if each.status == "skipped"}
    assert skipped == unchecked
