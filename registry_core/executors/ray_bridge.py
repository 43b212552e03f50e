"""The process that talks to Ray: `python -m registry_core.executors.ray_bridge`.

Ray ends the process that uses it when it loses its cluster for long, and prints as it likes. So it
is a process of its own, which takes commands and writes events as lines of JSON, as a worker does.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import registry_core
from registry_core.errors import IntegrityError, PluginError, StorageError, one_line
from registry_core.executors.messages import check_name, error_to_json
from registry_core.executors.ray_actor import RelayActor
from registry_core.executors.worker import die_with

_CHUNK = 4 << 20
_POLL_SECONDS = 0.5
_MOST_CALLS_SECONDS = 60.0
_SECONDS_BETWEEN_SIGNS = 20.0
_SECONDS_OF_A_WAIT = 1.0
_SECONDS_TO_TIDY = 5.0
_OBJECT_STORE_BYTES = 256 << 20
_REFUSED = "it asks for a token"
# What Ray raises if a worker does not answer.
_LOST = {
    "ActorDiedError": "its process or its node was lost",
    "ActorUnavailableError": "its node does not answer",
    "GetTimeoutError": f"it did not answer within {_MOST_CALLS_SECONDS:g} s",
}
# A job, and which attempt at it.
_Attempt = tuple[str, int]

_ENDINGS = ("finished", "failed", "stopped", "lost")


def main(arguments: list[str]) -> int:
    """Carry out commands until there are no more; arguments as for a worker."""
    events, control, parent = map(int, arguments)
    if parent:
        die_with(parent)
    for descriptor in (events, control):
        os.set_inheritable(descriptor, False)
    bridge = Bridge(os.fdopen(events, "w", encoding="utf-8"))
    with os.fdopen(control, encoding="utf-8") as stream:
        for line in stream:
            command = json.loads(line)
            if command["do"] == "close":
                break
            getattr(bridge, command.pop("do"))(**command)
    bridge.close()
    return 0


class Bridge:
    """A connection to a cluster, and a thread for each job.

    Args:
        stream: takes events.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        # of each attempt, by job and number
        self._newest: dict[str, int] = {}
        self._actors: dict[_Attempt, Any] = {}
        self._cancelled: set[_Attempt] = set()
        self._waiting: dict[_Attempt, None] = {}
        self._idle: list[Any] = []
        self._make: Callable[[], Any] | None = None

    def connect(
        self,
        address: str | None,
        cores: int,
        cpus: int,
        gpus: int | None,
        variables: Mapping[str, str],
        program: Sequence[str],
    ) -> None:
        """Join a cluster, or start one of this machine; `connected` says what it has."""
        try:
            import ray

            if os.environ.get("RAY_AUTH_MODE") != "token" and _lacks_token(address):
                raise StorageError(_REFUSED)
            options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
            if address is None:
                options |= {"num_cpus": cores, "include_dashboard": False}
                options |= {"object_store_memory": _OBJECT_STORE_BYTES}
                _init("", address="local", **options)
            else:
                _init("Starting Ray client server failed", address=address, **options)
            found = ray.cluster_resources()
        except BaseException as error:  # Ray raises whatever its parts raise
            why = _REFUSED if _lacks_token(address) else one_line(error)
            self._say("", 0, "failed", {"why": why})
            return
        remote = ray.remote(RelayActor)
        needs = {"num_cpus": cpus, "num_gpus": gpus or 0, "max_restarts": 0}
        self._make = lambda: remote.options(**needs).remote(dict(variables), program)
        nodes = sum(1 for node in ray.nodes() if node["Alive"])
        has = {"cpus": found.get("CPU", 0), "gpus": found.get("GPU", 0), "nodes": nodes}
        self._say("", 0, "connected", has)

    def run(
        self,
        job: Mapping[str, Any],
        folder: str,
        kept: Mapping[str, str],
        record: Mapping[str, Any] | None,
    ) -> None:
        """Run a job in a thread of its own."""
        attempt = job["id"], job["attempt"]
        self._newest[job["id"]] = job["attempt"]
        self._waiting[attempt] = None
        target = threading.Thread(
            target=self._run, args=(attempt, job, Path(folder), kept, record), daemon=True
        )
        target.start()

    def stop(self, job: str) -> None:
        """Ask a job to stop; one that waits for a worker does not start."""
        attempt = job, self._newest.get(job, 0)
        if (actor := self._actors.get(attempt)) is not None:
            actor.stop.remote()
        elif attempt in self._waiting:
            self._cancelled.add(attempt)
            self._say(*attempt, "stopped", {})

    def cancel(self, job: str) -> None:
        """End a job's worker."""
        attempt = job, self._newest.get(job, 0)
        self._cancelled.add(attempt)
        if (actor := self._actors.pop(attempt, None)) is not None:
            _kill(actor)

    def close(self) -> None:
        """End every worker, and leave the cluster."""
        import ray

        actors = [*self._actors.values(), *self._idle]
        with suppress(Exception):  # Ray ends what an actor started, before it can tidy up
            ends = [actor.end.remote() for actor in actors]
            ray.wait(ends, num_returns=len(ends), timeout=_SECONDS_TO_TIDY)
        for actor in actors:
            _kill(actor)
        ray.shutdown()

    # --- a job -------------------------------------------------------------------------------

    def _run(
        self,
        attempt: _Attempt,
        job: Mapping[str, Any],
        folder: Path,
        kept: Mapping[str, str],
        record: Mapping[str, Any] | None,
    ) -> None:
        actor = None
        try:
            try:
                actor = self._actors[attempt] = self._take(attempt)
            finally:
                del self._waiting[attempt]
            if attempt in self._cancelled:
                if self._actors.pop(attempt, None) is not None:
                    self._leave(actor, good=True)
                return
            for path, file in kept.items():
                with Path(file).open("rb") as stream:
                    while chunk := stream.read(_CHUNK):
                        _get(actor.receive.remote(path, chunk))
            _get(actor.start.remote(dict(job), record))
            number, ending = 0, ""
            while not ending:
                for said in _get(actor.poll.remote(_POLL_SECONDS)):
                    number += 1
                    files = self._fetch(actor, said, folder / "in" / str(number))
                    if said["kind"] == "checkpoint":
                        actor.forget.remote(next(iter(said["files"].values())))
                    if said["kind"] in _ENDINGS:
                        ending = said["kind"]
                        if self._actors.pop(attempt, None) is not None:
                            self._leave(actor, good=ending == "finished")
                    self._say(*attempt, said["kind"], said["data"], files)
        except (IntegrityError, PluginError, StorageError) as error:
            self._say(*attempt, "failed", {"error": error_to_json(error)})
        except BaseException as error:
            if self._actors.pop(attempt, None) is not None and actor is not None:
                _kill(actor)
            if not _is_connected():
                os._exit(1)  # who started this process hears it, and joins again
            if attempt not in self._cancelled:
                self._say(*attempt, "lost", {"why": _why(error)})

    def _take(self, attempt: _Attempt) -> Any:
        """A worker that waits for a job, or a new one once the cluster has room for it."""
        import ray

        if (idle := self._idle_worker(attempt)) is not None:
            return idle
        assert self._make is not None  # noqa: S101 - connected first
        actor = self._make()
        try:
            about_it = actor.about.remote()
            text = "Waiting for the cluster to start a worker"
            told, call = time.monotonic(), "say"
            while not ray.wait([about_it], timeout=_SECONDS_OF_A_WAIT)[0]:
                # one that is done with its job keeps the room that this one waits for
                if (idle := self._idle_worker(attempt)) is not None:
                    _kill(actor)
                    return idle
                if time.monotonic() - told >= _SECONDS_BETWEEN_SIGNS:
                    # a sign of life: it is not the worker that is silent; said once
                    self._say(*attempt, "observed", {"call": call, "args": [text]})
                    told, call = time.monotonic(), "waiting"
                if attempt in self._cancelled:
                    _kill(actor)
            about = ray.get(about_it)
        except ray.exceptions.RayError as error:
            if "ModuleNotFoundError" in (said := str(error)):
                lacking = said.rpartition("ModuleNotFoundError:")[2].splitlines()[0].strip()
                raise PluginError(
                    f"A node of the Ray cluster cannot import mlreg: {lacking}.",
                    "Install mlreg, and the plugins, on every node.",
                    f"pip install mlreg=={registry_core.__version__}",
                ) from error
            raise
        if about["mlreg"] != registry_core.__version__:
            _kill(actor)
            raise PluginError(
                f"The node {about['node']} has mlreg {about['mlreg']}, and this machine "
                f"{registry_core.__version__}.",
                "Install the same version on every node.",
                f"pip install mlreg=={registry_core.__version__}",
            )
        return actor

    def _idle_worker(self, attempt: _Attempt) -> Any:
        """A worker that has no job and still answers; None if there is none, or others are first.

        The job that waits longest is first: it may be one that the next ones wait for.
        """
        import ray

        while self._idle and next(iter(self._waiting)) == attempt:
            actor = self._idle.pop()
            with suppress(ray.exceptions.RayError):
                _get(actor.clear.remote())
                return actor
        return None

    def _leave(self, actor: Any, good: bool) -> None:
        if good:
            self._idle.append(actor)
        else:
            actor.end.remote()
            _kill_after(actor)

    def _fetch(self, actor: Any, said: Mapping[str, Any], folder: Path) -> dict[str, str]:
        """Copy the files of an event to this machine."""
        found = {}
        for path, file in said["files"].items():
            target = folder / check_name(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                while stream.tell() < said["sizes"][path]:
                    stream.write(_get(actor.chunk.remote(file, stream.tell(), _CHUNK)))
            found[path] = str(target)
        return found

    def _say(
        self,
        job: str,
        attempt: int,
        kind: str,
        data: Mapping[str, Any],
        files: Mapping[str, str] | None = None,
    ) -> None:
        line = {"job": job, "attempt": attempt, "kind": kind, "data": data, "files": files or {}}
        with self._lock:
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()


def _init(too_slow: str, **options: Any) -> None:
    """Start or join Ray, once more if it was too slow: it waits 15 to 30 s for its own parts.

    Args:
        too_slow: what Ray's error says then; empty for whatever it says.
        options: of `ray.init`.
    """
    import ray

    for again in (True, False):
        try:
            ray.init(**options)
            return
        except Exception as error:
            ray.shutdown()
            if not again or too_slow not in str(error):
                raise


def _lacks_token(address: str | None) -> bool:
    """Whether a cluster refuses who has no token: Ray itself asks again until its time is over."""
    if address is None or not address.startswith("ray://"):
        return False
    grpc: Any = importlib.import_module("grpc")  # of Ray's client
    call = "/ray.rpc.RayletDriver/ClusterInfo"
    with grpc.insecure_channel(address.removeprefix("ray://")) as channel:
        try:
            channel.unary_unary(call)(b"", timeout=_SECONDS_TO_TIDY)
        except grpc.RpcError as error:
            return bool(error.code() is grpc.StatusCode.UNAUTHENTICATED)
    return False


def _is_connected() -> bool:
    """Whether the cluster still answers."""
    import ray

    with suppress(Exception):
        return any(node["Alive"] for node in ray.nodes())
    return False


def _get(reference: Any) -> Any:
    import ray

    return ray.get(reference, timeout=_MOST_CALLS_SECONDS)


def _kill(actor: Any) -> None:
    import ray

    with suppress(Exception):
        ray.kill(actor)


def _kill_after(actor: Any) -> None:
    """Let a worker tidy up first."""
    with suppress(Exception):
        actor.__ray_terminate__.remote()


def _why(error: BaseException) -> str:
    """Why Ray lost a worker, without the many lines that it adds."""
    name = type(error).__name__
    if name in _LOST:
        return _LOST[name]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else name
    return f"Ray says: {first.rstrip('.')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
