"""A disk that is really full: a small one of memory, filled up, at every size that is too small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
MOUNT = 'mount -t tmpfs -o size=2m,mode=700 tmpfs "$0" && exec "$@"'


@cache
def why_not() -> str:
    """Why no disk can be mounted here; empty where one can."""
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", MOUNT, "/tmp", "true"], capture_output=True, text=True
    )
    return "" if done.returncode == 0 else f"no disk can be mounted here: {done.stderr.strip()}"


@pytest.mark.gate
@pytest.mark.processes
def test_a_full_disk_refuses_or_does_the_whole_thing(tmp_path, capsys):
    """Status 8 with what is free, clean, and once there is room it is done."""
    if why_not():
        pytest.skip(why_not())
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", MOUNT, tmp_path, sys.executable, TESTS / "full_disk.py",
         tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tries = [json.loads(line) for line in done.stdout.splitlines()]
    by_action: dict[str, list[dict]] = {}
    for each in tries:
        by_action.setdefault(each["action"], []).append(each)
    assert len(by_action) == 5
    for action, ends in by_action.items():
        *refused, last = ends
        assert last["status"] == 0
        assert refused, f"{action} was never refused"
        for each in refused:
            assert each["status"] == 8, each
            assert "is full, while" in each["said"], each
            assert "bytes are free" in each["said"], each
        with capsys.disabled():
            most = max(each["free"] for each in refused)
            print(f"\n{action}: refused {len(refused)} times, with up to {most} bytes free")
    sizes = [each["said"] for each in by_action["publish"] if "bytes are needed" in each["said"]]
    assert sizes, "no refusal of a publish says how many bytes it needs"
