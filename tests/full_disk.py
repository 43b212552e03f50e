"""Runs where a small disk is mounted on FOLDER: fills it up, page by page less, and acts each time.

Prints one JSON object a try: what was done, how many bytes were free, how it ended, what was said.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from itertools import count
from pathlib import Path

from store_helpers import assert_whole, publish
from store_scenarios import SCENARIOS, Scenario

from registry_core.errors import MlregError
from registry_core.store import Store, translate_storage_errors
from registry_core.store.audit import audit

PAGE = 4096

ACTIONS = {
    **{name: SCENARIOS[name] for name in ("promotion", "tag", "removal", "collection")},
    "publish": Scenario(
        SCENARIOS["publish"].prepare, lambda store: publish(store, content=bytes(10 * PAGE))
    ),
}


def main(disk: Path) -> None:
    for name, scenario in ACTIONS.items():
        for pages in count():
            folder = disk / "registry"
            scenario.prepare(Store(folder))
            ballast = disk / "ballast"
            free = _fill_up(disk, ballast, pages * PAGE)
            said, status = _act(scenario, folder)
            ballast.unlink()
            _assert_clean(folder)
            told = {"action": name, "free": free, "status": status, "said": said}
            print(json.dumps(told), flush=True)
            shutil.rmtree(folder)
            if status == 0:
                break


def _fill_up(disk: Path, ballast: Path, leave: int) -> int:
    """Write zeros until so many bytes are free; returns how many are."""
    status = os.statvfs(disk)
    ballast.write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - leave)))
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def _act(scenario: Scenario, folder: Path) -> tuple[str, int]:
    try:
        with translate_storage_errors(folder, "writing a run's files"):
            scenario.act(Store(folder))
    except MlregError as error:
        return str(error), error.exit_status
    return "done", 0


def _assert_clean(folder: Path) -> None:
    """Every version is whole, and the next command that writes sweeps what was left."""
    store = Store(folder)
    there = len(store.versions("dummy"))
    publish(store, content=b"the next one")
    assert len(store.versions("dummy")) == there + 1
    store.removals.collect(older_than_days=10_000, keep_last=0)
    assert audit(store).problems == []
    assert_whole(store)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
