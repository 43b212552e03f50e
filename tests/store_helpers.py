"""A dummy version, and children that die where they are told to."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry_core.errors import MlregError
from registry_core.records import Version
from registry_core.store import Store
from registry_core.store.sqlite.schema import SCHEMA

CALLS = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir", "write", "fchmod", "open")


def record(**changes: Any) -> dict[str, Any]:
    """The least that a version can be made of, and what is to differ."""
    return {
        "dataset": "dummy",
        "preset": "quick",
        "seed": 7,
        "metrics": {"test_accuracy": 0.5, "test_loss": 1.25},
        "seconds": {"fit": 1.0},
        "objective": {"metric": "test_accuracy", "direction": "max"},
        **changes,
    }


def scored(accuracy: float, **changes: Any) -> dict[str, Any]:
    return record(metrics={"test_accuracy": accuracy, "test_loss": 1.0}, **changes)


def publish(
    store: Store,
    model: str = "dummy",
    content: bytes = b"weights",
    what: Mapping[str, Any] | None = None,
) -> Version:
    """One whole run: two files, one of them the same in every version."""
    with store.start_run(model) as run:
        files = {"model.keras": run.files / "model.keras", "plots/a.png": run.files / "a.png"}
        files["model.keras"].write_bytes(content)
        files["plots/a.png"].write_bytes(b"always the same")
        return store.publish(run, what or record(), files, lambda paths: None)


def blobs(store: Store) -> set[str]:
    return {info.digest for info in store.parts.blobs.list()}


def referenced(store: Store) -> set[str]:
    """What versions and rows refer to; of versions that were collected, the manifests."""
    needed = {digest for row in store.ledger() for digest in row.evidence.get("blobs", ())}
    for model in store.model_names():
        removals = store.removals.of(model)
        whole = [*store.versions(model), *(r.version for r in removals if not r.collected)]
        needed |= {file.sha256 for version in whole for file in version.files}
        needed |= {version.digest for version in whole}
        needed |= {removal.version.digest for removal in removals}
    return needed


# what the host leaves half done in a run's folder, and nobody can go on with
DRAFTS = (
    "files",
    "staged",
    "intent.json",
    "publishing.json",
    "run.json.new",
    "checkpoint.zip.new",
    "progress.json.new",
)


def assert_whole(store: Store) -> None:
    """Every version verifies, the ledger too, and nothing else lies about."""
    for model in store.models():
        for version in store.versions(model.name):
            store.check(version)
    store.verify_ledger()
    assert blobs(store) == referenced(store)
    assert leftovers(store.folder) == []


def leftovers(folder: Path) -> list[str]:
    """What lies under runs/ that nobody can go on with, by its path there."""
    runs = folder / "runs"
    drafts = [(name,) for name in DRAFTS]
    return [
        str(path.relative_to(runs))
        for run in runs.glob("*")
        for path in [run, *run.rglob("*")]
        if not (run / "run.json").is_file() or path.relative_to(run).parts[:1] in drafts
    ]


def blob(store: Store, digest: str) -> Path:
    return store.folder / "objects" / "sha256" / digest[:2] / digest


def age(store: Store, digest: str, seconds: float = 7200) -> None:
    """Let an object look as if it had been put that long ago."""
    put_at = time.time() - seconds
    os.utime(blob(store, digest), (put_at, put_at))


def in_child(action: Callable[[], object]) -> int:
    """Run `action` in a child process; returns its exit status, or the signal as -signal."""
    return wait_for(start_child(action))


def start_child(action: Callable[[], object]) -> int:
    process = os.fork()
    if process:
        return process
    gc.freeze()  # what earlier tests left must not close files of this process
    status = 99
    try:
        action()
        status = 0
    except MlregError as error:
        print(error)
        status = error.exit_status
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def first_word(reading: int, writing: int) -> bytes:
    """What a child says first through a pipe; one that dies without a word fails the test."""
    os.close(writing)
    said = os.read(reading, 100)
    assert said, "the child died before it had said anything"
    return said


def wait_for(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def steps(config: pytest.Config, one_in: int) -> range:
    """The numbers of steps to break at: all with --exhaustive, else one in so many, drawn.

    More than anything here has. MLREG_POINTS_SEED draws the same ones again.
    """
    if config.option.exhaustive:
        return range(1, 500)
    seed = os.environ["MLREG_POINTS_SEED"]
    print(f"MLREG_POINTS_SEED={seed}")
    return range(random.Random(seed).randint(1, one_in), 500, one_in)


def break_at(number: int, fault: Callable[[], None]) -> None:
    """Let every call that changes the disk count, and the one of that number meet a fault.

    For the rest of this process, so only in a child. A database's own calls are out of reach here;
    instead each statement counts, the commit among them.
    """
    count = itertools.count(1)

    def step() -> None:
        if next(count) == number:
            fault()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if function is not opening or args[1] & os.O_ACCMODE or args[1] & os.O_CREAT:
                step()  # to open a file for reading changes nothing
            return function(*args, **options)

        return call

    class Counted(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            step()
            return super().execute(*args)

    connect, opening = sqlite3.connect, os.open
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    sqlite3.connect = lambda *args, **options: connect(*args, factory=Counted, **options)
    if psycopg := sys.modules.get("psycopg"):
        psycopg.Cursor.execute = counted(psycopg.Cursor.execute)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing_disk() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


# What each schema of the index added to the one before it.
_ADDED = {
    2: [
        "TABLE held",
        "TABLE stretches",
        *(
            f"INDEX ledger_{name}"
            for name in ("by_model", "of_moves", "of_holders", "of_losses", "of_comparisons")
        ),
    ],
    3: ["TABLE rules"],
    4: ["TABLE sort_keys"],
    5: ["INDEX ledger_of_signatures", "TABLE requests", "TABLE deliveries", "TABLE origins"],
    6: [
        f"TRIGGER {verb}_of_{table}_counts"
        for verb in ("insert", "delete")
        for table in ("versions", "removals")
    ],
}


def make_older(folder: Path, schema: int) -> None:
    """Turn a registry's index into one of an earlier schema."""
    with closing(sqlite3.connect(folder / "registry.sqlite3")) as connection:
        for number in range(schema + 1, SCHEMA + 1):
            for what in _ADDED[number]:
                connection.execute(f"DROP {what}")
        if schema < 6:
            connection.execute("ALTER TABLE models DROP COLUMN present")
        connection.execute(f"PRAGMA user_version = {schema}")
        connection.commit()
