"""Which worker a job on a full cluster gets: the next that is done, and who waits longest first."""

from __future__ import annotations

import io
import json
import sys
import time
from types import SimpleNamespace

import pytest

from registry_core.executors import ray_bridge
from registry_core.executors.ray_bridge import Bridge

from .test_local import wait_for


class FakeRay:
    """A cluster without room for another worker."""

    class RayError(Exception):
        pass

    def __init__(self):
        self.exceptions = SimpleNamespace(RayError=self.RayError)
        self.killed = []

    def wait(self, references, timeout=None, num_returns=1):
        time.sleep(0.01)
        return [], references

    def get(self, reference, timeout=None):
        if isinstance(reference, Exception):
            raise reference
        return reference

    def kill(self, actor):
        self.killed.append(actor)

    def nodes(self):
        return [{"Alive": True}]


class Actor:
    """A worker that does every job at once; or one that is lost with its node."""

    def __init__(self, lost=False):
        self.jobs, self._lost = [], lost

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *words: self._call(name, *words))

    def _call(self, name, *words):
        if self._lost:
            return FakeRay.RayError("its node is lost")
        if name == "start":
            self.jobs.append(words[0]["id"])
        return [{"kind": "finished", "data": {}, "files": {}}] if name == "poll" else None


@pytest.fixture
def ray(monkeypatch):
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(ray_bridge, "_SECONDS_OF_A_WAIT", 0.01)
    return ray


@pytest.fixture
def bridge(ray):
    bridge = Bridge(io.StringIO())
    bridge.made = []
    bridge._make = lambda: bridge.made.append(Actor()) or bridge.made[-1]
    return bridge


def start(bridge, job, attempt=1):
    before = len(bridge.made)
    bridge.run({"id": job, "attempt": attempt}, "/nowhere", {}, None)
    wait_for(lambda: len(bridge.made) > before)


def said(bridge):
    return [json.loads(line) for line in bridge._stream.getvalue().splitlines()]


def test_a_job_that_waits_for_room_gets_a_worker_that_is_done_with_another(bridge, ray):
    """Such a worker keeps its room: a lost trial would wait for it for ever."""
    start(bridge, "lost before")
    done = Actor()
    bridge._idle += [done, Actor(lost=True)]
    wait_for(lambda: said(bridge))
    assert done.jobs == ["lost before"] and bridge._idle == [done]
    assert ray.killed == bridge.made, "the one that it asked for is not needed any more"


def test_the_job_that_waits_longest_is_first(bridge):
    """A new one takes no worker before it: it may be one that the new ones wait for."""
    for job in ("first", "second"):
        start(bridge, job)
    done = Actor()
    bridge._idle.append(done)
    wait_for(lambda: len(said(bridge)) == 2)
    assert done.jobs == ["first", "second"]


def test_an_attempt_that_was_given_up_takes_no_worker_from_the_next_one(bridge):
    """It was waiting when it was given up, and the next one began before it noticed."""
    start(bridge, "run", 1)
    bridge.cancel("run")
    start(bridge, "run", 2)
    bridge._idle.append(done := Actor())
    wait_for(lambda: said(bridge))
    assert [(event["attempt"], event["kind"]) for event in said(bridge)] == [(2, "finished")]
    assert done.jobs == ["run"] and not bridge._actors and not bridge._waiting
