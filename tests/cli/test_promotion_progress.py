"""A promotion that has much to compare, at the command line: it says how far it is, and stops."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest
from cli_helpers import mlreg, start_python
from store_helpers import scored

from registry_core.evaluation.paired_tests import FULL_BOOTSTRAP_EXAMPLES
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.store import Store

pytestmark = pytest.mark.processes

# A command line whose bootstrap takes an hour, and says at once how far it is.
SLOW = """
import sys
from registry_core.evaluation import paired_tests as statistics
from registry_core.cli import main
from registry_core.lifecycle import run_log

statistics.BOOTSTRAP_RESAMPLES = 10_000_000
run_log.SECONDS_WITHOUT_LINE = run_log.SECONDS_BETWEEN_LINES = 0.0
main(sys.argv[1:])
"""

RULE = """
[registry]
path = "registry"

[promotion.production]
versus_incumbent = "better"
"""


@pytest.fixture(params=[FULL_BOOTSTRAP_EXAMPLES, FULL_BOOTSTRAP_EXAMPLES + 1])
def store(request, tmp_path):
    """Two versions of a regression, the first in production, whose rule is a paired test."""
    store = Store(tmp_path / "registry")
    for number in (1, 2):
        losses = np.random.default_rng(number).gamma(2, 1, request.param).astype("<f4")
        answers = PerExampleResults(request.param, "sha256:test", losses.tobytes())
        with store.start_run("dummy") as run:
            files = {name: run.files / name for name in ("model.keras", OUTCOMES_FILE)}
            files["model.keras"].write_bytes(b"weights %d" % number)
            files[OUTCOMES_FILE].write_bytes(answers.to_json())
            store.publish(run, scored(0.5), files, lambda paths: None)
    (tmp_path / "plugins.toml").write_text(RULE)
    assert mlreg("promote", "dummy@1", "production").status == 0
    return store


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("words", ["promote dummy@2 production --json", "compare dummy@1 dummy@2"])
def test_a_long_comparison_says_how_far_it_is_and_a_signal_stops_it(store, words):
    """On stderr; Ctrl-C ends it with 130 at once, and the alias has not moved."""
    process = start_python("-c", SLOW, *words.split())
    try:
        heard = ""
        while "Resampling" not in heard:
            heard = process.stderr.readline()
            assert heard, "it ended without a word"
        assert heard.startswith("Resampling the results of dummy@2 and dummy@1: ")
        assert heard.endswith(" of 10,000,000\n")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert time.monotonic() - began < 10
        assert process.returncode == 130
        assert "Resampling" not in out
    finally:
        process.kill()
    assert [row.version for row in store.ledger("dummy", alias="production")] == [1]


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("option", ["-q", "--json"])
def test_a_comparison_that_takes_seconds_writes_its_result_alone(store, option):
    """9: neither version is better; stderr has no progress where it is soon done."""
    done = mlreg("promote", "dummy@2", "production", option)
    assert done.status == 9
    assert "10,000,000" not in done.stderr
    if option == "-q":
        assert "Resampling" not in done.stderr
        assert done.stdout == ""
    else:
        assert done.json["decision"]["comparison"]["test"].startswith("paired bootstrap")
