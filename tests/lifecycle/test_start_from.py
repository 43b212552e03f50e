"""Runs that start with the weights of a registered version: what is taken, said and recorded."""

import json
from dataclasses import replace
from functools import partial

import pytest
from fakes import FakeBackend
from lifecycle_helpers import Project

from registry_core.errors import IntegrityError, UsageError
from registry_core.formatting import parent_facts, parent_of
from registry_core.lifecycle.parents import (
    copy_parent,
    find_parent,
    parents_below,
    start_from_version,
)
from registry_core.lifecycle.record_diff import changed_since, covered
from registry_core.lifecycle.reproduce import EphemeralWorkspace
from registry_core.lifecycle.run import execute
from registry_core.lifecycle.spec import spec_from_json, spec_from_preset, spec_from_run
from registry_core.records import MODEL_FILE, PARENT

pytestmark = pytest.mark.drawn


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def spec_from(project, version, **choices):
    spec = spec_from_preset(project.plugins, **choices)
    return replace(spec, start_from=start_from_version(version))


def weights_of(project, version):
    return json.loads(project.manifest(version)["weights"])


def test_the_model_starts_with_a_versions_weights_and_the_record_says_which(project):
    """What was taken, and what was not, is said and recorded, with the digests of both."""
    parent = project.run()
    version = project.run(spec=spec_from(project, parent, overrides={"units": 16}))
    file = parent.file(MODEL_FILE).sha256
    assert weights_of(project, version)["from"] == file
    assert project.manifest(version)[PARENT] == {
        "ref": "flowers@1",
        "model": "flowers",
        "version": 1,
        "digest": parent.digest,
        "sha256": file,
        "origin": {
            "registry": project.store.registry_id(), "model": "flowers", "version": 1,
            "ref": "flowers@1",
        },
        "taken": ["learning_rate"],
        "fresh": {"units": "(8) there, (16) here"},
        "unused": ["units"],
        "variables": 1,
        "of_variables": 2,
        "parameters": 10,
        "of_parameters": 20,
        "part": "",
        "source": "",
    }  # fmt: skip
    told = [line for line in project.observer.said if "flowers@1" in line or "fresh" in line]
    assert told == [
        "Starts from flowers@1: takes the weights of 1 of 2 layers, 10 of 20 parameters",
        "Not taken, starts fresh: units ((8) there, (16) here)",
        "Not used of flowers@1: units",
    ]
    assert project.store.ledger(version=2)[0].reason == "starts from flowers@1"
    assert PARENT not in project.manifest(parent)
    assert project.observer.warnings == []


@pytest.mark.gate
def test_nothing_that_fits_is_refused_and_leaves_nothing(project):
    """It says what does not fit, and starts no run."""
    parent = project.run()
    project.change_plugin(('"units": config.units, "learning_rate": learning_rate', '"deep": 1'))
    with pytest.raises(UsageError, match=r"Nothing of flowers@1 fits: deep \(not there\)"):
        project.run(spec=spec_from(project, parent))
    assert project.store.unfinished_runs() == []


@pytest.mark.gate
def test_other_classes_of_the_same_number_are_a_warning(project):
    """The last layer fits, and means other classes."""
    parent = project.run()
    project.change_plugin(("versicolor", "rose"))
    project.run(spec=spec_from(project, parent))
    (warning,) = project.observer.warnings
    assert "flowers@1 has other classes (setosa, versicolor, virginica)" in warning


# --- stopped and resumed -------------------------------------------------------------------------


def test_a_resumed_run_has_the_same_weights_and_needs_no_parent(project):
    """The parent was removed meanwhile; its file is not read again."""
    parent = project.run()
    spec = spec_from(project, parent)
    whole = project.run(spec=spec)
    stopped = project.stopped(spec=spec)
    project.store.removals.remove(parent)
    version = project.resume(stopped)
    assert "take_weights" not in project.backend.calls
    assert weights_of(project, whole)["from"] == parent.file(MODEL_FILE).sha256
    records = [project.manifest(each) for each in (whole, version)]
    assert records[0][PARENT] == records[1][PARENT]
    assert records[0]["history"] == records[1]["history"]
    assert project.observer.warnings == []


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_without_a_usable_checkpoint_takes_the_weights_again(project, damaged):
    """Stopped before the first one, or it is damaged."""
    parent = project.run()
    place = (1, 0) if damaged else (0, 1)
    stopping = partial(FakeBackend, interrupt_at=place)
    stopped = project.stopped(spec=spec_from(project, parent), backend=stopping)
    if damaged:
        (file,) = project.folder.glob("registry/runs/*/checkpoint*")
        file.write_bytes(b"no checkpoint")

    class Forgiving(FakeBackend):
        def fit(self, assembly, observer, stop, checkpoints):
            if damaged:  # as Keras's does, which starts from the beginning
                file.unlink()
            return super().fit(assembly, observer, stop, checkpoints)

    version = project.resume(stopped, backend=Forgiving)
    assert "take_weights" in project.backend.calls
    assert weights_of(project, version)["from"] == parent.file(MODEL_FILE).sha256


@pytest.mark.gate
def test_a_run_without_a_checkpoint_whose_parent_is_gone_says_so(project):
    """With the command that brings it back."""
    parent = project.run()
    stopping = partial(FakeBackend, interrupt_at=(0, 1))
    stopped = project.stopped(spec=spec_from(project, parent), backend=stopping)
    project.store.removals.remove(parent)
    with pytest.raises(UsageError, match=r"flowers@1, whose weights .*, was removed") as caught:
        project.resume(stopped)
    assert caught.value.command == "mlreg restore flowers@1"


# --- trained again, compared, sent ---------------------------------------------------------------


@pytest.mark.gate
def test_reproducing_starts_from_the_parent_again(project):
    """Whatever it is called now: a copy with the same manifest will do."""
    version = project.run(spec=spec_from(project, project.run()))
    found = project.reproduce(version)
    assert (found.verdict, list(found.drift)) == ("identical", [])
    assert "parent" in found.compared


@pytest.mark.gate
def test_reproducing_without_the_parent_is_refused_and_names_it(project):
    parent = project.run()
    version = project.run(spec=spec_from(project, parent))
    project.store.removals.remove(parent)
    with pytest.raises(UsageError, match=r"flowers@1, .* was removed"):
        project.reproduce(version)
    start = replace(start_from_version(parent), digest="0" * 64)
    with pytest.raises(UsageError, match=r"flowers@1, .* is not in this registry"):
        find_parent(project.store, start)


@pytest.mark.gate
def test_two_versions_that_differ_in_their_parent_alone_are_not_called_alike(project):
    first = project.run()
    records = [
        project.manifest(first),
        project.manifest(project.run(spec=spec_from(project, first))),
    ]
    (change,) = changed_since(*records)
    digest = first.file(MODEL_FILE).sha256[:12]
    assert str(change) == f"parent model: flowers@1, weights {digest}, was nothing"
    assert "parent" in covered(*records).compared
    assert (parent_of(records[0]), parent_of(records[1])) == ("", "flowers@1")
    assert parent_facts(records[0]) == []
    (fact,) = parent_facts(records[1])
    assert fact == (
        "starts from",
        f"flowers@1 (manifest {first.digest[:12]}), 2 of 2 layers, 20 of 20 parameters",
    )


@pytest.mark.parametrize("parent", [None, "flowers@1", {}, {"ref": 7, "taken": 3}])
def test_an_odd_record_is_shown_as_far_as_it_can_be(parent):
    """A record may come from another registry."""
    assert len(parent_facts({PARENT: parent})) <= 1


@pytest.mark.gate
def test_measuring_again_asks_for_no_parent(project):
    """The version's weights are its own; its record may even be odd, or the parent gone."""
    version = project.run()
    recorded = project.recorded(version)
    odd = replace(recorded, manifest={**recorded.manifest, PARENT: {"ref": 7}})
    assert project.evaluate(version, recorded=odd).version.ref == "flowers@1"


@pytest.mark.gate
def test_a_worker_without_the_registry_starts_from_files_that_were_sent(project):
    """Its specification says their digests, and a file that was changed is refused."""
    spec = spec_from(project, project.run())
    sent, scratch = project.folder / "sent", project.folder / "scratch"
    sent.mkdir()
    scratch.mkdir()
    files = copy_parent(project.store, spec.start_from, sent)
    assert sorted(file.name for file in files) == ["model.keras", "parent.json"]
    arrived = spec_from_json(project.plugins, json.loads(json.dumps(spec.to_json())))
    assert arrived == spec
    context = replace(project.context(), open_parent=parents_below(sent, project.settings))
    made = execute(arrived, EphemeralWorkspace(scratch), context)
    assert json.loads(made.weights)["from"] == spec.start_from.sha256
    assert "origin" not in made.origin[PARENT]
    (sent / MODEL_FILE).chmod(0o600)
    (sent / MODEL_FILE).write_bytes(b"{}")
    with pytest.raises(IntegrityError, match=r"model.keras of flowers@1 was changed"):
        execute(arrived, EphemeralWorkspace(scratch), context)


@pytest.mark.gate
def test_a_stopped_runs_specification_names_the_parent(project):
    """So that whoever resumes it elsewhere knows what it needs."""
    parent = project.run()
    stopped = project.stopped(spec=spec_from(project, parent))
    assert spec_from_run(project.plugins, stopped).start_from == start_from_version(parent)


@pytest.mark.gate
@pytest.mark.parametrize(
    "wrong", [{"ref": "flowers"}, {"digest": "12"}, {"sha256": None}, {"ref": "../x@1"}]
)
def test_a_specification_with_a_wrong_parent_is_refused(project, wrong):
    spec = spec_from(project, project.run())
    record = spec.to_json()
    record["start_from"] |= wrong
    with pytest.raises(UsageError, match="version to start from is not valid"):
        spec_from_json(project.plugins, record)
