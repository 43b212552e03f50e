"""Groups of versions with known test and validation values, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promotion_helpers import promote, registry
from store_helpers import record

from registry_core.records import LedgerRow, Version
from registry_core.registry import Registry
from registry_core.rules import PromotionRule

OLD = (0.700, 0.704, 0.698, 0.702, 0.696)
NEW = (0.712, 0.716, 0.709, 0.714, 0.711)
VALIDATION = (0.60, 0.66, 0.58, 0.62, 0.64)  # the median is that of the fourth version


def publish_group(
    registry: Registry,
    tests: Sequence[float],
    validations: Sequence[float] | None = None,
    *,
    group: str = "one",
    first_seed: int = 0,
    splits: Sequence[str] = ("train", "validation", "test"),
    **changes: Any,
) -> list[Version]:
    """A group with these accuracies on the test split, and on validation after the last epoch.

    Args:
        registry: where they are registered.
        tests: test accuracies, one for each version.
        validations: of the same versions; None records no validation.
        group: the group's id.
        first_seed: the seed of the first version.
        splits: what the fingerprints of train, validation and test split are made of.
        changes: of each record, or a function of the version's place.
    """
    names = ("train", "validation", "test")
    prints = {
        name: {"examples": 100, "fingerprint": f"sha256:{content}"}
        for name, content in zip(names, splits, strict=True)
        if content
    }
    made = []
    for place, accuracy in enumerate(tests):
        history = {"loss": [2.0, 1.0]}
        if validations is not None:
            history["val_accuracy"] = [0.01, validations[place]]
        what = {
            "group": group,
            "seed": first_seed + place,
            "config": {"seed": first_seed + place, "learning_rate": 0.1},
            "history": history,
            "data": {"splits": prints},
            **{key: value(place) if callable(value) else value for key, value in changes.items()},
        }
        with registry.store.start_run("dummy") as run:
            files = {"model.keras": run.files / "model.keras"}
            files["model.keras"].write_bytes(f"weights {group} {place}".encode())
            metrics = what.pop("metrics", {"test_accuracy": accuracy, "test_loss": 1.0})
            what = record(metrics=metrics, **what)
            made.append(registry.store.publish(run, what, files, lambda paths: None))
    return made


def two_groups(
    folder: Path, ours: Sequence[float] = NEW, theirs: Sequence[float] = OLD, **rule: Any
) -> tuple[Registry, list[Version]]:
    """A registry whose first group has the alias by this rule, and the group that may follow it."""
    found = registry(folder, production=PromotionRule(**rule))
    first = publish_group(found, theirs, VALIDATION, group="old")
    promote(found, first[0], group=True)
    return found, publish_group(found, ours, VALIDATION, group="new")


def last_row(registry: Registry) -> LedgerRow:
    """The newest row of the ledger."""
    return registry.history(limit=1).rows[0]
