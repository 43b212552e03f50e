"""Workers that upload the files of a version to a team's registry, and who asked registers."""

from __future__ import annotations

import json
import platform
import signal
import threading
from dataclasses import replace

import pytest
from executors_head import PROGRAM, run_group
from fakes import Recorder
from lifecycle_helpers import Project
from store_backends import postgresql_and_s3
from store_helpers import blobs, in_child, kill, record, referenced
from team_servers import postgresql

from registry_core.errors import IntegrityError, Interrupted, StorageError
from registry_core.executors import process
from registry_core.executors.dispatch import Dispatch
from registry_core.executors.local import LocalExecutor
from registry_core.executors.messages import uploaded_files
from registry_core.executors.runs import Runs
from registry_core.lifecycle.seeds import plan_group
from registry_core.lifecycle.spec import spec_from_preset, spec_from_run
from registry_core.records import FileRecord
from registry_core.store import Store, stage
from registry_core.store.audit import audit
from registry_core.store.local.workspaces import LocalWorkspaces
from registry_core.store.postgres.index import PostgresIndex
from registry_core.store.postgres.leases import LeasedWorkspaces
from registry_core.store.s3 import objects as s3_objects
from registry_core.store.uploads import upload

from .test_local import facts, wait_for

pytestmark = [pytest.mark.processes, pytest.mark.gate]


class TeamProject(Project):
    """A project whose registry is a team's, and workers that have the faults of a folder.

    Args:
        folder: the project's.
        monkeypatch: pytest's.
    """

    def __init__(self, folder, monkeypatch):
        super().__init__(folder)
        monkeypatch.setattr(process, "WORKER", PROGRAM)
        monkeypatch.setenv("MLREG_FAKE_FAULTS", str(folder))
        self.fault = folder / "upload"
        self.backend_of_team = postgresql_and_s3(folder)
        self.store = self.backend_of_team.store()
        with self.backend_of_team.index().write(create=True):
            pass

    def leases(self) -> dict[str, set[str]]:
        """Run -> the digests that its lease names."""
        return {run: set(digests) for run, digests in self._query("SELECT run, digests FROM {}")}

    def expire_leases(self) -> None:
        """As after a quarter of an hour in which nobody extended them."""
        self._query("UPDATE {} SET expires = clock_timestamp() RETURNING run")

    def _query(self, statement):
        index = PostgresIndex(self.backend_of_team.place.index, 5)
        with index.connect() as connection:
            return connection.execute(statement.format(f"{index.schema}.leases")).fetchall()


@pytest.fixture
def project(tmp_path, monkeypatch):
    return TeamProject(tmp_path, monkeypatch)


@pytest.fixture
def arrived(monkeypatch):
    return results(monkeypatch)


def results(monkeypatch):
    """The result of each job from now on, and the files that came with it."""
    found = []
    take = Dispatch._take

    def noting(self, event):
        if event.kind == "finished":
            found.append((event.data, dict(event.files)))
        take(self, event)

    monkeypatch.setattr(Dispatch, "_take", noting)
    return found


def assert_whole(project, runs=1):
    """Each run made one version, all of it is there, and nothing is left to be done."""
    versions = project.store.versions("flowers")
    assert len({version.run for version in versions}) == len(versions) == runs
    assert audit(project.store).problems == []
    assert project.leases() == {}
    assert not project.store.unfinished_runs()


def alone(project, folder, runs=2):
    """What a project says of the same runs in this process, in a registry in a folder."""
    spec = spec_from_preset(project.plugins)
    specs = plan_group(spec, runs) if runs > 1 else [spec]
    theirs, project.store = project.store, Store(folder)
    found = [facts(project, project.run(spec=each)) for each in specs]
    project.store = theirs
    return found


def one(project):
    return [spec_from_preset(project.plugins)]


def unregistered(project):
    """A run whose process was killed before it registered what a worker had uploaded."""

    def die():
        Runs._register = lambda *_: kill()
        run_group(project, specs=one(project))

    assert in_child(die) == -9
    (run,) = project.store.unfinished_runs()
    return run


def test_files_go_to_the_objects_and_not_through_the_executor(project, arrived, tmp_path):
    """The versions are those of a registry in a folder; the log is of who asked."""
    versions = run_group(project)
    assert [files for _, files in arrived] == [{}, {}]
    assert all(len(json.dumps(data)) < 20_000 for data, _ in arrived)
    assert_whole(project, 2)
    assert blobs(project.store) == referenced(project.store)
    assert b"Run " in project.store.read(versions[0], "run.log")
    there = [facts(project, version) for version in versions]
    assert there == alone(project, tmp_path / "folder")


def test_a_worker_that_is_killed_after_its_upload_is_replaced(project, arrived, tmp_path):
    """The next one goes on from the last checkpoint; the run becomes one version."""
    project.fault.write_text("kill")
    (version,) = run_group(project, specs=one(project))
    assert len(arrived) == 1 and "uploaded" in arrived[0][0]
    assert_whole(project)
    log = project.store.read(version, "run.log").decode()
    assert "killed by SIGKILL" in log and "from its last checkpoint" in log
    assert [facts(project, version)] == alone(project, tmp_path / "folder", runs=1)


def test_what_was_uploaded_before_who_asked_was_killed_is_used_by_resume(project):
    """The run becomes one version, whose model is the object that was put first."""
    run = unregistered(project)
    (digests,) = project.leases().values()
    assert digests <= blobs(project.store) and not project.store.models()
    (version,) = run_group(project, specs=[spec_from_run(project.plugins, run)])
    assert_whole(project)
    assert version.file("model.keras").sha256 in digests


def test_what_nobody_registers_is_deleted_once_the_lease_expired(project):
    """Until then a collection spares it, also one by another machine."""
    unregistered(project)
    (digests,) = project.leases().values()
    another = Store(replace(project.store.parts, runs=other_runs(project)))
    another.removals.collect(older_than_days=0, keep_last=0)
    assert digests <= blobs(another)
    project.expire_leases()
    another.removals.collect(older_than_days=0, keep_last=0)
    assert blobs(another) == set()
    assert project.leases() == {}


def other_runs(project):
    """The workspaces of another machine, with the leases of all."""
    parts = project.store.parts
    return LeasedWorkspaces(LocalWorkspaces(project.folder / "other"), parts.index)


@pytest.mark.exhaustive
def test_a_version_that_waits_for_its_turn_when_a_signal_arrives_can_be_resumed(project, arrived):
    """Its lease ends; what was uploaded stays for the period of grace, and is used again."""
    (project.folder / "0").write_text("slow")

    def interrupt():
        wait_for(lambda: arrived)
        project.stop.receive(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Interrupted):
        run_group(project, overrides={"epochs": 400})
    ((result, _),) = arrived
    uploaded = {each["sha256"] for each in result["uploaded"]}
    assert uploaded <= blobs(project.store) and project.leases() == {}
    (project.folder / "0").unlink()
    project.stop.signum = None
    specs = [spec_from_run(project.plugins, run) for run in project.store.unfinished_runs()]
    versions = run_group(project, specs=specs)
    assert_whole(project, 2)
    assert {version.file("model.keras").sha256 for version in versions} & uploaded


def test_a_result_that_arrives_twice_is_registered_once(project, monkeypatch):
    """So is one of an earlier attempt."""
    append = LocalExecutor._append

    def twice(self, job, kind, data, files):
        append(self, job, kind, data, files)
        if kind == "finished":
            append(self, replace(job, attempt=0), kind, data, files)
            append(self, job, kind, data, files)

    monkeypatch.setattr(LocalExecutor, "_append", twice)
    run_group(project)
    assert_whole(project, 2)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("refused", "AWS_ACCESS_KEY_ID"),
        pytest.param("no extra", "pip install 'mlreg[team]'", marks=pytest.mark.exhaustive),
    ],
)
def test_a_worker_that_cannot_upload_sends_the_files_and_says_why_once(
    project, arrived, fault, says
):
    """With what to set there; the versions are the same."""
    project.fault.write_text(fault)
    run_group(project)
    assert all("model.keras" in files for _, files in arrived)
    (warning,) = [each for each in project.observer.warnings if "cannot upload" in each]
    assert says in warning and platform.node() in warning
    assert_whole(project, 2)


@pytest.mark.exhaustive
def test_a_worker_takes_the_address_that_its_machine_has_for_the_database(
    project, arrived, monkeypatch
):
    """Where that is another registry's, it takes the one of who asked."""
    monkeypatch.setenv("MLREG_INDEX", project.backend_of_team.place.index)
    parts = replace(project.store.parts, index_url="postgresql://127.0.0.1:1/nowhere")
    project.store = Store(parts)
    run_group(project, specs=one(project))
    with PostgresIndex(other := postgresql().fresh_url(), 5).write(create=True):
        pass
    monkeypatch.setenv("MLREG_INDEX", other)
    project.store = project.backend_of_team.store()
    run_group(project, specs=one(project))
    assert [files for _, files in arrived] == [{}, {}]


def upload_of(project, run, folder):
    """Upload a file as a worker would; returns the observer that was told of it."""
    (folder / "model.keras").write_bytes(b"weights")
    staged = stage({"model.keras": folder / "model.keras"}, folder)
    place = project.backend_of_team.place
    upload(run, staged, folder, observer := Recorder(), place.index, place.objects)
    return observer


def test_a_worker_uploads_nothing_for_a_run_that_the_database_does_not_know(project, tmp_path):
    """It may be another database than who asked has, or the run may be over."""
    (folder := tmp_path / "run").mkdir()
    with pytest.raises(StorageError, match="has no lease of"):
        upload_of(project, "20260101T000000Z-00000000", folder)
    assert blobs(project.store) == set()


def test_a_worker_tells_how_much_it_has_uploaded(project, tmp_path, monkeypatch):
    """So it is not taken for one that hangs."""
    monkeypatch.setattr(s3_objects, "_SECONDS_BETWEEN", 0)  # otherwise seven bytes are too fast
    (folder := tmp_path / "run").mkdir()
    with project.store.start_run("flowers") as run:
        project.store.expect_uploads(run)
        observer = upload_of(project, run.id, folder)
    assert ("uploading", 0, 7) in observer.steps


@pytest.mark.parametrize(
    "file",
    [
        {"path": "../model.keras", "size": 1, "sha256": "a" * 64},
        {"path": "model.keras", "size": "1", "sha256": "a" * 64},
        {"path": "model.keras", "size": 1, "sha256": "../" + "a" * 61},
        {"path": "model.keras"},
    ],
)
def test_a_list_of_uploaded_files_is_not_believed(file):
    with pytest.raises(IntegrityError, match="cannot be read"):
        uploaded_files({"uploaded": [file]})


def test_a_version_is_not_registered_if_an_uploaded_file_is_missing(project):
    """The run can be resumed then."""
    missing = FileRecord("model.keras", 7, "a" * 64)
    with project.store.start_run("flowers") as run, pytest.raises(StorageError, match="deleted"):
        project.store.publish(run, record(), {}, lambda files: None, uploaded=[missing])
    assert not project.store.models()
