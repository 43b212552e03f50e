"""How much each setting of a sweep matters."""

from __future__ import annotations

import pytest
from cli_helpers import python
from sweep_helpers import made_sweep

from registry_core.sweeps.importance import importance

pytestmark = pytest.mark.gate


def test_the_setting_that_decides_is_the_most_important():
    """The same trials give the same shares, which add up to 1; few trials, or one setting, none."""
    shares = importance(made_sweep(60))
    assert next(iter(shares)) == "learning_rate" and shares["learning_rate"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert importance(made_sweep(60)) == shares
    assert importance(made_sweep(3)) == {}
    one = {"learning_rate": made_sweep().space["learning_rate"]}
    assert importance(made_sweep(60, space=one)) == {}


def test_settings_of_every_kind_have_an_importance():
    """Integers, lists among the choices, and where lower is better."""
    space = {
        "learning_rate": made_sweep().space["learning_rate"],
        "depth": {"low": 1, "high": 8, "log": False, "int": True},
        "layers": {"choices": [[16], [16, 16], None]},
    }
    sweep = made_sweep(20, space=space, direction="minimize")
    for place, trial in enumerate(sweep.trials):
        trial.params.update(depth=1 + place % 8, layers=space["layers"]["choices"][place % 3])
    assert set(importance(sweep)) == {"learning_rate", "depth", "layers"}


SHOWN = """
import sys
sys.path.insert(0, {tests!r})
from sweep_helpers import registered_sweep
from registry_core.reports.sweeps import build_sweep_report
from registry_core.terminal.tables.sweeps import show_sweep

show_sweep(registered_sweep())
build_sweep_report(registered_sweep()).to_html()
print({{"optuna", "numpy", "tensorflow", "matplotlib", "pydantic"}} & set(sys.modules))
"""


@pytest.mark.processes
def test_showing_a_sweep_imports_neither_optuna_nor_numpy(request):
    """The shares are in its record."""
    done = python("-c", SHOWN.format(tests=str(request.path.parents[1])))
    assert (done.status, done.stdout.splitlines()[-1]) == (0, "set()"), done.stderr
