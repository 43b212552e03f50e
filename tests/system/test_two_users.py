"""A registry that several Unix users share: real users, with groups, umasks and access lists.

What one of them makes, the others use as far as modes and lists allow; nobody is told anything
that is not so.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cifar_data_helpers import CLOSED_PORT, Told, honest, mirror, small_cache
from cli_helpers import EXAMPLE, Done, assert_error
from fakes import TABLE_PLUGIN, write_plugin, write_settings
from people import GROUP, People, Person, people
from store_helpers import start_child, wait_for

from registry_core.store import Store

pytestmark = pytest.mark.processes

ONE, OTHER, STRANGER = 1001, 1002, 1003
ELSEWHERE = 3000  # a stranger's group
PRIVATE = 0o077


@pytest.fixture(scope="module")
def crowd():
    with people() as found:
        yield found


@pytest.fixture(scope="module")
def project(crowd: People) -> Path:
    """A folder with the plugin `flowers`, which everyone may read."""
    folder = crowd.folder("project")
    write_plugin(folder, "flowers_plugin", TABLE_PLUGIN)
    write_settings(folder, {"flowers": "flowers_plugin"})
    return folder


_numbers = count(1)


@pytest.fixture
def group_folder(crowd: People) -> Path:
    """A folder of the group's, whose setgid bit hands the group on."""
    return crowd.folder(f"setgid-{next(_numbers)}", ONE, GROUP, 0o2775)


@pytest.fixture
def listed_folder(crowd: People) -> Path:
    """A folder whose default access list lets two users write, and another one read."""
    folder = crowd.folder(f"acl-{next(_numbers)}", ONE, GROUP, 0o755)
    rights = ",".join(f"{d}u:{user}:rwx" for user in (ONE, OTHER) for d in ("", "d:"))
    rights += f",u:{STRANGER}:rx,d:u:{STRANGER}:rx"
    done = subprocess.run(
        ["setfacl", "-m", rights, str(folder)] if shutil.which("setfacl") else ["false"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = f"no access lists here: {done.stderr or 'setfacl is not installed'}"
        warnings.warn(f"default access lists are NOT tested: {reason}", stacklevel=1)
        pytest.skip(reason)
    return folder


def works(done: Done, *shown: str) -> str:
    """The command went well, and its table or its lines have these words; returns them."""
    assert done.status == 0, done.stderr
    for words in shown:
        assert words in done.stdout, (words, done.stdout, done.stderr)
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def modes(registry: Path) -> dict[str, list[Path]]:
    """`ls -l`'s modes -> what has them, objects' files being told apart as `object …`."""
    found: dict[str, list[Path]] = {}
    for path in (registry, *registry.rglob("*")):
        status = path.lstat()
        objects = path.parent.parent.name == "sha256"
        mode = ("object " if objects else "") + stat.filemode(status.st_mode)
        found.setdefault(mode, []).append(path)
    return found


def act(user: int, group: int, umask: int, action: Callable[[], object]) -> int:
    """Do something as this user, in a process of its own; returns its exit status."""

    def become() -> None:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
        os.umask(umask)
        action()

    return wait_for(start_child(become))


def may_run(user: int, program: str) -> bool:
    """Whether a user reaches a program, and what it needs to start."""
    return act(user, GROUP, 0o022, lambda: os.execv(program, [program, "-c", ""])) == 0


def stopped(person: Person, project: Path) -> str:
    """Start a run that is stopped in its second epoch; returns its id."""
    done = person.mlreg("run", "flowers", folder=project, stop_at=(1, 1))
    assert done.status == 130, done.stderr
    return done.stderr.rpartition("mlreg resume ")[2].split("`")[0]


def a_day(one: Person, other: Person, project: Path, registry: Path) -> None:
    """Both do everything, each with what the other one made."""
    works(one.mlreg("run", "flowers", folder=project), "Registered flowers@1")
    works(other.mlreg("run", "flowers", "--preset", "quick", folder=project), "flowers@2")

    for person, own, theirs in ((one, 1, 2), (other, 2, 1)):
        here = {"folder": project}
        works(person.mlreg("list"), "flowers@2")
        works(person.mlreg("list", "flowers"), "flowers@1", "flowers@2")
        works(person.mlreg("show", f"flowers@{theirs}"), "model.keras", "outcomes.json")
        works(person.mlreg("compare", f"flowers@{own}", f"flowers@{theirs}"), "test_accuracy")
        for form, name in (("keras", "model.keras"), ("figures", "figures")):
            path = person.home / name
            words = ["export", f"flowers@{theirs}", "--format", form, "-o", str(path)]
            works(person.mlreg(*words), str(path))
            assert path.stat().st_uid == person.user
        works(person.mlreg("tag", f"flowers@{theirs}", f"by={person.user}"), f"{person.user}")
        works(person.mlreg("promote", f"flowers@{theirs}", "production", "--dry-run", **here))
        works(person.mlreg("promote", f"flowers@{theirs}", "production", **here))
        works(person.mlreg("alias", "flowers"), f"flowers@{theirs}", f"user{person.user}")
        works(person.mlreg("history"), f"user{ONE}", f"user{OTHER}")
        works(person.mlreg("runs"), "flowers@1", "flowers@2")
        works(person.mlreg("verify"), "OK: nothing is damaged.")
    works(one.mlreg("rules", "set", "production", "--floor", "test_accuracy=0.1"))
    works(other.mlreg("rules", "list"), "production", f"user{ONE}")
    works(other.mlreg("rules", "remove", "production", "--yes", "--reason", "a trial"))
    works(one.mlreg("rollback", "flowers", "production"), "flowers@2")
    works(other.mlreg("alias", "flowers", "production", "--remove"))

    # stopped by one, resumed by the other; once more, half of it each; given up by the other
    run = stopped(one, project)
    works(other.mlreg("resume", run, folder=project), "Registered flowers@3")
    run = stopped(other, project)
    assert one.mlreg("resume", run, folder=project, stop_at=(2, 1)).status == 130
    works(other.mlreg("runs"), run, "interrupted")
    works(other.mlreg("resume", run, folder=project), "Registered flowers@4")
    run = stopped(one, project)
    works(other.mlreg("runs", "--discard", run, "--yes"), run)
    assert not (registry / "runs" / run).exists()

    for remover, other_one, number in ((one, other, 3), (other, one, 4)):
        works(remover.mlreg("rm", f"flowers@{number}"))
        works(other_one.mlreg("list", "flowers", "--removed"), f"flowers@{number}")
        works(other_one.mlreg("restore", f"flowers@{number}"))
        works(remover.mlreg("rm", f"flowers@{number}"))
        works(other_one.mlreg("gc", "--older-than", "0", "--yes"), f"flowers@{number}")
    assert_error(one.mlreg("show", "flowers@3"), 2, "flowers@3")

    # a damaged index is rebuilt by either, and the other one goes on
    for person, goes_on in ((other, one), (one, other)):
        with (registry / "registry.sqlite3").open("r+b") as index:
            index.write(bytes(200))
        assert_error(goes_on.mlreg("list"), 6, "mlreg verify --rebuild")
        works(person.mlreg("verify", "--rebuild"), "OK: nothing is damaged.")
        works(goes_on.mlreg("run", "flowers", folder=project), "Registered flowers@")
        works(person.mlreg("verify"), "OK: nothing is damaged.")
    said = works(one.mlreg("list", "flowers", "-q"))
    assert said.split() == ["flowers@6", "flowers@5", "flowers@2", "flowers@1"]
    stopped(one, project)  # so that the modes of a run's folder can be looked at


@pytest.mark.exhaustive
@pytest.mark.gate
def test_two_users_and_a_group_share_a_registry_for_a_day(crowd, project, group_folder):
    """setgid and umask 002: all that is made has the group, the bit, and its right to write."""
    registry = group_folder / "models"
    with (
        crowd.person(ONE, MLREG_HOME=str(registry)) as one,
        crowd.person(OTHER, MLREG_HOME=str(registry)) as other,
    ):
        a_day(one, other, project, registry)
    assert set(modes(registry)) == {"drwxrwsr-x", "-rw-rw-r--", "object -r--r--r--"}
    everything = [registry, *registry.rglob("*")]
    assert {path.stat().st_gid for path in everything} == {GROUP}
    assert {path.stat().st_uid for path in everything} == {ONE, OTHER}


@pytest.mark.gate
def test_a_default_access_list_shares_a_registry_whatever_the_umask(crowd, project, listed_folder):
    """Each new file and folder keeps the list; only objects lose the right to write."""
    registry = listed_folder / "models"
    with (
        crowd.person(ONE, umask=0o022, MLREG_HOME=str(registry)) as one,
        crowd.person(OTHER, ELSEWHERE, umask=0o077, MLREG_HOME=str(registry)) as other,
        crowd.person(STRANGER, ELSEWHERE, MLREG_HOME=str(registry)) as reader,
    ):
        a_day(one, other, project, registry)
        works(reader.mlreg("verify"), "OK: nothing is damaged.")
        works(reader.mlreg("export", "flowers@1"), "flowers-1.keras")
        # as `ls` marks a list: the system's own word for it
        assert_error(reader.mlreg("tag", "flowers@1", "a=b"), 8, "drwxrwxr-x+", "Cannot write to")
    for path in (registry, *registry.rglob("*")):
        listed = subprocess.run(["getfacl", "-nc", path], capture_output=True, text=True).stdout
        rights = dict(line.split("\t")[0].rsplit(":", 1) for line in listed.split("\n") if line)
        assert f"user:{ONE}" in rights and f"user:{OTHER}" in rights, (path, listed)
        assert "w" not in rights["mask:"] or path.parent.parent.name != "sha256", (path, listed)
        assert "w" in rights["mask:"] or path.parent.parent.name == "sha256", (path, listed)


READING = [
    ["list"],
    ["list", "--json"],
    ["list", "flowers"],
    ["list", "flowers", "--removed"],
    ["show", "flowers@1"],
    ["history"],
    ["history", "flowers@1"],
    ["compare", "flowers@1", "flowers@2"],
    ["alias", "flowers"],
    ["tag", "flowers@1"],
    ["runs"],
    ["rules", "list"],
    ["verify"],
    ["gc", "--dry-run"],
    ["rm", "flowers@3", "--dry-run"],
    ["promote", "flowers@1", "staging", "--dry-run"],
    ["rollback", "flowers", "production", "--dry-run"],
]
WRITING = [
    ["run", "flowers"],
    ["resume"],
    ["runs", "--discard", "RUN", "--yes"],
    ["promote", "flowers@1", "staging"],
    ["rollback", "flowers", "production"],
    ["alias", "flowers", "production", "--remove"],
    ["tag", "flowers@1", "a=b"],
    ["rules", "set", "production", "--floor", "test_accuracy=0.5"],
    ["rm", "flowers@3"],
    ["restore", "flowers@4"],
    ["gc", "--older-than", "0", "--yes"],
]


def prepared(one: Person, project: Path) -> str:
    """Four versions, one of them removed; an alias that moved; a run that was stopped: its id."""
    for _ in range(4):
        works(one.mlreg("run", "flowers", "--preset", "quick", folder=project))
    works(one.mlreg("rm", "flowers@4"))
    works(one.mlreg("promote", "flowers@2", "production", folder=project))
    works(one.mlreg("promote", "flowers@1", "production", folder=project))
    return stopped(one, project)


def only_reads(reader: Person, project: Path, registry: Path, run: str, *named: str) -> None:
    """What only looks is done; what changes something says who may, and changes nothing."""
    before = {path: path.lstat() for path in (registry, *registry.rglob("*"))}
    for words in READING:
        done = reader.mlreg(*words, folder=project)
        works(done)
        assert "Nothing was" not in done.stderr, done.stderr
    works(reader.mlreg("export", "flowers@1", "--format", "figures"))
    for words in WRITING:
        done = reader.mlreg(*(word.replace("RUN", run) for word in words), folder=project)
        assert_error(done, 8, f"Cannot write to {registry}", f"you are user {reader.user}", *named)
        registering = words[0] in ("run", "resume")
        assert ("Nothing was registered" in done.stderr) == registering, done.stderr
        assert f"Try: ls -ld {registry}" in done.stderr
        assert "drawn" not in done.stderr  # nothing is trained that cannot be kept
    after = {path: path.lstat() for path in (registry, *registry.rglob("*"))}
    assert {p: (s.st_mtime_ns, s.st_mode) for p, s in before.items()} == {
        p: (s.st_mtime_ns, s.st_mode) for p, s in after.items()
    }


@pytest.mark.gate
def test_with_umask_022_the_group_reads_and_is_told_why_it_cannot_write(
    crowd, project, group_folder
):
    """The owner's umask leaves the group no right to write: reading works, writing ends with 8."""
    registry = group_folder / "models"
    with (
        crowd.person(ONE, umask=0o022, MLREG_HOME=str(registry)) as one,
        crowd.person(OTHER, umask=0o022, MLREG_HOME=str(registry)) as other,
    ):
        run = prepared(one, project)
        assert set(modes(registry)) == {"drwxr-sr-x", "-rw-r--r--", "object -r--r--r--"}
        only_reads(other, project, registry, run, f"belongs to user {ONE}, group {GROUP}")
        works(one.mlreg("resume", folder=project), "Registered flowers@5")


@pytest.mark.gate
def test_a_user_of_another_group_reads_a_registry_and_is_told_why_they_cannot_write(
    crowd, project, group_folder
):
    registry = group_folder / "models"
    with (
        crowd.person(ONE, MLREG_HOME=str(registry)) as one,
        crowd.person(STRANGER, ELSEWHERE, MLREG_HOME=str(registry)) as stranger,
    ):
        run = prepared(one, project)
        only_reads(stranger, project, registry, run, f"group {GROUP}, mode drwxrwsr-x")


@pytest.mark.gate
def test_with_umask_077_nobody_else_reads_and_nobody_speaks_of_registering(
    crowd, project, group_folder
):
    """Every command says which folder is closed, whose it is, and its mode."""
    registry = group_folder / "models"
    with (
        crowd.person(ONE, umask=PRIVATE, MLREG_HOME=str(registry)) as one,
        crowd.person(OTHER, umask=PRIVATE, MLREG_HOME=str(registry)) as other,
    ):
        run = prepared(one, project)
        for path in (registry, *registry.rglob("*")):
            assert path.stat().st_mode & 0o077 == 0, path
        for words in READING:
            done = other.mlreg(*words, folder=project)
            assert_error(done, 8, f"Cannot read {registry}: permission denied.", "mode drwx--S---")
            assert "Nothing was" not in done.stderr, done.stderr
        for words in WRITING:
            done = other.mlreg(*(word.replace("RUN", run) for word in words), folder=project)
            assert_error(done, 8, f"{registry}: permission denied.", f"belongs to user {ONE}")
        works(one.mlreg("verify"), "OK: nothing is damaged.")


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("part", ["objects/ledger.head", "ledger.jsonl", "objects/sha256/SHARD"])
def test_a_part_that_another_umask_closed_is_told_before_anything_is_trained(
    crowd, project, group_folder, part
):
    """One colleague's umask was 022: the others do not learn it when their training is over."""
    registry = group_folder / "models"
    with (
        crowd.person(ONE, MLREG_HOME=str(registry)) as one,
        crowd.person(OTHER, MLREG_HOME=str(registry)) as other,
    ):
        works(one.mlreg("run", "flowers", folder=project))
        shard = min(path.name for path in (registry / "objects" / "sha256").iterdir())
        place = registry / part.replace("SHARD", shard)
        place.chmod(stat.S_IMODE(place.stat().st_mode) & ~0o020)
        done = other.mlreg("run", "flowers", folder=project)
        assert_error(done, 8, f"Cannot write to {place}: permission denied.", str(ONE))
        assert "drawn" not in done.stderr
        works(one.mlreg("run", "flowers", folder=project), "flowers@2")


@pytest.mark.gate
def test_a_version_that_another_umask_closed_is_not_called_damaged(crowd, project, group_folder):
    """One run under umask 077 in a shared registry: the others see why they cannot use it."""
    registry = group_folder / "models"
    with (
        crowd.person(ONE, MLREG_HOME=str(registry)) as one,
        crowd.person(ONE, umask=PRIVATE, MLREG_HOME=str(registry)) as careful,
        crowd.person(OTHER, MLREG_HOME=str(registry)) as other,
    ):
        works(one.mlreg("run", "flowers", folder=project))
        works(careful.mlreg("run", "flowers", "-p", "units=9", folder=project))
        listed = other.mlreg("list", "flowers")
        assert (listed.status, "damaged" in listed.stdout + listed.stderr) == (0, False)
        assert "Warning: flowers@2 cannot be read: no permission for " in listed.stderr
        assert "flowers@1 cannot" not in listed.stderr
        # a file that both versions have was written again, and its readers kept
        works(other.mlreg("export", "flowers@1"))
        works(other.mlreg("export", "flowers@1", "--format", "figures"))
        works(other.mlreg("show", "flowers@1"))
        for words in (["show"], ["export"], ["compare", "flowers@1"]):
            done = other.mlreg(*words, "flowers@2")
            assert_error(done, 8, "Cannot read", "permission denied", f"belongs to user {ONE}")
        assert_error(other.mlreg("verify"), 8, "Cannot read", f"belongs to user {ONE}")
        works(careful.mlreg("verify"), "OK: nothing is damaged.")


@pytest.mark.gate
def test_what_a_killed_command_of_one_user_left_half_done_is_undone_by_the_other(
    crowd, project, group_folder
):
    """SQLite's journal has the group's rights too; who may only read is told who can help."""
    registry = group_folder / "models"

    def die() -> None:
        with Store(registry)._access.writing("dying") as index:
            connection = index._connection
            connection.execute("PRAGMA cache_size = 1")
            connection.execute("CREATE TABLE half AS SELECT randomblob(100000) AS done")
            connection.execute("INSERT INTO half SELECT randomblob(1000000)")
            os.kill(os.getpid(), signal.SIGKILL)

    with (
        crowd.person(ONE, MLREG_HOME=str(registry)) as one,
        crowd.person(OTHER, MLREG_HOME=str(registry)) as other,
        crowd.person(STRANGER, ELSEWHERE, MLREG_HOME=str(registry)) as stranger,
    ):
        works(one.mlreg("run", "flowers", folder=project))
        assert act(ONE, GROUP, 0o002, die) == -signal.SIGKILL
        assert (registry / "registry.sqlite3-journal").stat().st_gid == GROUP
        assert_error(stranger.mlreg("list"), 8, "was killed", str(registry))
        works(other.mlreg("list"), "flowers@1")
        works(stranger.mlreg("list"), "flowers@1")
        works(other.mlreg("verify"), "OK: nothing is damaged.")


@pytest.mark.gate
def test_a_registry_that_was_given_to_another_user_is_theirs(crowd, project, group_folder):
    """chown -R: the new owner goes on with everything, and the old one is refused in words."""
    registry = group_folder / "models"
    with (
        crowd.person(ONE, umask=PRIVATE, MLREG_HOME=str(registry)) as one,
        crowd.person(STRANGER, ELSEWHERE, umask=PRIVATE, MLREG_HOME=str(registry)) as new,
    ):
        run = prepared(one, project)
        for path in (group_folder, registry, *registry.rglob("*")):
            os.chown(path, STRANGER, ELSEWHERE, follow_symlinks=False)
        works(new.mlreg("resume", run, folder=project), "Registered flowers@5")
        works(new.mlreg("promote", "flowers@5", "production", folder=project))
        works(new.mlreg("gc", "--older-than", "0", "--yes"), "flowers@4")
        works(new.mlreg("verify"), "OK: nothing is damaged.")
        assert_error(one.mlreg("list"), 8, f"Cannot read {registry}", f"user {STRANGER}")


@pytest.mark.gate
def test_a_cache_of_downloaded_data_serves_the_group(crowd):
    """Who may read it needs no download; who may write it mends it; nobody else is misled."""
    cache = crowd.folder("cache", ONE, GROUP, 0o2775)

    def damage() -> None:
        (cache / "x_test.npy").write_bytes(b"?")

    def offline(source: str = "cache") -> None:
        found = small_cache(crowd.around, mirrors=[CLOSED_PORT], folder=cache).arrays(Told())
        assert found.source == source

    with mirror(honest) as server:
        online = small_cache(crowd.around, mirrors=[server.url], folder=cache)
        online.fetch(Told())  # which imports what the others cannot reach
        shutil.rmtree(cache)
        cache = crowd.folder("cache", ONE, GROUP, 0o2775)
        assert act(ONE, GROUP, 0o002, lambda: online.fetch(Told())) == 0
        found = {
            (path.stat().st_gid, stat.filemode(path.stat().st_mode)) for path in cache.iterdir()
        }
        assert found == {(GROUP, "-rw-rw-r--")}
        assert act(OTHER, GROUP, 0o022, offline) == 0
        assert act(STRANGER, ELSEWHERE, 0o022, offline) == 0
        damage()
        assert act(STRANGER, ELSEWHERE, 0o022, lambda: online.fetch(Told())) == 8
        assert act(OTHER, GROUP, 0o002, lambda: online.fetch(Told())) == 0
        assert act(ONE, GROUP, 0o022, offline) == 0
        assert act(STRANGER, ELSEWHERE, 0o022, offline) == 0


TRAINED = ["run", "spirals", "--preset", "quick", "-p", "epochs=1"]


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_what_one_user_trained_another_one_measures_and_converts(crowd, group_folder):
    """With TensorFlow: the model's file, its figures, and a model that comes from elsewhere."""
    registry = group_folder / "models"
    spirals = crowd.folder("spirals")
    shutil.copy(EXAMPLE, spirals)
    write_settings(spirals, {"spirals": "spirals"})
    rehearsal = crowd.around / "rehearsal"
    shutil.copy(EXAMPLE, rehearsal)
    write_settings(rehearsal, {"spirals": "spirals", "flowers": "flowers_plugin"})
    here: dict[str, Any] = {"folder": spirals, "fake": False}
    trained = " ".join(TRAINED)
    lines = [trained, "evaluate spirals@1", "export spirals@1 --format h5"]
    with (
        crowd.person(ONE, rehearsed=[trained], MLREG_HOME=str(registry)) as one,
        crowd.person(OTHER, rehearsed=lines, MLREG_HOME=str(registry)) as other,
    ):
        works(one.mlreg(*TRAINED, **here), "Registered spirals@1")
        works(other.mlreg("evaluate", "spirals@1", **here), "identical")
        h5, keras = other.home / "model.h5", other.home / "model.keras"
        works(other.mlreg("export", "spirals@1", "--format", "h5", "-o", str(h5), **here))
        works(other.mlreg("export", "spirals@1", "-o", str(keras), **here))
        # what tries the file is a process of its own, so the user must reach the interpreter
        if may_run(OTHER, sys.executable):
            works(other.mlreg("import", "spirals", str(keras), **here), "Registered spirals@2")
        else:
            warnings.warn(
                f"importing as another user is NOT tested: none may run {sys.executable}",
                stacklevel=1,
            )
        works(one.mlreg("verify"), "OK: nothing is damaged.")
    assert set(modes(registry)) == {"drwxrwsr-x", "-rw-rw-r--", "object -r--r--r--"}
