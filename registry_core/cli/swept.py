"""Shows a sweep that was started, resumed or registered from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry_core.errors import UsageError
from registry_core.formatting import as_typed, counted, fraction

if TYPE_CHECKING:
    from collections.abc import Collection

    from registry_core.registry import Registry
    from registry_core.sweeps.record import Sweep


# What was registered before is looked for among the newest versions.
_LOOKED_AT = 200


def resume_and_show(
    registry: Registry, sweep_id: str, as_json: bool, quiet: bool, **changes: Any
) -> None:
    """Resume a sweep, and show it as the options ask for it."""
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.sweeping import Watchers
    from registry_core.terminal.sweep_view import sweep_progress

    found = registry.sweep_record(sweep_id)
    if found.state == "complete" and found.stopped != "failed" and not changes:
        short, left = found.id[-8:], found.registered is None and found.best is not None
        raise UsageError(
            f"Nothing to resume: the sweep {found.id} is complete.",
            "Its best trial can be registered." if left else "Its trials and versions are shown.",
            f"mlreg sweep {short} --register best" if left else f"mlreg show {short}",
        )
    before = {version.ref for version in registry.newest_versions(_LOOKED_AT)}
    with stop_on_signals() as interrupts, sweep_progress(quiet) as progress:
        done = registry.resume_sweep(
            sweep_id,
            watchers=Watchers(progress, progress.observe_run),
            interrupts=interrupts,
            **changes,
        )
    show_done(done, registry, as_json, quiet, before)


def show_done(
    done: Sweep, registry: Registry, as_json: bool, quiet: bool, before: Collection[str] = ()
) -> None:
    """Show a sweep that is complete: its best trial, and the versions that were made.

    Args:
        done: the sweep.
        registry: has the versions.
        as_json: print one JSON object.
        quiet: print only names.
        before: the references of versions that were there before.
    """
    from registry_core.terminal import output

    registered = done.registered
    if as_json:
        version = registry.version(str(registered["version"])).to_json() if registered else None
        output.print_json({"sweep": done.to_json(), "version": version})
        return
    if quiet:
        output.print_references([str(registered["version"]) if registered else done.id])
        return
    output.print_text(_summary(done, before))
    if done.confirmations:
        output.print_text(_confirmed(done))
        first = done.confirmations[0]["version"]
        output.print_hint(f"To promote one of them: mlreg promote {first} ALIAS --group")
    output.print_hint(f"Details: mlreg show {done.id[-8:]}")
    if registered is None and done.best is not None:
        output.print_hint(f"Register: mlreg sweep {done.id[-8:]} --register best")


def _confirmed(done: Sweep) -> str:
    """What the winner's values give with other seeds: mean and spread, and the versions."""
    from statistics import fmean, stdev

    said = []
    for key, name in (("value", done.metric), ("test", done.metric.replace("val_", "test_", 1))):
        values = [each[key] for each in done.confirmations if each[key] is not None]
        if values:
            spread = f" ± {fraction(name, stdev(values))}" if len(values) > 1 else ""
            said.append(f"{name} {fraction(name, fmean(values))}{spread}")
    versions = ", ".join(str(each["version"]) for each in done.confirmations)
    seeds = counted(len(done.confirmations), "other seed")
    return f"Confirmed with {seeds}: {', '.join(said)}: {versions}"


def _summary(done: Sweep, before: Collection[str] = ()) -> str:
    best, registered = done.best, done.registered
    tried = counted(len(done.told), "trial")
    if best is None or best.value is None:
        return f"{tried}, and none is complete: nothing can be registered"
    chosen = next((t for t in done.trials if registered and t.number == registered["trial"]), best)
    params = ", ".join(f"{key}={as_typed(value)}" for key, value in chosen.params.items())
    place = "best of" if chosen == best else f"rank {done.rank(chosen.number)} of"
    found = f"{place} {tried}: {params}, {done.metric} {fraction(done.metric, chosen.value or 0)}"
    if registered is None:
        return f"Trial {chosen.number}, {found}"
    test = registered["test"]
    name = done.metric.replace("val_", "test_", 1)
    measured = "" if test is None else f", {name} {fraction(name, test)}"
    if registered["version"] in before:
        return f"Trial {chosen.number} is registered as {registered['version']}: {found}{measured}"
    return f"Registered {registered['version']}, trial {chosen.number}, {found}{measured}"
