"""The tests that come with the examples pass: every rule of the contract, TensorFlow's included."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import process_environment

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTED = sorted(file.parent.name for file in EXAMPLES.glob("*/test_*.py"))

pytestmark = [pytest.mark.gate, pytest.mark.tensorflow, pytest.mark.processes]


@pytest.mark.exhaustive
@pytest.mark.parametrize("example", TESTED)
def test_an_example_keeps_every_rule(example, tmp_path):
    """None is skipped but those about hooks that it does not have; an extension has fewer."""
    done = subprocess.run(  # python() of cli_helpers allows less time
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", EXAMPLES / example],
        cwd=tmp_path,
        env=process_environment({}),
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 14
