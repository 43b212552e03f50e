"""What arrives from workers is not trusted: names of files, errors, late and foreign events."""

from __future__ import annotations

import pytest
from fakes import Recorder
from lifecycle_helpers import Project

from registry_core.errors import DataError, IntegrityError, MlregError
from registry_core.executors.dispatch import Dispatch
from registry_core.executors.interface import Event
from registry_core.executors.messages import (
    check_name,
    digests_of,
    error_from_json,
    error_to_json,
    observe,
)
from registry_core.lifecycle.spec import spec_from_preset


class ByHand:
    """An executor whose events a test makes up."""

    slots = 2

    def __init__(self):
        self.started, self.events, self.cancelled = [], [], []

    def start(self, job, folder, kept, record):
        self.started.append((job, dict(kept)))

    def next_event(self, timeout):
        return self.events.pop(0) if self.events else None

    def stop(self, job):
        pass

    def cancel(self, job):
        self.cancelled.append(job)

    def close(self):
        pass


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def running(project):
    """A dispatch with one run, its executor, and what makes events of that run."""
    executor = ByHand()
    dispatch = Dispatch(project.store, executor, project.stop, {})
    spec = spec_from_preset(project.plugins)
    folder = project.store.start_run(spec.model)
    run = dispatch.start(0, spec, Recorder(), folder)

    def say(kind, data=None, files=None, attempt=1):
        files = files or {}
        data = {**(data or {}), "digests": digests_of(files), "present": []}
        executor.events.append(Event(run, attempt, kind, data, files))

    yield dispatch, executor, folder, say
    dispatch.close()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a//x", "", ".", "a/.", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    """Absolute ones and those with `..`, wherever they come from."""
    with pytest.raises(IntegrityError, match="sent a file named"):
        check_name(name)


@pytest.mark.parametrize("name", ["../run.json", "run.json", "lock", "files/model.keras"])
def test_a_checkpoint_cannot_bring_a_file_of_the_hosts(running, name):
    """The run fails, and its folder is as it was."""
    dispatch, executor, folder, say = running
    file = folder.path / "worker" / "sent"
    file.write_bytes(b"evil")
    say("checkpoint", files={"checkpoint.zip": file, name: file})
    ended = dispatch.wait()
    assert isinstance(ended.error, IntegrityError)
    assert executor.cancelled
    assert folder.record is None and folder.checkpoint is None
    ended.close(ended.error)


def test_a_file_of_this_machine_that_is_no_workers_is_not_taken(running, tmp_path):
    """A worker can only send what is in its folder."""
    dispatch, _, _, say = running
    file = tmp_path / "secret"
    file.write_bytes(b"key")
    say("finished", {"record": {}}, {"model.keras": file})
    ended = dispatch.wait()
    assert isinstance(ended.error, IntegrityError) and file.exists()
    ended.close(ended.error)


def test_a_file_is_written_through_no_link(running, tmp_path):
    """A link that an earlier attempt left in the run's folder is replaced."""
    dispatch, _, folder, say = running
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder.path / "logs").symlink_to(elsewhere)
    file = folder.path / "worker" / "sent"
    file.write_bytes(b"rows")
    say("checkpoint", files={"checkpoint.zip": file, "logs/rows.csv": file})
    say("stopped")
    dispatch.wait().close()
    assert not [*elsewhere.iterdir()]


def test_a_file_that_arrives_changed_ends_the_run(running):
    """Its digest is compared before anything is registered."""
    dispatch, executor, folder, say = running
    file = folder.path / "worker" / "sent"
    file.write_bytes(b"model")
    say("finished", {"record": {}}, {"model.keras": file})
    executor.events[0].data["digests"]["model.keras"] = "0" * 64
    ended = dispatch.wait()
    assert "did not arrive as the worker sent it" in ended.error.what
    ended.close(ended.error)


def test_what_an_earlier_attempt_says_does_not_count(running):
    """A result that arrives twice, or after its worker was given up, changes nothing."""
    dispatch, executor, _, say = running
    say("lost", {"why": "its process was killed by SIGKILL"})
    say("finished", {"record": "of the first attempt"}, attempt=1)
    say("finished", {"record": "of the second attempt"}, attempt=2)
    say("finished", {"record": "again"}, attempt=2)
    ended = dispatch.wait()
    assert ended.result["record"] == "of the second attempt"
    assert [job.attempt for job, _ in executor.started] == [1, 2]
    assert dispatch.wait() is None
    ended.close()


def test_an_error_travels_with_its_class_and_its_words():
    """A plugin's own class arrives as the host's class that it derives from; a bug as a bug."""

    class OwnError(DataError):
        pass

    error = OwnError("no rows", "Add some.", "mlreg data fetch")
    error.add_note("in plugin 'flowers'")
    arrived = error_from_json(error_to_json(error))
    assert type(arrived) is DataError
    assert (arrived.what, arrived.remedy, arrived.command) == (
        "no rows", "Add some.", "mlreg data fetch",
    )  # fmt: skip
    assert arrived.__notes__ == ["in plugin 'flowers'"]
    bug = error_from_json(error_to_json(ZeroDivisionError("by zero")))
    assert type(bug) is MlregError and bug.what == "ZeroDivisionError: by zero"


def test_only_calls_of_an_observer_are_repeated():
    """Another name is ignored."""
    observer = Recorder()
    observe(observer, {"call": "say", "args": ["hello"]})
    observe(observer, {"call": "__init__", "args": []})
    assert observer.said == ["hello"]
