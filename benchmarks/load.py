"""How busy the machine is with other work than a benchmark's own.

The load average counts a benchmark's own work too, and the minutes before it. So the share of the
cores that other processes used decides whether a time may be published.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A time is published only if others used at most this share of the cores over the whole
# measurement, and at most this share in any part of it.
MAX_OTHERS_SHARE = 0.05
MAX_OTHERS_SHARE_OF_A_PART = 0.25

# the system counts busy time in hundredths of a second, so a shorter part says little
_PART_SECONDS = 5.0

_TICK = os.sysconf("SC_CLK_TCK")


class Load:
    """The load before and during a measurement, which begins when this object is made.

    The time of this process and of all processes below it does not count as other work.
    """

    def __init__(self) -> None:
        self._before = self._highest = os.getloadavg()[0]
        self._first = self._last = _Reading()
        self._most = 0.0

    def look(self) -> None:
        """Note the load of the part that ends now, unless it is too short to say anything."""
        if time.perf_counter() - self._last.at < _PART_SECONDS:
            return
        now = _Reading()
        self._most = max(self._most, now.shares_since(self._last)[0])
        self._highest = max(self._highest, os.getloadavg()[0])
        self._last = now

    def facts(self) -> dict[str, float]:
        """Load averages, and the shares of the cores that others used.

        Returns:
            The load average of a minute before, its highest value since, the share of other
            processes of the whole time and of the worst part, and that of other guests of the host.
        """
        self.look()
        others, stolen = _Reading().shares_since(self._first)
        return {
            "load_before": round(self._before, 2),
            "load_highest": round(max(self._highest, os.getloadavg()[0]), 2),
            "others_share": round(others, 3),
            "others_share_of_a_part": round(max(self._most, others), 3),
            "stolen_share": round(stolen, 3),
        }


class _Reading:
    """The seconds that the cores worked until now, and those that were this process's own."""

    def __init__(self) -> None:
        self.at = time.perf_counter()
        self.busy, self.stolen = _busy_and_stolen()
        self.own = own_cpu_seconds() + _of_living_descendants()

    def shares_since(self, before: _Reading) -> tuple[float, float]:
        """The shares of other processes and of other guests since an earlier reading."""
        available = (self.at - before.at) * (os.cpu_count() or 1)
        others = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, others) / available, (self.stolen - before.stolen) / available


def shared_because(facts: Mapping[str, Any]) -> str:
    """Why a time that was measured under this load is not published; empty if it is."""
    others = facts.get("others_share")
    part = facts.get("others_share_of_a_part", 0.0)
    if others is None:
        return "the share of other processes was not recorded"
    if others > MAX_OTHERS_SHARE:
        return f"other processes took {others:.1%} of the cores ({MAX_OTHERS_SHARE:.0%} allowed)"
    if part > MAX_OTHERS_SHARE_OF_A_PART:
        return f"for a while other processes took {part:.1%} of the cores"
    if facts.get("stolen_share", 0.0) > MAX_OTHERS_SHARE:
        return f"other guests of the host took {facts['stolen_share']:.1%} of the cores"
    return ""


def others_now(seconds: float = 3.0) -> tuple[float, list[str]]:
    """The share of the cores that other processes use now, and the busiest of them, in words.

    Args:
        seconds: to look at them.
    """
    before, ours = _of_each_process(), {os.getpid(), *descendants()}
    reading = _Reading()
    time.sleep(seconds)
    share, _ = _Reading().shares_since(reading)
    after = _of_each_process()
    used = {
        pid: (after[pid][0] - before[pid][0]) / seconds / (os.cpu_count() or 1)
        for pid in after.keys() & before.keys() - ours
    }
    busiest = sorted(used, key=lambda pid: -used[pid])[:3]
    return share, [
        f"{after[pid][1]} (process {pid}) {used[pid]:.0%}" for pid in busiest if used[pid] >= 0.01
    ]


def own_cpu_seconds() -> float:
    """The CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) + sum(_OWN_BESIDES)


def count_as_own(cpu_seconds: float) -> None:
    """Count the time of processes that this one started and that the system did not add to it."""
    _OWN_BESIDES.append(cpu_seconds)


def descendants() -> dict[int, list[str]]:
    """Each process below this one: what its stat file has after the name."""
    found = {pid: fields for pid, (_, fields) in _stats().items()}
    below: dict[int, list[str]] = {}
    parents = {os.getpid()}
    while parents:
        children = {pid for pid, fields in found.items() if int(fields[1]) in parents}
        parents = children - below.keys()
        below |= {pid: found[pid] for pid in parents}
    return below


def _of_living_descendants() -> float:
    """Their CPU seconds, with those of the children that they have waited for."""
    return sum(sum(map(int, fields[11:15])) for fields in descendants().values()) / _TICK


def _of_each_process() -> dict[int, tuple[float, str]]:
    """Process -> its CPU seconds and its name."""
    return {
        pid: (sum(map(int, fields[11:13])) / _TICK, name)
        for pid, (name, fields) in _stats().items()
    }


def _stats() -> dict[int, tuple[str, list[str]]]:
    """Process -> its name, and what its stat file has after it; see proc_pid_stat(5)."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                before, _, after = (folder / "stat").read_text(errors="replace").rpartition(") ")
                found[int(folder.name)] = (before.partition("(")[2], after.split())
    return found


def _busy_and_stolen() -> tuple[float, float]:
    """Seconds since the start that the cores worked, and that other guests of the host used."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return 0.0, 0.0
    user, nice, system, _idle, _wait, irq, softirq, stolen = map(int, words[:8])
    return (user + nice + system + irq + softirq) / _TICK, stolen / _TICK


_OWN_BESIDES: list[float] = []
