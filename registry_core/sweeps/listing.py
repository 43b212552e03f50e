"""The sweeps of a registry, page by page."""

from __future__ import annotations

import re

from registry_core.errors import IntegrityError, UsageError
from registry_core.refs import shown
from registry_core.store import Store
from registry_core.sweeps.record import Sweep
from registry_core.sweeps.state import find_sweep_id, read_sweep, sweep_ids

# a whole id, whose sweep may be gone
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")


def list_sweeps(
    store: Store, limit: int | None = None, after: str | None = None
) -> tuple[list[Sweep], dict[str, str], str | None]:
    """Sweeps, newest first.

    Args:
        store: the registry.
        limit: the most; None is all.
        after: the sweep that the page before ended with: its id, or the end of it.

    Returns:
        The sweeps; id -> why of those that cannot be read; where the limit cut the list the id of
        its last sweep, otherwise None.

    Raises:
        UsageError: no sweep is called `after`, or more than one.
    """
    ids = sweep_ids(store)
    if after is not None:
        last = after if _ID.fullmatch(after) else find_sweep_id(store, after)
        if last is None:
            raise UsageError(
                f"No sweep is called {shown(after)}.", "Begin the list again.", "mlreg sweeps"
            )
        ids = [each for each in ids if each < last]
    taken = ids if limit is None else ids[:limit]
    found, damaged = [], {}
    for each in taken:
        try:
            found.append(read_sweep(store, each))
        except IntegrityError as error:
            damaged[each] = error.what
        except UsageError:  # it was discarded meanwhile
            continue
    return found, damaged, taken[-1] if len(taken) < len(ids) else None
