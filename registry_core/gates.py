"""What a promotion must satisfy: today, that no plugin objects to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from registry_core.errors import RefusedError, UsageError
from registry_core.plugins import PluginSet
from registry_core.types import Objection, Version


def objections(
    plugins: PluginSet, candidate: Version, incumbent: Version | None, alias: str
) -> list[Objection]:
    """What the plugins say against a promotion.

    Raises:
        PluginError: a check failed to run; a check that did not run is not one that passed.
    """
    return plugins.collect(
        "mlreg_check_promotion",
        Objection,
        candidate=candidate,
        incumbent=incumbent,
        alias=alias,
    )


def evidence(found: Sequence[Objection], force: bool) -> Mapping[str, Any]:
    """The decision's grounds, as the ledger keeps them."""
    return {
        "objections": [{"check": each.check, "reason": each.reason} for each in found],
        "forced": force and bool(found),
    }


def check_force(force: bool, reason: str) -> None:
    """Refuse to overrule without a word why; raises UsageError."""
    if force and not reason.strip():
        raise UsageError(
            "--force needs a reason.", "Say why the objections do not hold.", "--reason '…'"
        )


def refusal(found: Sequence[Objection], candidate: Version, alias: str) -> RefusedError:
    """What to raise for objections that nobody overruled."""
    said = "; ".join(f"{each.check}: {each.reason}" for each in found)
    return RefusedError(
        f"{candidate.ref} does not become {alias}: {said}.",
        "The alias has not moved. Whoever answers for it can overrule this, saying why.",
        f"mlreg promote {candidate.ref} {alias} --force --reason '…'",
    )
