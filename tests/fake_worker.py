"""A worker's process that trains with the tests' own backend, so that it starts in no time.

MLREG_FAKE_FAULTS names a folder; a file in it called as a seed has what happens to the run with
this seed: `kill`, `hang` or `raise`, in its second epoch, once; `slow`, each time.

The file `upload` there has what happens to uploads. `kill`: the process is killed after one, once.
`refused`, `refused once`: the S3 server refuses its key. `no extra`: psycopg is not installed.
"""

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

from fakes import FakeBackend, standard_report

from registry_core.executors import job, worker
from registry_core.store import uploads


class FaultyBackend(FakeBackend):
    def __init__(self, config):
        super().__init__(config)
        self._seed = config.seed

    def fit(self, assembly, observer, stop, checkpoints):
        return super().fit(assembly, _Faults(observer, self._seed), stop, checkpoints)


class _Faults:
    def __init__(self, observer, seed):
        self._observer, self._seed = observer, seed

    def __getattr__(self, name):
        return getattr(self._observer, name)

    def epoch_done(self, epoch, metrics, seconds):
        self._observer.epoch_done(epoch, metrics, seconds)
        folder = Path(os.environ.get("MLREG_FAKE_FAULTS", "/nowhere"))
        file = folder / str(self._seed)
        if not file.is_file() or epoch < 1:
            return
        fault = file.read_text()
        if fault == "slow":
            (folder / f"{self._seed}.slow").touch()
            time.sleep(0.05)
            return
        if fault != "always":
            file.unlink()
        if fault == "raise":
            raise RuntimeError("this seed fails")
        if fault == "hang":
            time.sleep(3600)
        os.kill(os.getpid(), 9)


def upload(*arguments, **options):
    """Upload a version's files, with the fault that the folder has."""
    file = Path(os.environ.get("MLREG_FAKE_FAULTS", "/nowhere")) / "upload"
    fault = file.read_text() if file.is_file() else ""
    if fault == "refused once":
        file.unlink()
    keys = {"AWS_SECRET_ACCESS_KEY": "another"} if fault.startswith("refused") else {}
    lacking = patch.dict(sys.modules, {"psycopg": None}) if fault == "no extra" else nullcontext()
    with patch.dict(os.environ, keys), lacking:  # undone: the process may do the next run
        uploads.upload(*arguments, **options)
    if fault == "kill":
        file.unlink()
        os.kill(os.getpid(), 9)


job.upload = upload
job.load_backend = FaultyBackend
job.standard_report = standard_report

if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:]))
