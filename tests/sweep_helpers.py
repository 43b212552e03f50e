"""Sweeps for tests of what people see of them; nothing trains."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from registry_core.store import Store
from registry_core.sweeps.record import Sweep, Trial
from registry_core.sweeps.state import create_sweep

SPACE = {
    "learning_rate": {"low": 0.0001, "high": 0.01, "log": True, "int": False},
    "batch_size": {"choices": [32, 64, 128]},
    "dropout": {"low": 0.1, "high": 0.5, "log": False, "int": False},
}


def made_sweep(count: int = 12, *, state: str = "complete", **changes: Any) -> Sweep:
    """A sweep of `count` trials: most complete, every fifth pruned, the seventh failed."""
    drawn = random.Random(count)
    trials = tuple(_trial(number, drawn) for number in range(count))
    made = Sweep(
        id="20261126T130000Z-ab12cd34",
        model="flowers",
        dataset="flowers",
        preset="quick",
        created="2026-11-26T13:00:00Z",
        state=state,
        config={"learning_rate": 0.01, "batch_size": 64, "epochs": 4, "seed": 3, "dropout": 0.2},
        space=SPACE,
        metric="val_accuracy",
        direction="maximize",
        sampler="tpe",
        pruner="median",
        seed=0,
        count=count,
        trials=trials,
        data={"train": {"examples": 40_000}, "validation": {"examples": 5_000}},
        importance={"learning_rate": 0.71, "dropout": 0.24, "batch_size": 0.05},
    )
    return replace(made, **changes)


def registered_sweep(**changes: Any) -> Sweep:
    """A complete sweep whose winner is `flowers@4`, confirmed with two other seeds."""
    sweep = made_sweep()
    best = sweep.best
    assert best is not None
    sweep = replace(sweep, **changes)
    return replace(
        sweep,
        registered={
            "trial": best.number,
            "version": "flowers@4",
            "value": best.value,
            "test": 0.55,
        },
        confirmations=[
            {"seed": 4, "version": "flowers@5", "value": 0.56, "test": 0.54},
            {"seed": 5, "version": "flowers@6", "value": 0.57, "test": 0.56},
        ],
    )


def keep(store: Store, *sweeps: Sweep) -> list[str]:
    """Keep sweeps in a registry, as a process that was stopped left them, a second apart.

    Returns:
        Their ids, oldest first.
    """
    ids: list[str] = []
    for sweep in sweeps:
        second = f"20261126T1300{len(ids):02d}Z"
        with (
            patch("registry_core.store.local.sweeps.time.strftime", lambda *_, at=second: at),
            create_sweep(store, replace(sweep, trials=())) as state,
        ):
            for trial in sweep.trials:
                state.put(trial)
            ids.append(state.sweep.id)
    return ids


def evidence(**changes: Any) -> dict[str, Any]:
    """What the manifest of a sweep's winner says of the sweep."""
    found = {
        "id": "20261126T130000Z-ab12cd34",
        "trial": 7,
        "trials": 12,
        "complete": 9,
        "pruned": 2,
        "failed": 1,
        "rank": 1,
        "metric": "val_accuracy",
        "direction": "maximize",
        "value": 0.4812,
        "test_value": 0.4701,
        "optimism": 0.0111,
        "median": 0.41,
        "sampler": "tpe",
        "space": SPACE,
        "params": {"learning_rate": 0.00087, "batch_size": 32, "dropout": 0.31},
    }
    return {**found, **changes}


def _trial(number: int, drawn: random.Random) -> Trial:
    rate, dropout = 10 ** drawn.uniform(-4, -2), drawn.uniform(0.1, 0.5)
    size = drawn.choice([32, 64, 128])
    value = 0.6 - 0.1 * abs(math.log10(rate) + 3) - size / 4000 + drawn.gauss(0, 0.01)
    params = {"learning_rate": rate, "batch_size": size, "dropout": dropout}
    state = "pruned" if number % 5 == 4 else "failed" if number == 6 else "complete"
    ran = {"pruned": 2, "failed": 0, "complete": 4}[state]
    epochs = [
        {"loss": 2.0 - value * (epoch + 1) / 3, "val_accuracy": value * (1 - 0.5 ** (epoch + 1))}
        for epoch in range(ran)
    ]
    return Trial(
        number=number,
        state=state,
        params=params,
        run=f"20261126T13{number:02d}00Z-{number:08x}",
        value=value if state == "complete" else None,
        metrics={"val_accuracy": value} if state == "complete" else {},
        epochs=epochs,
        began=f"2026-11-26T13:{number:02d}:00Z",
        ended=f"2026-11-26T13:{number:02d}:50Z",
        seconds=50.0 if state == "complete" else 20.0,
        error="The loss is not a number in epoch 1." if state == "failed" else "",
        fault="DivergedError" if state == "failed" else "",
    )
