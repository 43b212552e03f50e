"""Makes the executor that the options ask for, if this machine can bear it."""

from __future__ import annotations

from collections.abc import Callable

from registry_core.errors import UsageError
from registry_core.executors.cluster_address import check_place
from registry_core.executors.interface import Executor, Placement, Resources
from registry_core.executors.local import LocalExecutor, visible_devices
from registry_core.formatting import size
from registry_core.process.machine import available_memory, usable_cores
from registry_core.process.requirements import require_extra
from registry_core.types import Observer

# What a process takes that has loaded TensorFlow and a small model; a run may take much more.
LEAST_BYTES = 700 * 10**6

Warn = Callable[[str], object]


def make_executor(placement: Placement, jobs: int, observer: Observer) -> Executor:
    """The executor for some jobs.

    Args:
        placement: what the options say.
        jobs: how many jobs there are.
        observer: receives warnings.

    Raises:
        UsageError: an option cannot be met; the message has the figure.
        MissingLibraryError: Ray is not installed.
        StorageError: the cluster cannot be reached.
    """
    check_placement(placement, jobs, observer.warn)
    if placement.on != "local":
        from registry_core.executors.ray_executor import RayExecutor

        return RayExecutor(placement.on, placement.parallel, placement.resources, jobs, observer)
    slots = min(placement.parallel or 1, jobs)
    resources = placement.resources
    gpus = resources.gpus
    if not gpus:
        return LocalExecutor(slots, resources)
    found = visible_devices()
    devices = [found[slot * gpus : (slot + 1) * gpus] for slot in range(slots)]
    return LocalExecutor(slots, resources, devices)


def check_placement(placement: Placement, jobs: int, warn: Warn | None = None) -> None:
    """Refuse what this machine has not, or what is no place, before anything is started.

    What a cluster has is known when it is joined.

    Args:
        placement: what the options say.
        jobs: how many jobs there are.
        warn: takes each warning; None leaves them to `make_executor`.

    Raises:
        UsageError: an option cannot be met; the message has the figure.
        MissingLibraryError: Ray is not installed.
    """
    _check(placement)
    if placement.on != "local":
        check_place(placement.on)
        require_extra("ray", f"--on {placement.on}")
        return
    slots = min(placement.parallel or 1, jobs)
    _check_machine(placement.resources, slots, warn)
    _check_gpus(placement.gpus or 0, slots)


def _check_gpus(gpus: int, slots: int) -> None:
    found = len(visible_devices()) if gpus else 0
    if slots * gpus <= found:
        return
    if not found:
        raise UsageError(
            f"--gpus {gpus}: this machine has no GPU that TensorFlow sees.",
            "Leave --gpus out to train without one, or name another machine: --on ray. "
            "CUDA_VISIBLE_DEVICES may hide some.",
            "nvidia-smi --list-gpus",
        )
    runs = "" if slots == 1 else f" for {slots} runs at a time"
    raise UsageError(
        f"--gpus {gpus}{runs} needs {slots * gpus}, and this machine has {found}.",
        "Use fewer, or another machine: --on ray. CUDA_VISIBLE_DEVICES may hide some.",
        "nvidia-smi --list-gpus",
    )


def resources_for(placement: Placement, jobs: int) -> Resources:
    """What each run gets: several at a time share the cores of this machine evenly.

    TensorFlow's threads decide the last bits of a result, so they never follow from how busy the
    machine is.
    """
    resources = placement.resources
    if resources.cpus is not None:
        return resources
    if placement.on != "local":
        return Resources(1, resources.gpus)
    slots = min(placement.parallel or 1, jobs)
    if slots == 1:
        return resources
    return Resources(max(1, int(usable_cores()) // slots), resources.gpus)


def _check(placement: Placement) -> None:
    for option, value, least in (
        ("--parallel", placement.parallel, 1),
        ("--cpus", placement.cpus, 1),
        ("--gpus", placement.gpus, 0),
        ("--stall-minutes", placement.stall_minutes, 0.01),
    ):
        if value is not None and not value >= least:
            raise UsageError(f"{option} {value} is too small.", f"The smallest is {least}.")


def _check_machine(resources: Resources, slots: int, warn: Warn | None) -> None:
    """Refuse more runs than the memory can bear, and warn of more than the cores can."""
    cores = usable_cores()
    if warn is not None and resources.cpus is not None and slots * resources.cpus > cores:
        fits = max(1, int(cores // resources.cpus))
        warn(
            f"--cpus {resources.cpus}: this machine has {cores:g}, which the run's threads share."
            if slots == 1
            else f"{slots} runs of {resources.cpus} cores share {cores:g} cores: they take longer "
            f"than with --parallel {fits}."
        )
    free = available_memory()
    if slots > 1 and free is not None and slots * LEAST_BYTES > free:
        fits = max(1, free // LEAST_BYTES)
        raise UsageError(
            f"--parallel {slots} needs at least {size(slots * LEAST_BYTES)} of memory, and "
            f"{size(free)} are available.",
            f"A process with TensorFlow takes {size(LEAST_BYTES)} before it trains. "
            f"--parallel {fits} may fit.",
        )
