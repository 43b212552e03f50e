"""On a node of a Ray cluster: the same worker's process as on this machine, and its files.

An actor starts it, and hands on what it says. So TensorFlow loads in a process that Ray has not
touched, and a run has the same bits wherever it runs. Nothing here imports Ray.
"""

from __future__ import annotations

import os
import platform
import selectors
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import registry_core
from registry_core.executors.interface import Job
from registry_core.executors.messages import check_name
from registry_core.executors.process import WorkerProcess
from registry_core.lifecycle.environment import result_variables

# Ray sets it to the GPUs that it reserved.
_OF_RAY = "CUDA_VISIBLE_DEVICES"


class RelayActor:
    """Runs one job after another in a process of its own.

    Args:
        variables: what may change a result, as who asked has it; nothing else is set.
        program: as for `WorkerProcess`.
    """

    def __init__(self, variables: Mapping[str, str], program: Sequence[str]) -> None:
        self._program = program
        kept = {name for name in result_variables() if name != _OF_RAY}
        self._environment = {n: v for n, v in os.environ.items() if n not in kept} | {**variables}
        self._made: Path | None = None
        self._process: WorkerProcess | None = None

    @property
    def _folder(self) -> Path:
        if self._made is None:
            self._made = Path(tempfile.mkdtemp(prefix="mlreg-worker-"))
        return self._made

    def about(self) -> dict[str, str]:
        """Where this is, and which mlreg."""
        return {
            "node": platform.node(),
            "mlreg": registry_core.__version__,
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        }

    def receive(self, path: str, chunk: bytes) -> None:
        """Append to a file of the next job's run folder."""
        file = self._folder / "run" / check_name(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(chunk)

    def start(self, job: Mapping[str, Any], record: Mapping[str, Any] | None) -> None:
        """Start a job, with the files that were received."""
        (self._folder / "run").mkdir(exist_ok=True)
        if self._process is None or self._process.has_ended():
            self._end()
            self._process = WorkerProcess(self._environment, self._program, scratch=self._folder)
        self._process.start(Job(**job), self._folder, record)

    def poll(self, seconds: float) -> list[dict[str, Any]]:
        """What the process said, waiting so long for something; `lost` if it has ended."""
        if (process := self._process) is None:
            return [{"kind": "lost", "data": {"why": "it was never started"}, "files": {}}]
        if not process.is_closed:
            with selectors.DefaultSelector() as selector:
                selector.register(process, selectors.EVENT_READ)
                selector.select(seconds)
        ended = process.has_ended()
        said = process.read()
        if ended:
            process.end()
            said.append({"kind": "lost", "data": {"why": process.why_ended()}, "files": {}})
        for each in said:
            files = each["files"].items()
            each["sizes"] = {path: Path(file).stat().st_size for path, file in files}
        return said

    def chunk(self, file: str, offset: int, size: int) -> bytes:
        """A part of a file that the process named."""
        with Path(file).open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    def forget(self, file: str) -> None:
        """Delete a checkpoint that was sent."""
        shutil.rmtree(Path(file).parent, ignore_errors=True)

    def stop(self) -> None:
        """Ask the job to stop after its batch."""
        if self._process is not None:
            self._process.stop()

    def clear(self) -> None:
        """Make room for the next job."""
        for each in [*self._folder.iterdir()]:
            shutil.rmtree(each, ignore_errors=True)

    def end(self) -> None:
        """End the process, and delete everything."""
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
