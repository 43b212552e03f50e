"""Shows a sweep that was started, resumed or registered from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry_core.formatting import as_typed, counted, fraction

if TYPE_CHECKING:
    from registry_core.registry import Registry
    from registry_core.sweeps.record import Sweep


def resume_and_show(
    registry: Registry, sweep_id: str, as_json: bool, quiet: bool, **changes: Any
) -> None:
    """Resume a sweep, and show it as the options ask for it."""
    from registry_core.process.interrupts import stop_on_signals
    from registry_core.sweeping import Watchers
    from registry_core.terminal.sweep_view import sweep_progress

    with stop_on_signals() as interrupts, sweep_progress(quiet) as progress:
        done = registry.resume_sweep(
            sweep_id,
            watchers=Watchers(progress, progress.observe_run),
            interrupts=interrupts,
            **changes,
        )
    show_done(done, registry, as_json, quiet)


def show_done(done: Sweep, registry: Registry, as_json: bool, quiet: bool) -> None:
    """Show a sweep that is complete: its best trial, and the version that it became."""
    from registry_core.terminal import output

    registered = done.registered
    if as_json:
        version = registry.version(str(registered["version"])).to_json() if registered else None
        output.print_json({"sweep": done.to_json(), "version": version})
        return
    if quiet:
        output.print_references([str(registered["version"]) if registered else done.id])
        return
    output.print_text(_summary(done))
    output.print_hint(f"Details: mlreg show {done.id[-8:]}")
    if registered is None and done.best is not None:
        output.print_hint(f"Register: mlreg sweep {done.id[-8:]} --register best")


def _summary(done: Sweep) -> str:
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
    return f"Registered {registered['version']}, trial {chosen.number}, {found}{measured}"
