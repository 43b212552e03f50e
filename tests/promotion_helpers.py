"""Registries with versions of known accuracy, and promotions without plugins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
from store_helpers import blob, scored

from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.plugins.manager import PluginSet
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store.ledger import account_name

EXAMPLES = 1000


@contextmanager
def by(who: str) -> Iterator[None]:
    """What is done inside is done from another account."""
    with patch.dict("os.environ", LOGNAME=who):
        assert account_name() == who
        yield


def registry(folder, **rules) -> Registry:
    """A registry whose aliases have these rules."""
    return Registry(folder / "registry", Settings(promotion=rules))


def publish(registry: Registry, right: int, *, fingerprint="sha256:test", kept=True, shift=0):
    """A version that gets `right` of 1,000 examples right, starting at index `shift`."""
    correct = np.roll(np.arange(EXAMPLES) < right, shift)
    losses = np.where(correct, 0.1, 3.0).astype("<f4").tobytes()
    answers = PerExampleResults(EXAMPLES, fingerprint, losses, np.packbits(correct).tobytes())
    with registry.store.start_run("dummy") as run:
        files = {"model.keras": run.files / "model.keras"}
        files["model.keras"].write_bytes(f"weights {right} {shift}".encode())
        if kept:
            files[OUTCOMES_FILE] = run.files / OUTCOMES_FILE
            files[OUTCOMES_FILE].write_bytes(answers.to_json())
        return registry.store.publish(run, scored(right / EXAMPLES), files, lambda paths: None)


def promote(registry: Registry, version, alias="production", **options):
    """Promote without plugins; returns the decision."""
    return registry.promote(version.ref, alias, plugins=PluginSet(None, []), **options).decision


def held_by(registry: Registry, alias="production") -> int:
    return registry.version(f"dummy@{alias}").version


def damage(registry: Registry, version) -> None:
    file = blob(registry.store, version.files[0].sha256)
    file.chmod(0o600)
    file.write_bytes(b"X" + file.read_bytes()[1:])
