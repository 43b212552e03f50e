"""Objections to a promotion, and how they are overruled."""

import json

import pytest
from fakes import TABLE_PLUGIN, write_project

from registry_core.errors import PluginError, UsageError
from registry_core.plugins.manager import KnownPlugins
from registry_core.promotion.gates import Decision, PromotionRefusedError, evaluate_gates
from registry_core.promotion.options import PromotionOptions
from registry_core.promotion.pairs import Check
from registry_core.records import Objection, Version

ACCURATE = """
from registry_core import Objection, hookimpl


@hookimpl
def mlreg_check_promotion(candidate, incumbent, alias):
    if alias != "production" or incumbent is None:
        return []
    before, now = incumbent.metrics["test_accuracy"], candidate.metrics["test_accuracy"]
    return [Objection("accuracy", f"{now} after {before}")] if now < before else []
"""


def version(number: int, accuracy: float) -> Version:
    return Version(
        model="flowers",
        version=number,
        created="2026-01-01T00:00:00Z",
        dataset="flowers",
        preset="quick",
        seed=0,
        metrics={"test_accuracy": accuracy},
        seconds={},
        files=(),
        digest="0" * 64,
        run="run",
    )


def plugins(folder, *, dataset="flowers", plugin=TABLE_PLUGIN, **extensions):
    return KnownPlugins(write_project(folder, plugin, extensions)).load(dataset)


class Untouched:
    """A ledger in which nothing was decided yet."""

    def has_held(self, version, alias):
        return False

    def compared_before(self, candidate, incumbent, fingerprint):
        return 0


def objections(joined, candidate, incumbent, alias) -> list[Objection]:
    """What the plugins say, where the alias itself asks for nothing."""
    decision = evaluate_gates(
        candidate,
        incumbent,
        alias,
        rules=[],
        plugins=joined,
        past=Untouched(),
        per_example_results=lambda version: None,
        check_signatures=lambda version: [],
    )
    return [Objection(check.name, check.found) for check in decision.failed]


def decided(*checks: Check) -> Decision:
    return Decision(version(2, 0.5), version(1, 0.9), "production", checks)


def test_without_checks_every_promotion_passes(tmp_path):
    """A registry without checks lets every promotion through."""
    assert objections(plugins(tmp_path), version(2, 0.5), None, "production") == []


def test_a_check_sees_candidate_incumbent_and_alias(tmp_path):
    """It may compare, and may care for some aliases only."""
    joined = plugins(tmp_path, gate=ACCURATE)
    worse, better = version(2, 0.5), version(1, 0.9)
    assert objections(joined, worse, better, "production") == [
        Objection("accuracy", "0.5 after 0.9")
    ]
    assert objections(joined, better, worse, "production") == []
    assert objections(joined, worse, better, "staging") == []
    assert objections(joined, worse, None, "production") == []


def test_extensions_check_without_a_dataset(tmp_path):
    """A version whose dataset plugin is gone still has to pass the extensions' checks."""
    joined = plugins(tmp_path, dataset=None, gate=ACCURATE)
    assert objections(joined, version(2, 0.5), version(1, 0.9), "production")


def test_objections_of_all_plugins_are_collected(tmp_path):
    """The dataset's and each extension's."""
    joined = plugins(tmp_path, plugin=TABLE_PLUGIN + ACCURATE, gate=ACCURATE)
    found = objections(joined, version(2, 0.5), version(1, 0.9), "production")
    assert [each.check for each in found] == ["accuracy", "accuracy"]


@pytest.mark.parametrize(
    "body", ["raise OSError('no network')", "raise SystemExit", "return 'no'", "return [None]"]
)
def test_a_check_that_fails_to_run_stops_the_promotion(tmp_path, body):
    """Exceptions and invalid return values are errors of the plugin."""
    text = (
        f"from registry_core import hookimpl\n\n@hookimpl\ndef mlreg_check_promotion():\n    {body}"
    )
    with pytest.raises(PluginError, match="gate"):
        objections(plugins(tmp_path, gate=text), version(2, 0.5), None, "production")


def test_evidence_is_json_and_says_whether_checks_were_overruled():
    """What the ledger keeps of a decision."""
    decision = decided(Check("accuracy", False, "0.5 after 0.9"))
    said = {"name": "accuracy", "passed": False, "found": "0.5 after 0.9", "source": ""}
    expected = {
        "incumbent": "flowers@1",
        "rules": [],
        "plugins": [],
        "checks": [said],
        "forced": True,
        "metrics": {"candidate": {"test_accuracy": 0.5}, "incumbent": {"test_accuracy": 0.9}},
    }
    assert decision.evidence(force=True) == expected
    assert decision.evidence() == {**expected, "forced": False}
    assert json.loads(json.dumps(decision.evidence())) == decision.evidence()


def test_force_that_overrules_nothing_is_not_recorded_as_force():
    """If no check failed, nothing was forced."""
    assert not decided(Check("size", True, "1 MB")).evidence(force=True)["forced"]


@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_force_needs_a_reason(reason):
    """Without force, no reason is needed."""
    with pytest.raises(UsageError, match="--force needs a reason"):
        PromotionOptions(reason, force=True).check_force()
    PromotionOptions(reason).check_force()
    PromotionOptions("measured by hand", force=True).check_force()


def test_a_refusal_says_what_failed_and_how_to_overrule():
    """Exit status 9; everything that failed, what state remains, the command to type."""
    passed = Check("speed", True, "fast")
    failed = Check("accuracy", False, "0.5 after 0.9"), Check("size", False, "9 MB")
    error = PromotionRefusedError(decided(passed, *failed))
    assert error.exit_status == 9
    assert "accuracy: 0.5 after 0.9" in error.what
    assert "size: 9 MB" in error.what
    assert "speed" not in error.what
    assert "2 of 3 checks failed" in error.what
    assert "flowers@1 still holds production" in error.remedy
    assert error.command.startswith("mlreg promote flowers@2 production --force --reason")
