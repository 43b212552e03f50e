"""What a run says of its progress while it goes on, and what is read of it."""

from __future__ import annotations

import json
import os
from functools import partial

import pytest
from fakes import FakeBackend, Recorder
from lifecycle_helpers import Project

from registry_core.errors import Interrupted, TrainingError, UsageError
from registry_core.lifecycle import run_curves
from registry_core.lifecycle.run_curves import ProgressWriter, read_curves, version_curves
from registry_core.store.local import workspace

pytestmark = pytest.mark.drawn


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


class Seen(FakeBackend):
    """Looks at its own run from outside when each epoch is done."""

    def fit(self, assembly, observer, stop, checkpoints):
        self.seen = []
        inner = observer.epoch_done

        def epoch_done(epoch, metrics, seconds):
            inner(epoch, metrics, seconds)
            self.seen.append(read_curves(self.store, checkpoints.id))

        observer.epoch_done = epoch_done
        return super().fit(assembly, observer, stop, checkpoints)


def test_a_run_is_followed_from_outside_while_it_goes_on(project, monkeypatch):
    """After each epoch: its metrics, how many there will be, and when it was last heard of."""
    monkeypatch.setattr(run_curves, "SECONDS_BETWEEN_WRITES", 0.0)
    monkeypatch.setattr(Seen, "store", project.store, raising=False)
    version = project.run(backend=Seen)
    first, *_, last = project.backend.seen
    assert (first.state, first.stage, first.model, first.preset) == (
        "running", "fit", "flowers", "baseline",
    )  # fmt: skip
    assert (first.epoch, first.epochs, first.step) == (1, 3, 0)
    assert first.steps == project.observer.started[0][1]
    assert first.metrics["loss"] == [1.0]
    assert last.metrics["loss"] == [1.0, 1 / 2, 1 / 3]
    assert len(last.seconds) == 3
    assert first.started <= first.updated <= last.updated
    assert first.version is None

    done = read_curves(project.store, version.run)
    assert (done.state, done.version, done.epoch, done.epochs) == ("finished", version.ref, 3, 3)
    assert done.metrics["loss"] == last.metrics["loss"]
    assert not (project.store.folder / "runs" / version.run).exists()
    assert {file.path for file in version.files}.isdisjoint({"epochs.jsonl", "progress.json"})
    assert json.loads(json.dumps(done.to_json())) == done.to_json()


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(project):
    """What was written about later epochs does not count: they are trained again."""
    stopped = project.stopped()
    curves = read_curves(project.store, stopped.id)
    assert (curves.state, curves.epoch, curves.epochs) == ("interrupted", 1, 3)
    file = project.store.folder / "runs" / stopped.id / "epochs.jsonl"
    with file.open("a") as stream:  # as a process did that was killed after its last checkpoint
        stream.write('{"epoch": 2, "metrics": {"loss": 99.0}, "seconds": 1}\n')
        stream.write('{"epoch": 3, "metrics": {"loss": 98.0}, "seconds": 1}\n{"epoch": 4, "metr')
    assert read_curves(project.store, stopped.id).metrics["loss"] == [1.0, 99.0, 98.0]
    again = project.store.unfinished_run(stopped.id)
    with pytest.raises(Interrupted):
        project.resume(again, backend=partial(FakeBackend, interrupt_at=(2, 0)))
    assert read_curves(project.store, stopped.id).metrics["loss"] == [1.0, 1 / 2]
    again = project.store.unfinished_run(stopped.id)
    stops = partial(FakeBackend, raises={"evaluate": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        project.resume(again, backend=stops)
    curves = read_curves(project.store, stopped.id)
    assert curves.metrics["loss"] == [1.0, 1 / 2, 1 / 3]
    assert curves.stage == "evaluate"


def test_a_run_that_failed_before_its_first_checkpoint_keeps_its_curves(project):
    diverging = partial(FakeBackend, diverge_at=(0, 1))
    stopped = project.stopped(TrainingError, backend=diverging)
    curves = read_curves(project.store, stopped.id)
    assert (curves.state, curves.epoch, curves.stage) == ("failed", 0, "fit")
    assert "The loss is nan" in curves.failed
    assert curves.steps


def test_a_run_that_wrote_nothing_has_empty_curves(project):
    """As one that an earlier mlreg began; and files that cannot be read are as none."""
    stopped = project.stopped()
    folder = project.store.folder / "runs" / stopped.id
    for content in (None, b"", b'not JSON\n[1]\n{"epoch": "x"}\n' + b"[" * 50_000):
        for name in ("epochs.jsonl", "progress.json"):
            (folder / name).unlink(missing_ok=True)
            if content is not None:
                (folder / name).write_bytes(content)
        curves = read_curves(project.store, stopped.id)
        assert (curves.epoch, curves.epochs, curves.metrics) == (0, 3, {})
        assert (curves.state, curves.stage, curves.updated) == ("interrupted", "", None)


def test_what_is_no_file_in_the_place_of_the_curves_is_not_followed(project, tmp_path):
    stopped = project.stopped()
    folder = project.store.folder / "runs" / stopped.id
    (tmp_path / "other").write_text('{"epoch": 1, "metrics": {"loss": 5.0}}')
    for name in ("epochs.jsonl", "progress.json"):
        (folder / name).unlink()
        (folder / name).symlink_to(tmp_path / "other")
    assert read_curves(project.store, stopped.id).metrics == {}


def test_a_run_whose_record_is_damaged_shows_what_it_has(project):
    stopped = project.stopped()
    (project.store.folder / "runs" / stopped.id / "run.json").write_bytes(b"{}")
    curves = read_curves(project.store, stopped.id)
    assert (curves.state, curves.model, curves.epochs) == ("damaged", "", 3)
    assert curves.metrics["loss"] == [1.0]


def test_a_run_that_does_not_exist_is_refused(project):
    for name in ("20260101T000000Z-00000000", "../runs", "", "x" * 5000, "\udcff"):
        with pytest.raises(UsageError, match="There is no run"):
            read_curves(project.store, name)


def test_what_cannot_be_written_costs_one_warning_and_not_the_run(project, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace.LocalWorkspace, "log_epoch", full)
    monkeypatch.setattr(workspace.LocalWorkspace, "set_progress", full)
    version = project.run()
    assert version.metrics
    assert project.observer.warnings == [
        "The run's curves end here: [Errno 28] No space left on device"
    ]


def test_progress_is_never_written_through_a_link(project, tmp_path):
    """A plugin could have put one there: it costs a warning, or is replaced."""
    other = tmp_path / "other"
    other.write_text("mine")
    recorder = Recorder()
    with project.store.start_run("flowers") as folder:
        for name in ("epochs.jsonl", "progress.json", "progress.json.new"):
            (folder.path / name).symlink_to(other)
        writer = ProgressWriter(folder, recorder)
        writer.training_started(3, 10, 100)
        writer.epoch_done(0, {"loss": 1.0}, 0.1)
    assert other.read_text() == "mine"
    assert len(recorder.warnings) == 1


def test_progress_is_written_without_waiting_for_the_disk(project, monkeypatch):
    """Nothing depends on it, so training does not wait for it."""
    with project.store.start_run("flowers") as folder:
        synced = []
        for name in ("fsync", "fdatasync", "sync"):
            monkeypatch.setattr(os, name, lambda *_: synced.append(1))
        writer = ProgressWriter(folder, project.observer)
        writer.training_started(3, 10, 100)
        writer.epoch_done(0, {"loss": 1.0}, 0.1)
        assert {"epochs.jsonl", "progress.json"} <= {path.name for path in folder.path.iterdir()}
        assert synced == []
        monkeypatch.undo()


def test_what_a_killed_run_left_half_written_is_removed(project):
    """By the next command that writes; the curves stay for the run that is resumed."""
    stopped = project.stopped()
    folder = project.store.folder / "runs" / stopped.id
    (folder / "progress.json.new").write_text('{"ep')
    with project.store.start_run("flowers"):
        names = {path.name for path in folder.iterdir()}
    assert "progress.json.new" not in names
    assert {"epochs.jsonl", "progress.json"} <= names


class Folder:
    """Counts what is written."""

    def __init__(self):
        self.epochs, self.progress = [], []

    def log_epoch(self, line):
        self.epochs.append(line)

    def set_progress(self, content):
        self.progress.append(json.loads(content))


def test_the_present_state_is_written_once_a_second_and_each_epoch_is(monkeypatch):
    """However short the batches are; values that JSON has not are null."""
    clock = [100.0]
    monkeypatch.setattr(run_curves.time, "monotonic", lambda: clock[0])
    folder = Folder()
    writer = ProgressWriter(folder, Recorder())
    writer.stage_began("fit")
    writer.resumed(2, 5)
    writer.training_started(4, 1000, 10_000)
    before = len(folder.progress)
    for step in range(1000):
        clock[0] += 0.01
        writer.batch_done(step + 1, {"loss": float("nan")})
    writer.epoch_done(2, {"loss": float("inf"), "accuracy": 0.5}, 10.0)
    assert 9 <= len(folder.progress) - before <= 11
    assert folder.progress[-1]["metrics"] in ({"loss": None}, {})
    began, done = map(json.loads, folder.epochs)
    assert (began["after"], began["epochs"], began["steps"]) == (2, 4, 1000)
    assert (done["epoch"], done["metrics"]) == (3, {"loss": None, "accuracy": 0.5})


def test_what_is_kept_of_epochs_is_bounded(project, monkeypatch):
    """Beyond its limit nothing is added, and the first part is still read."""
    monkeypatch.setattr(workspace, "LIMIT_EPOCHS", 150)
    stopped = project.stopped()
    file = project.store.folder / "runs" / stopped.id / "epochs.jsonl"
    assert 0 < file.stat().st_size <= 150
    assert read_curves(project.store, stopped.id).state == "interrupted"


def test_a_list_shows_a_small_curve_of_each_version(project):
    """Of its objective where the history has it; at most 60 points, the last one among them."""
    version = project.run()
    curves = version_curves(project.store, [version])
    history = project.store.manifest(version)["history"]
    assert [*curves] == [version.ref]
    assert curves[version.ref] in history.values()
    assert run_curves._thinned([float(n) for n in range(61)])[-1] == 60.0
    assert len(run_curves._thinned([float(n) for n in range(1000)])) <= 60
    assert run_curves._thinned([1.0, 2.0]) == [1.0, 2.0]


@pytest.mark.gate
def test_a_damaged_version_has_no_curve_and_takes_no_other_down(project):
    damaged, whole = project.run(), project.run()
    objects = project.store.folder / "objects" / "sha256" / damaged.digest[:2]
    (objects / damaged.digest).chmod(0o600)
    (objects / damaged.digest).write_bytes(b"{}")
    assert [*version_curves(project.store, [damaged, whole])] == [whole.ref]
