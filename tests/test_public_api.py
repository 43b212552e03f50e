"""What a program does with `import mlreg`, without the command line."""

import json

import pytest
from cli_helpers import python
from fakes import write_project

pytestmark = pytest.mark.processes

# A backend without TensorFlow in place of Keras; a program leaves these lines out.
FAKES = f"""
import sys
sys.path.insert(0, {str(__file__).rpartition("/")[0]!r})
import fakes
from registry_core import running
running.load_backend, running.standard_report = fakes.FakeBackend, fakes.standard_report
"""

SCRIPT = """
import mlreg

registry = mlreg.open_registry("registry")
first = registry.run("flowers", preset="quick")
second = registry.run("flowers", overrides={"epochs": 2, "seed": 7})
registry.promote(first, "production", reason="the first")
registry.promote(second.ref, "production", reason="two epochs")
registry.rollback("flowers", "production")
registry.export("flowers@production", output="model.keras")
print(registry.version("flowers@production").ref, len(registry.history()))
"""


@pytest.mark.core
def test_ten_lines_run_promote_roll_back_and_export(tmp_path):
    """The verbs of the command line, with a plugin of plugins.toml; nothing else is printed."""
    write_project(tmp_path)
    done = python("-c", FAKES + SCRIPT, cwd=tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout == "flowers@1 5\n"
    assert json.loads((tmp_path / "model.keras").read_text())["units"] == 8


RUNS = """
import json, signal
import mlreg

handler = signal.getsignal(signal.SIGINT)
registry = mlreg.open_registry("registry")
group = registry.run_group("flowers", "quick", seeds=2)
print(json.dumps({
    "planned": registry.plan_run("flowers").to_json()["preset"],
    "group": [version.ref for version in group],
    "reproduced": registry.reproduce(group[0]).verdict,
    "evaluated": registry.evaluate("flowers@2").verdict,
    "finished": [run["version"] for run in registry.runs().to_json()["runs"]],
    "handler": signal.getsignal(signal.SIGINT) is handler,
}))
"""


@pytest.mark.gate
def test_a_program_runs_groups_reproduces_and_evaluates(tmp_path):
    """Nothing is shown, and signals stay the program's own."""
    write_project(tmp_path)
    load = "from registry_core import Registry\nRegistry.load = lambda self, reference: None\n"
    done = python("-c", FAKES + load + RUNS, cwd=tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert done.json == {
        "planned": "baseline",
        "group": ["flowers@1", "flowers@2"],
        "reproduced": "identical",
        "evaluated": "identical",
        "finished": ["flowers@2", "flowers@1"],
        "handler": True,
    }


def test_a_missing_registry_is_empty_and_not_made(tmp_path):
    """A program that only looks makes no folder."""
    from registry_core import open_registry

    registry = open_registry(tmp_path / "registry")
    assert (len(registry.models()), len(registry.history())) == (0, 0)
    assert not registry.folder.exists()
