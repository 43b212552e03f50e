"""A worker's process whose results depend on the settings, so that a sweep has something to find.

As long as the folder MLREG_FAKE_FAULTS has a file `slow`, an epoch takes a moment.
"""

import os
import sys
import time
from pathlib import Path

from fakes import standard_report
from sweep_project import LearningBackend

from registry_core.executors import job, worker


class SlowBackend(LearningBackend):
    def before_epoch(self, epoch, stop):
        if Path(os.environ["MLREG_FAKE_FAULTS"], "slow").exists():
            time.sleep(0.05)


job.load_backend = SlowBackend
job.standard_report = standard_report

if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:]))
