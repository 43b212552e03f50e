"""Receivers are told of promotions: by a command or a signed POST, with an outbox between."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from promotion_helpers import by, held_by, promote, publish
from store_helpers import assert_whole, in_child, make_older

from registry_core.errors import UsageError
from registry_core.notify import deliver as delivering
from registry_core.plugins.manager import PluginSet
from registry_core.promotion.gates import PromotionRefusedError
from registry_core.receivers import EVENTS, Receiver
from registry_core.registry import Registry
from registry_core.settings import Settings, read_settings
from registry_core.store import outbox
from registry_core.store.rebuild import rebuild

pytestmark = pytest.mark.drawn

NO_PLUGINS = PluginSet(None, [])


class Server(ThreadingHTTPServer):
    """A receiver on loopback that keeps what it got, and answers as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    @property
    def messages(self) -> list[dict]:
        return [json.loads(body) for _, body in self.got]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((dict(self.headers), body))
        time.sleep(self.server.delay)
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("location", "/elsewhere")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - http.server's name

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def registry_of(folder, *receivers: Receiver, **settings) -> Registry:
    return Registry(folder / "registry", Settings(receivers=receivers, **settings))


def states(registry: Registry) -> list[tuple[str, str, int]]:
    return [
        (each.delivery.receiver, each.delivery.state, each.delivery.attempts)
        for each in registry.deliveries()
    ]


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(delivering, "warn", told.append)
    return told


@pytest.fixture
def clock(monkeypatch):
    """Moves the time of the outbox by some seconds."""
    shift = [0.0]
    real = outbox.utc_now
    monkeypatch.setattr(outbox, "utc_now", lambda: outbox.later(real(), shift[0]))
    return lambda seconds: shift.__setitem__(0, shift[0] + seconds)


# --- what is sent --------------------------------------------------------------------------------


def test_a_promotion_is_posted_as_signed_json(tmp_path, server, monkeypatch):
    """The row of the ledger, the version, and HMAC-SHA256 of exactly these bytes."""
    monkeypatch.setenv("NOTIFY_KEY", "a key")
    registry = registry_of(tmp_path, Receiver("ci", url=server.url, secret_env="NOTIFY_KEY"))
    first, second = publish(registry, 800), publish(registry, 900)
    promote(registry, first)
    promote(registry, second, reason="better")
    headers, body = server.got[1]
    expected = hmac.new(b"a key", body, hashlib.sha256).hexdigest()
    assert headers["X-Mlreg-Signature"] == f"sha256={expected}"
    assert headers["Content-Type"] == "application/json"
    message = json.loads(body)
    assert (message["schema"], message["event"], message["alias"]) == (1, "promoted", "production")
    assert (message["ref"], message["previous"]) == ("dummy@2", "dummy@1")
    assert (message["reason"], message["attempt"]) == ("better", 1)
    assert message["version"]["digest"] == second.digest
    row = registry.history(limit=1).rows[0]
    assert message["row"] == json.loads(json.dumps(row.to_json()))
    assert headers["X-Mlreg-Delivery"] == message["delivery"]
    assert headers["X-Mlreg-Attempt"] == "1"
    assert message["delivery"] != server.messages[0]["delivery"]
    assert states(registry) == [("ci", "delivered", 1)] * 2
    assert_whole(registry.store)


def test_each_event_is_told_to_those_who_asked_for_it(tmp_path, server):
    """Promotions and rollbacks by default; refusals, requests and releases if they are named."""
    every = Receiver("every", url=server.url, events=EVENTS)
    some = Receiver("some", url=server.url)
    registry = registry_of(tmp_path, every, some)
    first, second = publish(registry, 800), publish(registry, 900)
    promote(registry, first)
    promote(registry, second)
    registry.rollback("dummy", "production")
    registry.release("dummy", "production")
    registry.set_rule("production", approvals=1, versus_incumbent="off")
    with by("ann"):
        asked = registry.request_promotion(second, "production", plugins=NO_PLUGINS)
        registry.decline(asked.request.number, reason="not yet")
        asked = registry.request_promotion(second, "production", plugins=NO_PLUGINS)
    with by("bob"):
        registry.approve(asked.request.number, plugins=NO_PLUGINS)
    registry.set_rule("production", floor={"test_accuracy": 0.95})
    with pytest.raises(PromotionRefusedError):
        registry.request_promotion(first, "production", plugins=NO_PLUGINS)
    told = [message["event"] for message in server.messages]
    promotions = ["promoted", "promoted", "rolled_back", "promoted"]
    assert sorted(told) == sorted(
        [*promotions, *promotions, "released", "requested", "declined", "requested", "approved",
         "refused"]
    )  # fmt: skip
    assert {state for _, state, _ in states(registry)} == {"delivered"}


def test_a_dry_run_and_what_changes_nothing_tell_nobody(tmp_path, server):
    registry = registry_of(tmp_path, Receiver("ci", url=server.url, events=EVENTS))
    version = publish(registry, 800)
    promote(registry, version, dry_run=True)
    promote(registry, version)
    promote(registry, version)
    registry.tag(version, {"a": "b"})
    assert len(server.got) == 1


def test_a_command_gets_the_message_on_stdin(tmp_path):
    """Without a shell, in the folder of plugins.toml, with the event in its environment."""
    file = tmp_path / "plugins.toml"
    script = 'cat > "$1"; printf "%s %s" "$MLREG_EVENT" "$MLREG_ATTEMPT" >> "$1"; pwd >> "$1"'
    words = json.dumps(["sh", "-c", script, "sh", "told; touch shell"])
    file.write_text(f"[notify.pager]\ncommand = {words}\n")
    registry = Registry(tmp_path / "registry", read_settings(file))
    promote(registry, publish(registry, 800))
    told = (tmp_path / "told; touch shell").read_text()
    message, _, rest = told.partition("}promoted ")
    assert json.loads(message + "}")["ref"] == "dummy@1"
    assert rest.split("\n")[0].startswith("1")
    assert str(tmp_path) in rest
    assert not (tmp_path / "shell").exists()
    assert states(registry) == [("pager", "delivered", 1)]


# --- what fails ----------------------------------------------------------------------------------


def test_what_failed_is_tried_again_later_and_says_so(tmp_path, server, clock, warnings):
    """The promotion stands; the same delivery comes again as another attempt, after a pause."""
    registry = registry_of(tmp_path, Receiver("ci", url=server.url))
    first, second = publish(registry, 800), publish(registry, 900)
    server.answers = [500]
    promote(registry, first)
    assert held_by(registry) == 1
    assert states(registry) == [("ci", "failed", 1)]
    assert "'ci' was not told of row 3: the answer was 500" in warnings[0]
    promote(registry, second, "staging")
    assert [m["ref"] for m in server.messages] == ["dummy@1", "dummy@2"], "it waits for its pause"
    clock(61)
    promote(registry, first, "staging")
    again = server.messages[2]
    assert again["delivery"] == server.messages[0]["delivery"]
    assert again["attempt"] == 2
    assert server.got[2][0]["X-Mlreg-Attempt"] == "2"
    assert {state for _, state, _ in states(registry)} == {"delivered"}


def test_retries_have_a_bound_and_can_be_asked_for(tmp_path, server, clock, warnings):
    """After it, only `mlreg notify --retry` tries; it keeps what fails."""
    registry = registry_of(tmp_path, Receiver("ci", url=server.url, retries=2))
    server.answers = [500] * 5
    promote(registry, publish(registry, 800))
    for _ in range(5):
        clock(100_000)
        with pytest.raises(UsageError):
            registry.rollback("dummy", "production")
    assert states(registry) == [("ci", "failed", 3)]
    assert len(server.got) == 3
    (tried,) = registry.retry_deliveries()
    assert tried.delivery.error == "the answer was 500"
    assert registry.retry_deliveries().tried == 1
    assert registry.retry_deliveries()[0].delivery.state == "delivered"
    assert registry.retry_deliveries().tried == 0
    assert server.messages[-1]["attempt"] == 6


def test_the_pauses_double(tmp_path, clock):
    """1, 2, 4, … minutes, and a day at most."""
    receiver = Receiver("ci", command=["false"], retries=100)
    for attempts, pause in ((1, 60), (2, 120), (3, 240), (20, 86_400), (90, 86_400)):
        failed = outbox.Delivery("ci", 1, "failed", attempts, "2026-01-01T00:00:00Z")
        for seconds, due in ((pause - 1, False), (pause, True)):
            now = outbox.later(failed.at, seconds)
            assert outbox._is_due(failed, receiver, now, False) is due


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(tmp_path, server, warnings, status):
    """Neither as GET nor as POST."""
    registry = registry_of(tmp_path, Receiver("ci", url=server.url))
    server.answers = [status]
    promote(registry, publish(registry, 800))
    assert len(server.got) == 1
    assert f"the answer was {status}; redirects are not followed" in warnings[0]


@pytest.mark.gate
def test_a_receiver_that_does_not_answer_holds_nothing_up(tmp_path, server, warnings):
    """Nor one that refuses the connection, nor one that answers byte by byte."""
    with socket.create_server(("127.0.0.1", 0)) as slow, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))

        def drip() -> None:
            connection, _ = slow.accept()
            with connection:
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 50:
                    try:
                        connection.send(bytes([byte]))
                    except OSError:
                        return
                    time.sleep(0.05)

        thread = threading.Thread(target=drip)
        thread.start()
        server.delay = 6
        registry = registry_of(
            tmp_path,
            Receiver("closed", url=f"http://127.0.0.1:{closed.getsockname()[1]}/"),
            Receiver("drips", url=f"http://127.0.0.1:{slow.getsockname()[1]}/", timeout=0.3),
            Receiver("sleeps", url=server.url, timeout=0.3),
        )
        begun = time.monotonic()
        promote(registry, publish(registry, 800))
        assert time.monotonic() - begun < 5
        server.delay = 0
        thread.join()
    assert "refused" in warnings[0]
    assert "no answer within 0.3 s" in warnings[1] + warnings[2]
    assert held_by(registry) == 1


def test_a_command_that_fails_says_why_and_one_that_hangs_is_ended(tmp_path, warnings):
    """With its children; the last line of stderr is the reason."""
    fails = Receiver("fails", command=["sh", "-c", "echo first >&2; echo no such room >&2; exit 3"])
    hangs = Receiver(
        "hangs", command=["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait"], timeout=0.3
    )
    missing = Receiver("missing", command=["/nowhere/notify"])
    registry = registry_of(tmp_path, fails, hangs, missing)
    promote(registry, publish(registry, 800))
    errors = {each.delivery.receiver: each.delivery.error for each in registry.deliveries()}
    assert errors["fails"] == "ended with status 3: no such room"
    assert errors["hangs"] == "not finished within 0.3 s"
    assert errors["missing"] == "/nowhere/notify: No such file or directory"
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.02)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the command's child still runs")


def test_what_a_command_says_is_stored_whatever_its_bytes(tmp_path, warnings):
    """Not UTF-8, without an end, with zero bytes."""
    script = r"printf 'a\000b \377 \303' >&2; head -c 100000 /dev/zero | tr '\0' x >&2; exit 1"
    registry = registry_of(tmp_path, Receiver("odd", command=["sh", "-c", script]))
    zero = Receiver("zero", command=["sh", "-c", r"printf 'a\000b \377' >&2; exit 1"])
    promote(registry, publish(registry, 800))
    promote(registry_of(tmp_path, zero), publish(registry, 900))
    errors = {each.delivery.receiver: each.delivery.error for each in registry.deliveries()}
    assert errors["zero"] == "ended with status 1: a\ufffdb \ufffd"
    assert len(errors["odd"]) == 300


def test_nothing_is_sent_without_the_key_or_the_address(tmp_path, server, warnings, monkeypatch):
    """Variables that are not set, and an address in one that nothing may be sent to."""
    monkeypatch.delenv("NO_KEY", raising=False)
    monkeypatch.setenv("PLAIN", "http://192.0.2.1/hook")
    registry = registry_of(
        tmp_path,
        Receiver("unsigned", url=server.url, secret_env="NO_KEY"),
        Receiver("nowhere", url_env="NO_URL"),
        Receiver("plain", url_env="PLAIN"),
    )
    promote(registry, publish(registry, 800))
    assert server.got == []
    errors = {each.delivery.receiver: each.delivery.error for each in registry.deliveries()}
    assert errors["unsigned"] == "NO_KEY is not set; nothing is sent without a signature"
    assert errors["nowhere"] == "NO_URL is not set"
    assert errors["plain"].startswith("PLAIN must begin with https://")
    monkeypatch.setenv("NO_URL", server.url)
    registry.retry_deliveries()
    assert [message["ref"] for message in server.messages] == ["dummy@1"]


# --- crashes and other processes -----------------------------------------------------------------


def test_a_crash_after_the_commit_loses_nothing(tmp_path, server, monkeypatch):
    """Killed before the first attempt: the next command delivers it."""
    registry = registry_of(tmp_path, Receiver("ci", url=server.url))
    version = publish(registry, 800)

    def killed_before_sending() -> None:
        monkeypatch.setattr(
            delivering, "deliver_afterwards", lambda *words: os.kill(os.getpid(), signal.SIGKILL)
        )
        promote(registry, version)

    assert in_child(killed_before_sending) == -signal.SIGKILL
    assert held_by(registry) == 1
    assert states(registry) == [("ci", "pending", 0)]
    assert registry.retry_deliveries().tried == 1
    assert [message["attempt"] for message in server.messages] == [1]


def test_a_crash_after_the_attempt_delivers_it_again_and_says_so(tmp_path, server, clock):
    """It was sent, and nobody noted that: the next attempt is the second, of the same delivery."""
    registry = registry_of(tmp_path, Receiver("ci", url=server.url, timeout=1))
    version = publish(registry, 800)

    def killed_before_noting() -> None:
        registry.store.outbox.finish = lambda *words: os.kill(os.getpid(), signal.SIGKILL)
        promote(registry, version)

    assert in_child(killed_before_noting) == -signal.SIGKILL
    assert states(registry) == [("ci", "trying", 1)]
    assert registry.retry_deliveries().tried == 0, "the other process may still be at it"
    clock(62)
    assert registry.retry_deliveries().tried == 1
    first, second = server.messages
    assert first["delivery"] == second["delivery"]
    assert (first["attempt"], second["attempt"]) == (1, 2)


def test_a_promotion_that_is_rolled_back_tells_nobody(tmp_path, server):
    """The outbox is in the same transaction as the row."""
    registry = registry_of(tmp_path, Receiver("ci", url=server.url))
    version = publish(registry, 800)
    with pytest.raises(RuntimeError), registry.store._access.writing("trying") as index:
        index.set_alias("dummy", "production", version.version)
        index.append(outbox_event(version))
        raise RuntimeError
    assert states(registry) == []
    assert server.got == []


def outbox_event(version):
    from registry_core.store.ledger import Event

    return Event("promoted", version.model, version.version, "production")


def test_two_who_retry_at_once_send_it_once(tmp_path, server, warnings):
    """The second finds that the first has claimed it."""
    registry = registry_of(tmp_path, Receiver("ci", url=server.url))
    server.answers = [500]
    promote(registry, publish(registry, 800))
    (due,) = registry.store.outbox.due({"ci": registry.settings.receivers[0]}, again=True)
    assert registry.store.outbox.claim(due) is not None
    assert registry.store.outbox.claim(due) is None


def test_a_receiver_that_is_not_named_here_is_left_for_others(tmp_path, server, warnings):
    """It is listed as such, and told by whoever names it."""
    registry = registry_of(tmp_path, Receiver("ci", command=["false"]))
    promote(registry, publish(registry, 800))
    elsewhere = registry_of(tmp_path, Receiver("other", url=server.url))
    (listed,) = elsewhere.deliveries()
    assert not listed.is_known
    assert elsewhere.retry_deliveries().tried == 0
    assert registry_of(tmp_path, Receiver("ci", url=server.url)).retry_deliveries().tried == 1
    with pytest.raises(UsageError, match=r"No plugins\.toml here names a receiver"):
        registry_of(tmp_path).retry_deliveries()


def test_a_registry_without_receivers_has_an_empty_outbox(tmp_path):
    registry = registry_of(tmp_path)
    promote(registry, publish(registry, 800))
    assert list(registry.deliveries()) == []
    make_older(registry.folder, 4)
    assert list(registry.deliveries()) == []
    promote(registry, publish(registry, 900))


def test_a_rebuild_keeps_the_outbox_of_an_index_that_can_be_read(tmp_path, server, warnings):
    """What was not delivered is delivered after it; with the old index lost, nothing is known."""
    registry = registry_of(tmp_path, Receiver("ci", url=server.url))
    server.answers = [500]
    promote(registry, publish(registry, 800))
    rebuild(registry.folder)
    assert states(registry) == [("ci", "failed", 1)]
    assert registry.retry_deliveries().tried == 1
    (registry.folder / "registry.sqlite3").unlink()
    rebuild(registry.folder)
    assert states(registry) == []
