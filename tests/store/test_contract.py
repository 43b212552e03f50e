"""What every implementation of the store's interfaces must do.

Written against the interfaces alone. Another backend is one more entry of `BACKENDS` in
store_backends.py. Lists: test_lists.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256

import pytest
from store_backends import BACKENDS, EACH_BACKEND, Backend
from store_helpers import in_child, kill, publish

from registry_core.errors import BusyError, IntegrityError, MlregError, UsageError
from registry_core.records import Delivery, FileRecord, LedgerAction, Version
from registry_core.refs import parse_ref
from registry_core.store.audit import audit
from registry_core.store.interfaces import Index, RunKey, Workspaces
from registry_core.store.ledger import Event
from registry_core.store.manifest import Objective
from registry_core.store.s3 import objects as s3_objects

BEGAN = {"model": "dummy", "dataset": "dummy", "preset": "quick", "config": {"epochs": 3}}
MISSING = "0" * 64


@pytest.fixture(params=EACH_BACKEND)
def backend(request, tmp_path) -> Backend:
    return BACKENDS[request.param](tmp_path)


# --- objects -------------------------------------------------------------------------------------


@pytest.fixture
def put(backend, tmp_path) -> Callable[[bytes], str]:
    """Puts some content from a new file; returns its digest."""
    objects = backend.objects()
    objects.prepare()

    def put_content(content: bytes, digest: str = "") -> str:
        digest = digest or sha256(content).hexdigest()
        source = tmp_path / f"source-{digest}"
        source.write_bytes(content)
        objects.put(digest, source)
        return digest

    return put_content


@pytest.mark.parametrize("content", [b"", b"x", bytes(3 << 20)], ids=["empty", "byte", "3 MiB"])
def test_an_object_reads_back(backend, put, content):
    digest = put(content)
    with backend.objects().open(digest) as stream:
        assert stream.read() == content
    with backend.objects().open(digest) as stream:
        assert b"".join(iter(lambda: stream.read(1000), b"")) == content
    info = backend.objects().stat(digest)
    assert (info.digest, info.size) == (digest, len(content))
    assert abs(info.put_at - time.time()) < 60
    assert backend.objects().read_small(digest, len(content)) == content
    assert backend.objects().readable(digest)


def test_an_object_that_is_put_again_is_the_same_object(backend, put, monkeypatch):
    """Once, and as young as a new one."""
    monkeypatch.setattr(s3_objects, "FRESH_SECONDS", 0)
    digest = put(b"content")
    first = backend.objects().stat(digest).put_at
    time.sleep(backend.tick_seconds)
    assert put(b"content") == digest
    assert [info.digest for info in backend.objects().list()] == [digest]
    assert backend.objects().stat(digest).put_at > first


def test_a_put_with_another_digest_is_refused(backend, put):
    """No object has a name that is not its content's."""
    wrong = sha256(b"other").hexdigest()
    with pytest.raises(IntegrityError, match=wrong):
        put(b"content", wrong)
    assert backend.objects().stat(wrong) is None
    assert not backend.objects().holds_any()


@pytest.mark.parametrize("content", [b"x", b"content" * 500_000], ids=["a byte", "3.5 MB"])
def test_a_damaged_object_is_never_read_to_its_end(backend, put, content):
    """The last piece is not returned; putting the content again mends it."""
    digest = put(content)
    backend.damage(digest)
    read = b""
    with pytest.raises(IntegrityError, match=digest), backend.objects().open(digest) as stream:
        while piece := stream.read(1 << 20):
            read += piece
    assert len(read) < len(content)
    with pytest.raises(IntegrityError):
        backend.objects().open(digest).read()
    with pytest.raises(IntegrityError, match="the model is damaged"):
        backend.objects().verify(digest, "the model")
    assert backend.objects().read_small(digest, len(content)) is None
    put(content)
    backend.objects().verify(digest, "the model")


def test_an_object_that_is_too_large_is_not_read(backend, put):
    digest = put(b"content")
    with pytest.raises(IntegrityError, match="7 bytes"):
        backend.objects().open(digest, limit_bytes=6)
    assert backend.objects().read_small(digest, 6) is None
    assert backend.objects().read(digest, "it", 7) == b"content"


def test_an_object_that_is_missing_says_so(backend, put):
    put(b"content")
    with pytest.raises(IntegrityError, match="no file"):
        backend.objects().open(MISSING)
    assert backend.objects().stat(MISSING) is None
    assert backend.objects().size(MISSING) is None
    assert backend.objects().read_small(MISSING, 10) is None
    assert backend.objects().stamp(MISSING) is None
    backend.objects().delete(MISSING)


def test_objects_are_listed_in_order_by_prefix(backend, put):
    digests = sorted(put(b"%d" % number) for number in range(40))
    objects = backend.objects()
    assert [info.digest for info in objects.list()] == digests
    for length in (1, 2, 3, 64):
        prefix = digests[7][:length]
        listed = [info.digest for info in objects.list(prefix)]
        assert listed == [digest for digest in digests if digest.startswith(prefix)]
    assert list(objects.list("xyz")) == []


def test_deleted_objects_are_gone_and_the_others_stay(backend, put):
    first, second, third = (put(content) for content in (b"1", b"2", b"3"))
    backend.objects().delete(first, MISSING, second)
    assert [info.digest for info in backend.objects().list()] == [third]
    assert put(b"1") == first


def test_objects_of_a_registry_without_any_are_none(backend):
    objects = backend.objects()
    assert not objects.holds_any()
    assert list(objects.list()) == []
    assert objects.stat(MISSING) is None


def test_what_changes_an_object_changes_its_stamp(backend, put):
    digest = put(b"content")
    time.sleep(0.1)
    before = backend.objects().stamp(digest)
    assert before == backend.objects().stamp(digest)
    assert before is not None
    backend.damage(digest)
    assert backend.objects().stamp(digest) != before


# --- index ---------------------------------------------------------------------------------------


def version(number: int, model: str = "dummy") -> Version:
    digest = sha256(f"{model} {number}".encode()).hexdigest()
    return Version(
        model=model,
        version=number,
        created="2026-01-01T00:00:00Z",
        dataset="dummy",
        preset="quick",
        seed=7,
        metrics={"test_accuracy": 0.5},
        seconds={"fit": 1.0},
        files=[FileRecord("model.keras", 7, sha256(b"weights").hexdigest())],
        digest=digest,
        run=f"run-{number}",
    )


def register(index: Index) -> Version:
    """The next version of a model, in a transaction of its own."""
    with index.write(create=True) as writing:
        made = version(writing.take_number("dummy"))
        writing.add_version(made, Objective("test_accuracy", "max"))
        event = Event(
            LedgerAction.REGISTERED, "dummy", made.version, evidence={"digest": made.digest}
        )
        writing.append(event)
    return made


def test_an_index_says_what_state_it_is_in(backend):
    assert backend.index().state() == "missing"
    with backend.index().write(create=True):
        pass
    assert backend.index().state() == "empty"
    register(backend.index())
    assert backend.index().state() == "ready"


def test_an_index_that_is_missing_reads_as_empty_and_is_not_written_to(backend):
    with backend.index().read() as view:
        assert (view.model_names(), view.ledger(), view.last_ledger_row()) == ([], [], None)
    with pytest.raises(MlregError), backend.index().write(create=False):
        pass
    assert backend.index().state() == "missing"


def test_a_transaction_that_raises_changes_nothing(backend):
    register(backend.index())
    with pytest.raises(ZeroDivisionError), backend.index().write() as writing:
        made = version(writing.take_number("dummy"))
        writing.add_version(made, Objective("test_accuracy", "max"))
        writing.append(Event(LedgerAction.REGISTERED, "dummy", made.version))
        raise ZeroDivisionError
    with backend.index().read() as view:
        assert [each.version for each in view.versions("dummy")] == [1]
        assert len(view.ledger()) == 1
    assert register(backend.index()).version == 2


def test_a_reader_sees_one_moment(backend):
    """Before its commit, nothing of a writer is seen; and a snapshot never changes."""
    register(backend.index())
    with backend.index().snapshot() as before:
        with backend.index().write() as writing:
            made = version(writing.take_number("dummy"))
            writing.add_version(made, Objective("test_accuracy", "max"))
            with backend.index().read() as beside:
                assert [each.version for each in beside.versions("dummy")] == [1]
        assert [each.version for each in before.versions("dummy")] == [1]
    with backend.index().read() as view:
        assert [each.version for each in view.versions("dummy")] == [2, 1]


def test_of_two_writers_one_waits(backend):
    """And is refused if that takes too long; what it had not begun is not done."""
    register(backend.index())
    with backend.index().write(), pytest.raises(Exception) as refused, backend.index().write():
        pytest.fail("two writers at once")
    assert not isinstance(refused.value, MlregError) or isinstance(refused.value, BusyError)


def test_numbers_go_up_and_are_given_once(backend):
    for number in (1, 2, 3):
        assert register(backend.index()).version == number
    with backend.index().write() as writing:
        assert writing.take_number("other") == 1
        writing.reserve_number("dummy", 10)
        writing.reserve_number("dummy", 5)
        assert writing.take_number("dummy") == 11


@pytest.mark.processes
def test_a_writer_that_is_killed_has_changed_nothing(backend):
    register(backend.index())

    def die() -> None:
        with backend.index().write() as writing:
            made = version(writing.take_number("dummy"))
            writing.add_version(made, Objective("test_accuracy", "max"))
            kill()

    assert in_child(die) == -9
    with backend.index().read() as view:
        assert [each.version for each in view.versions("dummy")] == [1]
    assert register(backend.index()).version == 2


def test_an_index_knows_what_its_versions_refer_to(backend):
    made = register(backend.index())
    weights = made.files[0].sha256
    with backend.index().read() as view:
        assert view.unreferenced([weights, made.digest, MISSING]) == [MISSING]
        assert view.unreferenced([weights, made.digest], beside=[made]) == [weights]
        assert view.needed(weights[:2]) == {
            d for d in (weights, made.digest) if d[:2] == weights[:2]
        }


def test_an_index_knows_the_open_requests(backend):
    """One for a version and an alias: declined, promoted or asked again, an older one ends."""
    index = backend.index()
    made = register(index)

    def add(action: LedgerAction) -> int:
        with index.write() as transaction:
            return transaction.append(Event(action, made.model, made.version, "production")).number

    for ends in (LedgerAction.DECLINED, LedgerAction.PROMOTED):
        add(LedgerAction.REQUESTED)
        number = add(LedgerAction.REQUESTED)
        add(LedgerAction.APPROVED)
        with index.read() as view:
            assert view.requests() == {("dummy", "production", 1): number}
            (row,) = view.ledger(limit=1)
            assert row.who == view.who
        add(ends)
        with index.read() as view:
            assert view.requests() == {}


def test_an_index_keeps_an_outbox(backend):
    """What is not delivered, oldest first; everything, newest first."""
    index = backend.index()
    register(index)
    first, second = (Delivery(name, 1, at="2026-01-01T00:00:00Z") for name in ("a", "b"))
    last = Delivery("a", 2, "failed", 3, "2026-01-01T00:00:00Z", "no answer")
    with index.write() as transaction:
        for each in (second, last, first):
            transaction.put_delivery(each)
    with index.read() as view:
        assert view.deliveries(undone=True) == [first, second, last]
        assert view.deliveries(limit=1) == [last]
    done = replace(first, state="delivered", attempts=1)
    with index.write() as transaction:
        transaction.put_delivery(done)
    with index.read() as view:
        assert view.deliveries(undone=True) == [second, last]
        assert view.deliveries() == [last, done, second]


# --- workspaces ----------------------------------------------------------------------------------


def nothing(workspace) -> None:
    workspace.release()


@pytest.fixture
def runs(backend) -> Workspaces:
    workspaces = backend.workspaces()
    workspaces.prepare()
    return workspaces


def stopped(runs: Workspaces, *checkpoints: bytes) -> str:
    """A run that began, kept these checkpoints, and ended without a version; its id."""
    with runs.create("dummy", nothing) as run:
        run.begin(BEGAN)
        for content in checkpoints:
            run.keep(lambda stream, content=content: stream.write(content))
    return run.id


def test_a_workspace_has_a_folder_to_write_into(runs):
    with runs.create("dummy", nothing) as run:
        assert run.model == "dummy"
        (run.files / "model.keras").write_bytes(b"weights")
        assert run.files.is_relative_to(run.path)
        assert (run.record, run.checkpoint, run.log_content) == (None, None, b"")
        run.log("epoch 1")
        run.log("epoch 2")
        assert run.log_content == b"epoch 1\nepoch 2\n"
        run.renew()


def test_the_progress_of_a_run_is_seen_from_outside(backend, runs):
    """Lines about epochs add up, its state is replaced; both are gone with the run."""
    with runs.create("dummy", nothing) as run:
        run.begin(BEGAN)
        assert backend.workspaces().progress(run.id) == (b"", b"")
        for epoch in (1, 2):
            run.log_epoch(f"epoch {epoch}")
            run.set_progress(f"after {epoch}")
        assert backend.workspaces().progress(run.id) == (b"epoch 1\nepoch 2\n", b"after 2")
    with backend.workspaces().reopen(run.id, nothing):
        assert backend.workspaces().progress(run.id) == (b"epoch 1\nepoch 2\n", b"after 2")
    backend.workspaces().discard(run.id)
    with pytest.raises(UsageError):
        backend.workspaces().progress(run.id)


def test_a_page_of_runs_has_running_ones_first_and_then_the_newest(backend, runs):
    """Pages join without a gap, also when the run that one ended with is gone."""
    ids = sorted(stopped(runs) for _ in range(5))
    with runs.create("dummy", nothing) as running:
        running.begin(BEGAN)
        assert backend.workspaces().find(running.id).process is not None
        found = backend.workspaces().newest(3)
        assert [run.id for run in found] == [running.id, ids[4], ids[3]]
        runs.discard(ids[3])
        later = backend.workspaces().newest(3, RunKey(False, ids[3]))
        assert [run.id for run in later] == [ids[2], ids[1], ids[0]]
    oldest = min(ids[0], running.id)  # it is a stopped one by now
    assert backend.workspaces().newest(3, RunKey(False, oldest)) == []
    assert backend.workspaces().newest(0) == []
    assert backend.workspaces().find(ids[0]).record["preset"] == "quick"
    for name in (ids[3], "../outside", ""):
        assert backend.workspaces().find(name) is None


def test_only_runs_that_began_are_listed(backend, runs):
    with runs.create("dummy", nothing):
        assert backend.workspaces().list() == []
    ids = sorted([stopped(runs), stopped(runs, b"epoch 1")])
    listed = backend.workspaces().list()
    assert [run.id for run in listed] == ids
    assert {key: listed[0].record[key] for key in BEGAN} == BEGAN
    assert {run.process for run in listed} == {None}


@pytest.mark.gate
def test_a_run_has_one_lease(backend, runs):
    """While it lasts, the run is listed as running, and is neither reopened nor discarded."""
    with runs.create("dummy", nothing) as run:
        run.begin(BEGAN)
        (listed,) = backend.workspaces().list()
        assert listed.process is not None
        for refused in (
            lambda: backend.workspaces().reopen(run.id, nothing),
            lambda: backend.workspaces().discard(run.id),
        ):
            with pytest.raises(BusyError):
                refused()
        assert list(backend.workspaces().abandoned()) == []
    assert backend.workspaces().list()[0].process is None
    with backend.workspaces().reopen(run.id, nothing), pytest.raises(BusyError):
        runs.reopen(run.id, nothing)


@pytest.mark.processes
def test_a_run_whose_process_crashed_is_reopened_with_its_record_and_checkpoint(backend, runs):
    """And without what was half written."""

    def crash() -> None:
        run = runs.create("dummy", nothing)
        run.begin(BEGAN)
        run.keep(lambda stream: stream.write(b"epoch 1"))
        (run.files / "model.keras").write_bytes(b"half")
        run.write_intent(["ab" * 32])
        kill()

    assert in_child(crash) == -9
    (listed,) = runs.list()
    assert listed.process is None
    with backend.workspaces().reopen(listed.id, nothing) as run:
        assert {key: run.record[key] for key in BEGAN} == BEGAN
        assert run.checkpoint.read_bytes() == b"epoch 1"
        assert list(run.files.iterdir()) == []
        assert run.leftover().intended == []


def test_a_run_that_was_discarded_is_gone(backend, runs):
    one, other = stopped(runs, b"1"), stopped(runs, b"2")
    backend.workspaces().discard(one)
    assert [run.id for run in runs.list()] == [other]
    for refused in (
        runs.discard,
        runs.log_content,
        runs.progress,
        lambda name: runs.reopen(name, nothing),
    ):
        for name in (one, "../outside", ""):
            with pytest.raises(UsageError):
                refused(name)


def test_intents_are_seen_by_others_until_they_are_committed(backend, runs):
    digest, manifest = "ab" * 32, "cd" * 32
    with runs.create("dummy", nothing) as run:
        run.begin(BEGAN)
        run.write_intent([digest])
        assert backend.workspaces().intended() == {digest}
        run.write_intent([digest], manifest)
        with backend.workspaces().intents() as intents:
            assert (intents.digests, intents.complete) == ({digest, manifest}, True)
        with backend.workspaces().intents(apart_from=run.id) as intents:
            assert intents.digests == frozenset()
        left = run.leftover()
        assert (left.id, set(left.intended), left.manifest) == (
            run.id,
            {digest, manifest},
            manifest,
        )
        run.committed()
        assert backend.workspaces().intended() == frozenset()
        assert backend.workspaces().list() == []


@pytest.mark.parametrize("keep", [True, False])
def test_what_a_dead_run_left_is_removed_but_for_what_it_can_be_resumed_from(backend, runs, keep):
    run_id = stopped(runs, b"epoch 1")
    (left,) = backend.workspaces().abandoned()
    assert (left.id, list(left.intended), left.manifest) == (run_id, [], "")
    left.remove(keep)
    assert [run.id for run in runs.list()] == ([run_id] if keep else [])


# --- the store on top ----------------------------------------------------------------------------


def test_a_version_is_published_removed_and_collected(backend):
    kept, gone = (publish(backend.store(), content=content) for content in (b"1", b"2"))
    backend.store().removals.remove(gone, 0)
    done = backend.store().removals.collect(older_than_days=0, keep_last=0)
    assert (done.blobs, done.spared) == (1, 0)
    backend.store().check(kept)
    assert backend.objects().stat(gone.file("model.keras").sha256) is None
    found = audit(backend.store())
    assert (found.problems, found.orphans) == ([], 0)


@pytest.mark.processes
@pytest.mark.parametrize("method", ["put_all", "add_version", "append"])
def test_a_publish_that_is_killed_leaves_nothing_for_ever(backend, method, monkeypatch):
    """The next writer deletes its objects, and the number it took is given to another one."""
    first = publish(backend.store())

    def die() -> None:
        with backend.index().write() as writing:
            transaction = type(writing)
        owner = type(backend.objects()) if method == "put_all" else transaction
        real = getattr(owner, method)

        def and_die(*arguments):
            real(*arguments)
            kill()

        setattr(owner, method, and_die)
        publish(backend.store(), content=b"never")

    assert in_child(die) == -9
    second = publish(backend.store(), content=b"second")
    assert second.version == 2
    needed = {each.sha256 for made in (first, second) for each in made.files}
    needed |= {first.digest, second.digest}
    assert {info.digest for info in backend.objects().list()} == needed
    with suppress(UsageError):
        assert backend.store().resolve(parse_ref("dummy@3")) is None
    found = audit(backend.store())
    assert (found.problems, found.orphans) == ([], 0)
