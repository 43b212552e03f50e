"""The log of a run: written while it runs, kept however it ends, and shown afterwards."""

from __future__ import annotations

import re
from functools import partial

import pytest
from cli_helpers import fill, stop
from fakes import FakeBackend, Recorder, run_context, write_project

from registry_core.errors import Interrupted, PluginError, TrainingError, UsageError
from registry_core.lifecycle import run as lifecycle
from registry_core.lifecycle.run_log import logged
from registry_core.lifecycle.spec import spec_from_preset, spec_from_run
from registry_core.plugins.manager import KnownPlugins
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store
from registry_core.store.local import run_files, workspace


class Project:
    """A folder with a plugin, a registry, and runs that need no TensorFlow."""

    def __init__(self, folder):
        self.plugins = KnownPlugins(write_project(folder)).load("flowers")
        self.store = Store(folder / "registry")
        self.registry = Registry(self.store.folder, Settings(folder / "plugins.toml", {}, {}, None))
        self.folder = folder
        self.observer = Recorder()

    def run(self, resumes=None, trainer=FakeBackend, **how):
        plan = spec_from_preset(self.plugins, "baseline")
        if resumes:
            (run,) = self.store.unfinished_runs()
            plan = spec_from_run(self.plugins, run)
        context = run_context(self.plugins, self.folder, partial(trainer, **how), self.observer)
        return lifecycle.run(plan, self.store, context)

    def log(self, *words):
        return self.registry.run_log(words)


def limit_log(monkeypatch, size, last_lines=run_files.LIMIT_LAST_LINES):
    for module in (run_files, workspace):
        monkeypatch.setattr(module, "LIMIT_LOG", size)
        monkeypatch.setattr(module, "LIMIT_LAST_LINES", last_lines)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.mark.gate
def test_the_log_of_a_version_has_every_line_of_its_run(project):
    """What, where, on what, each stage and epoch, and the result; each with its time."""
    version = project.run()
    log = project.log(version.ref)
    assert (log.ref, log.run) == ("flowers@1", version.run)
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ .", line) for line in log.lines)
    said = [line[21:] for line in log.lines]
    assert said[0] == "flowers, preset baseline, seed 0: 3 epochs, batches of 10"
    assert said[1] == f"Run {version.run[-8:]} registers the next version of flowers"
    assert said[2:4] == ["Loading the data …", "drawn"]
    assert said[5].startswith("On none; ")
    epochs = [line for line in said if line.startswith("epoch ")]
    assert [line.split()[:4] for line in epochs] == [
        ["epoch", "1/3", "loss", "1.00"],
        ["epoch", "2/3", "loss", "0.5"],
        ["epoch", "3/3", "loss", "0.3333"],
    ]
    assert not any(str(project.store.folder) in line for line in said)  # it can be moved
    assert said[-2] == "test loss 0.5417  test accuracy 0.8333"
    assert said[-1].startswith("Done in ")


@pytest.mark.gate
def test_a_version_is_found_by_its_runs_id_too(project):
    """Its end is enough, as for the other commands."""
    version = project.run()
    assert project.log(version.run) == project.log(version.run[-8:]) == project.log("flowers", "1")


def test_a_failed_run_keeps_its_log_and_the_reason(project):
    """The last line says why it ended."""
    with pytest.raises(TrainingError):
        project.run(diverge_at=(1, 2))
    (run,) = project.store.unfinished_runs()
    log = project.log(run.id[-8:])
    assert log.ref is None
    assert "epoch 1/3" in "\n".join(log.lines)
    assert log.lines[-1].endswith("Failed: The loss is nan in epoch 2, batch 3.")


@pytest.mark.gate
def test_a_resumed_run_goes_on_in_the_same_log(project):
    """Interrupted, resumed, registered: one log has it all, and becomes the version's."""
    with pytest.raises(Interrupted):
        project.run(interrupt_at=(1, 0))
    version = project.run(resumes=True)
    text = "\n".join(project.log(version.ref).lines)
    assert text.count("flowers, preset baseline, seed 0") == 2
    assert text.index("Stopped by SIGINT") < text.index("Resumed after epoch 1\n")
    assert text.index("Resumed after epoch 1\n") < text.index("epoch 3/3")
    assert project.observer.resumptions == [(1, 0)]


@pytest.mark.gate
def test_a_run_stopped_before_its_first_checkpoint_keeps_its_log(project):
    """It begins anew when it is resumed, and its log does not."""
    with pytest.raises(Interrupted):
        project.run(interrupt_at=(0, 0))
    version = project.run(resumes=True)
    text = "\n".join(project.log(version.ref).lines)
    assert text.count("Stopped by SIGINT") == 1
    assert "Resumed" not in text


def test_whatever_is_logged_is_one_line_that_a_terminal_can_be_given(project):
    """Escape sequences and line ends are written as escapes, and long lines are cut."""
    with project.store.start_run("flowers") as folder, logged(Recorder(), folder) as observer:
        observer.say("red \x1b[31m and\nnext \u202e \udc80")
        observer.warn("x" * 100_000)
        first, second = folder.log_content.decode().splitlines()
    assert first.endswith(r"red \x1b[31m and\nnext \u202e \udc80")
    assert len(second) < 2_100


def test_what_somebody_else_wrote_into_a_log_is_shown_as_escapes(project):
    """A plugin can write into the file; showing it moves no cursor."""
    stopped = stop(project.store)
    file = project.store.folder / "runs" / stopped / "run.log"
    file.write_bytes(b"\x1b[2Jgone \xff\n")
    assert project.log(stopped).lines == [r"\x1b[2Jgone \xff"]


def test_a_log_is_bounded_and_still_says_why_the_run_ended(project, monkeypatch):
    """What is too much is left out, which the log says itself."""
    limit_log(monkeypatch, 2_000)
    with project.store.start_run("flowers") as folder:
        with pytest.raises(TrainingError), logged(Recorder(), folder) as observer:
            for number in range(1_000):
                observer.say(f"line {number}")
            raise TrainingError("It diverged.")
        lines = folder.log_content.decode().splitlines()
        assert len(folder.log_content) < 2_200
    assert lines[-2] == "The log is full: what follows is not in it."
    assert lines[-1].endswith("Failed: It diverged.")


def test_a_log_is_never_written_through_a_link(project, tmp_path):
    """What a plugin put in its place costs a warning and the log, not the run or another file."""
    other = tmp_path / "other"
    other.write_text("mine")
    recorder = Recorder()
    with project.store.start_run("flowers") as folder, logged(recorder, folder) as observer:
        (folder.path / "run.log").symlink_to(other)
        observer.say("one")
        observer.say("two")
    assert other.read_text() == "mine"
    assert len(recorder.warnings) == 1
    assert "The run's log ends here" in recorder.warnings[0]
    assert recorder.said == ["one", "two"]


@pytest.mark.gate
def test_a_log_that_a_plugin_blew_up_costs_the_log_and_not_the_version(project, monkeypatch):
    """What is larger than a log can be is not read; the run is registered, with a warning."""
    limit_log(monkeypatch, 10_000, 100)

    class Careless(FakeBackend):
        def fit(self, assembly, observer, stop, checkpoints):
            (checkpoints.path / "run.log").write_bytes(b"x" * 20_000)
            return super().fit(assembly, observer, stop, checkpoints)

    version = project.run(trainer=Careless)
    assert version.file("run.log") is None
    (warning,) = project.observer.warnings
    assert "The run's log is left out" in warning


def test_what_has_no_log_says_so(project):
    """An older version, an imported one, a run of an older mlreg, a run that is not there."""
    fill(project.store.folder, 0.5)
    stopped = stop(project.store)
    for word, what in (
        ("flowers@1", "flowers@1 has no log"),
        (stopped, "has no log"),
        ("0123abcd", "No run '0123abcd'"),
    ):
        with pytest.raises(UsageError, match=what):
            project.log(word)


def test_a_failure_before_training_leaves_no_run(project):
    """Nothing was begun, so there is nothing to keep."""
    with pytest.raises(PluginError):
        project.run(raises={"check": PluginError("The model does not fit.")})
    assert project.store.unfinished_runs() == []
