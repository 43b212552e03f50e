"""A run's specification as JSON: read back in another process, it makes the same model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_helpers import python
from fakes import FakeBackend
from lifecycle_helpers import Project

from registry_core.errors import DataError, UsageError
from registry_core.lifecycle.reproduce import EphemeralWorkspace
from registry_core.lifecycle.run import execute
from registry_core.lifecycle.spec import spec_from_json, spec_from_preset, spec_from_run

# Reads a specification from stdin and executes it, in a process that knows the project alone.
WORKER = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})

from fakes import Recorder, run_context
from registry_core.lifecycle.reproduce import EphemeralWorkspace
from registry_core.lifecycle.run import execute
from registry_core.lifecycle.spec import spec_from_json
from registry_core.plugins.manager import KnownPlugins
from registry_core.settings import read_settings

record, folder, observer = json.load(sys.stdin), Path.cwd(), Recorder()
plugins = KnownPlugins(read_settings(folder / "plugins.toml")).load(record["dataset"])
spec = spec_from_json(plugins, record)
made = execute(spec, EphemeralWorkspace(folder), run_context(plugins, folder, observer=observer))
print(json.dumps({{
    "spec": spec.to_json(), "weights": made.weights, "metrics": made.metrics,
    "loss": made.history.metrics["loss"], "warnings": observer.warnings,
}}))
"""


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def executed(project, spec):
    return execute(spec, EphemeralWorkspace(project.folder), project.context())


@pytest.mark.gate
def test_another_process_reads_the_specification_and_makes_the_same_model(project):
    """Settings, name, folder and group arrive; weights, history and metrics are equal."""
    overrides = {"units": 16, "learning_rate": 0.5, "seed": 7}
    spec = spec_from_preset(project.plugins, "quick", overrides, "petals", project.folder)
    spec = replace(spec, group="five")
    here = executed(project, spec)
    text = json.dumps(spec.to_json())
    done = python("-c", WORKER, cwd=project.folder, given=text)
    assert done.status == 0, done.stderr
    assert done.json == {
        "spec": json.loads(text),
        "weights": here.weights,
        "metrics": dict(here.metrics),
        "loss": [1.0],
        "warnings": [],
    }
    assert "16" in here.weights


def test_the_json_is_complete_and_names_the_plugins_code(project):
    """Every field; the data's digest is there as far as it is known."""
    spec = spec_from_preset(project.plugins, "quick")
    record = json.loads(json.dumps(spec.to_json()))
    assert list(record) == [
        "schema", "model", "dataset", "preset", "config", "data_dir", "group", "resumes", "code",
        "data", "start_from",
    ]  # fmt: skip
    assert record["schema"] == 2
    assert record["code"] == {"flowers": project.plugins.describe()[0]["code_sha256"]}
    assert record["data"] is None
    assert spec_from_json(project.plugins, record) == spec
    assert list(spec.summary()) == ["model", "dataset", "preset", "config"]


@pytest.mark.gate
def test_a_specification_for_other_code_is_executed_with_a_warning(project):
    """The plugin was edited since: the digests are named."""
    record = spec_from_preset(project.plugins, "quick").to_json()
    project.change_plugin(("drawn", "made up"))
    executed(project, spec_from_json(project.plugins, record))
    (warning,) = project.observer.warnings
    assert warning.startswith("Not as it was when the run was specified: plugin flowers: code ")
    assert record["code"]["flowers"][:12] in warning


@pytest.mark.gate
def test_a_specification_for_other_data_is_refused_before_the_backend_is_loaded(project):
    """Where it says which data it is for."""
    version = project.run(preset="quick")
    splits = project.manifest(version)["data"]["splits"]
    record = replace(spec_from_preset(project.plugins, "quick"), data=splits).to_json()
    executed(project, spec_from_json(project.plugins, record))
    project.change_plugin(("split(30)", "split(36)"))
    project.backend = None
    with pytest.raises(DataError, match=r"not what the run was specified for: .* split has"):
        executed(project, spec_from_json(project.plugins, record))
    assert project.backend is None


@pytest.mark.gate
def test_a_resumption_is_a_specification_too(project):
    """It names the run and its data, and the run is resumed by it."""
    stopped = project.stopped()
    record = json.loads(json.dumps(spec_from_run(project.plugins, stopped).to_json()))
    assert record["resumes"] == stopped.id
    assert record["data"]["train"]["examples"] == 30
    project.stop.signum = None
    version = project.run(spec=spec_from_json(project.plugins, record), backend=FakeBackend)
    assert (version.run, project.manifest(version)["resumed"]) == (stopped.id, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 1}, "schema 1, not 2"),
        ({"schema": None}, "schema None"),
        ({"config": [1]}, "no valid config"),
        ({"group": None}, "no valid group"),
        ({"data_dir": "/nowhere/at/all"}, "does not exist"),
        ({"dataset": "spirals"}, "for the dataset plugin 'spirals', not 'flowers'"),
        ({"config": {"petals": 3}}, "petals"),
        ({"model": "../x"}, "a-z first"),
    ],
)
def test_what_is_no_specification_is_refused(project, change, said):
    record = spec_from_preset(project.plugins, "quick").to_json()
    with pytest.raises(UsageError, match=said):
        spec_from_json(project.plugins, record | change)
    del record["code"]
    with pytest.raises(UsageError, match="no valid code"):
        spec_from_json(project.plugins, record)
