"""`--tensorboard`: which folder a run's log is in, and what a resumed run remembers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cli_helpers import faked
from fakes import write_project
from lifecycle_helpers import Project

from registry_core import running
from registry_core.errors import StorageError, UsageError
from registry_core.process.requirements import MissingLibraryError
from registry_core.running import Runner, log_folder


class Logged(Project):
    """A project whose runs are logged below `logs`."""

    logs = None

    def context(self, *arguments):
        return replace(super().context(*arguments), tensorboard=self.logs)


@pytest.mark.gate
def test_each_run_has_a_folder_of_its_own_and_the_version_no_trace_of_it(tmp_path):
    """By model and run. It is not a setting: the records differ in nothing."""
    project = Logged(tmp_path)
    without = project.manifest(project.run())
    assert project.backend.assembly.event_log is None
    project.logs = tmp_path / "logs"
    version = project.run()
    logged = project.manifest(version)
    assert project.backend.assembly.event_log == tmp_path / "logs" / "flowers" / version.run
    assert f"TensorBoard: tensorboard --logdir {tmp_path / 'logs'}" in project.observer.said
    assert without.keys() == logged.keys()
    assert str(tmp_path) not in str(logged)


def test_a_resumed_run_goes_on_in_its_folder(tmp_path):
    """Unless another one is named, which is then remembered."""
    project = Logged(tmp_path)
    project.logs = tmp_path / "logs"
    stopped = project.stopped()
    assert stopped.record["tensorboard"] == str(tmp_path / "logs")
    runner = Runner(project.store, project.settings, project.observer, project.stop, 0.0)
    assert runner._logs_of(stopped, None) == tmp_path / "logs"
    assert runner._logs_of(stopped, tmp_path / "others") == tmp_path / "others"


def test_a_recorded_folder_that_cannot_be_made_stops_no_resume(tmp_path):
    project = Logged(tmp_path)
    (tmp_path / "file").touch()
    project.logs = tmp_path / "file"
    stopped = project.stopped()
    runner = Runner(project.store, project.settings, project.observer, project.stop, 0.0)
    assert runner._logs_of(stopped, None) is None
    assert "without its TensorBoard log" in project.observer.warnings[-1]
    with pytest.raises(UsageError, match="cannot be a folder"):
        runner._logs_of(stopped, tmp_path / "file")


def test_without_tensorboard_the_option_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("registry_core.process.requirements.is_installed", lambda module: False)
    assert log_folder(None) is None
    with pytest.raises(MissingLibraryError) as caught:
        log_folder(tmp_path / "logs")
    assert caught.value.command == "pip install 'mlreg[tensorboard]'"
    assert not (tmp_path / "logs").exists()


def test_a_folder_that_may_not_be_made_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(running.Path, "mkdir", _no_permission)
    with pytest.raises(StorageError, match="cannot be made: Permission denied"):
        log_folder(tmp_path / "logs")


def _no_permission(*arguments, **options):
    raise PermissionError(13, "Permission denied")


@pytest.mark.gate
@pytest.mark.processes
def test_every_run_of_a_group_is_logged(tmp_path):
    write_project(tmp_path)
    around = {"cwd": tmp_path, "MLREG_HOME": str(tmp_path / "registry")}
    done = faked("run", "flowers", "--seeds", "2", "--tensorboard", "a/logs", "-q", **around)
    assert done.status == 0, done.stderr
    assert (tmp_path / "a" / "logs").is_dir()
    done = faked("run", "flowers", "--tensorboard", "flowers_plugin.py", **around)
    assert done.status == 2
    assert "cannot be a folder" in done.stderr
