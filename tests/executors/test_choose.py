"""What the options ask for, and what a machine can bear."""

from __future__ import annotations

import pytest
from fakes import Recorder

from registry_core.errors import UsageError
from registry_core.executors import choose
from registry_core.executors.choose import make_executor, resources_for
from registry_core.executors.interface import Placement, Resources


@pytest.fixture
def machine(monkeypatch):
    """Four cores, 3 GB of free memory, two GPUs."""
    monkeypatch.setattr(choose, "usable_cores", lambda: 4.0)
    monkeypatch.setattr(choose, "available_memory", lambda: 3 * 10**9)
    monkeypatch.setattr(choose, "visible_devices", lambda: ["0", "1"])


@pytest.mark.parametrize(
    ("placement", "jobs", "resources"),
    [
        (Placement(), 8, Resources()),
        (Placement(parallel=1), 8, Resources()),
        (Placement(parallel=2), 8, Resources(2)),
        (Placement(parallel=8), 2, Resources(2)),
        (Placement(parallel=3, cpus=3), 8, Resources(3)),
        (Placement("ray"), 8, Resources(1)),
        (Placement("ray", gpus=2), 8, Resources(1, 2)),
    ],
)
def test_runs_at_a_time_share_the_cores_evenly(machine, placement, jobs, resources):
    """Unless --cpus says what each gets; a single one keeps all of them."""
    assert resources_for(placement, jobs) == resources


def test_more_runs_than_the_memory_can_bear_are_refused_with_the_figure(machine):
    """The message says how many may fit."""
    with pytest.raises(UsageError, match=r"--parallel 5 needs at least 3\.5 GB") as raised:
        make_executor(Placement(parallel=5, cpus=1), 8, Recorder())
    assert "3.0 GB are available" in raised.value.what
    assert "--parallel 4 may fit" in raised.value.remedy


def test_more_cores_than_there_are_is_a_warning(machine):
    """It says with how many at a time the runs would fit."""
    observer = Recorder()
    make_executor(Placement(parallel=4, cpus=2), 4, observer).close()
    (warning,) = observer.warnings
    assert "4 runs of 2 cores share 4 cores" in warning
    assert "--parallel 2" in warning


def test_gpus_are_divided_among_the_runs(machine):
    """Each slot has its own; too many are refused with what there is."""
    make_executor(Placement(parallel=2, gpus=1), 4, Recorder()).close()
    with pytest.raises(UsageError, match="needs 4, and this machine has 2"):
        make_executor(Placement(parallel=2, gpus=2), 4, Recorder())


def test_a_machine_without_gpus_is_said_to_have_none(machine, monkeypatch):
    """With what shows those that there are."""
    monkeypatch.setattr(choose, "visible_devices", list)
    with pytest.raises(UsageError, match="--gpus 2: this machine has no GPU") as raised:
        make_executor(Placement(gpus=2), 1, Recorder())
    assert raised.value.command == "nvidia-smi --list-gpus"


def test_only_an_option_that_says_so_starts_a_process():
    """`--parallel 1` alone changes nothing."""
    assert Placement().is_here
    assert Placement(parallel=1).is_here
    assert not Placement(parallel=2).is_here
    assert not Placement(cpus=1).is_here
    assert not Placement("ray").is_here
