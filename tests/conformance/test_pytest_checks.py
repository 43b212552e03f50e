"""`plugin_checks` makes a test of each rule, with strict expected failures."""

from __future__ import annotations

import re

import pytest
from cli_helpers import python
from conformance_helpers import HERE

from mlreg.testing import plugin_checks
from registry_core.conformance.rules import rules_for
from registry_core.errors import UsageError

pytestmark = pytest.mark.processes

TESTS = """
import prints_nothing, sound_plugin
from mlreg.testing import plugin_checks

test_sound = plugin_checks(sound_plugin, quick=True, expected_failures={"imports": "it cannot"})
test_broken = plugin_checks(prints_nothing, quick=True)
test_expected = plugin_checks(
    prints_nothing, quick=True, expected_failures={"prints-nothing": "a library prints"}
)
"""


@pytest.mark.gate
def test_a_test_for_each_rule_passes_fails_or_is_expected_to_fail(tmp_path):
    """A listed rule that passes fails; the ids are the rules'."""
    (tmp_path / "test_points.py").write_text(TESTS)
    path = f"{HERE}:{HERE / 'broken'}"
    done = python("-m", "pytest", "-q", "-rfx", "-p", "no:cacheprovider", PYTHONPATH=path)
    rules = len(rules_for("dataset", quick=True))
    assert f"2 failed, {3 * rules - 3} passed, 1 xfailed" in done.stdout, done.stdout
    assert re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE) == [
        "test_points.py::test_sound[imports]",
        "test_points.py::test_broken[prints-nothing]",
    ]
    assert "It passes, and is listed as an expected failure: it cannot" in done.stdout
    assert "It printed 'reading' during data-loads." in done.stdout
    assert re.search(r"XFAIL .*test_expected\[prints-nothing\] - a library prints", done.stdout)


def test_an_unknown_rule_or_plugin_is_an_error_that_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'prints-nothing'"):
        plugin_checks("cifar10", expected_failures={"print-nothing": "no"})
    with pytest.raises(UsageError, match="Did you mean 'cifar10'"):
        plugin_checks("cifar")
