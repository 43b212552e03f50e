"""Versions and aliases of trained models.

A version appears completely or not at all. Nothing here knows how a model was trained, so
`mlreg list` starts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from registry_core.receivers import Receiver
from registry_core.store.outbox import Outbox
from registry_core.store.parts import Parts, parts_of
from registry_core.store.queries import Queries
from registry_core.store.removals import Removals
from registry_core.store.requests import Requests
from registry_core.store.rules import Rules
from registry_core.store.signatures import Signatures
from registry_core.store.transactions import Transactions
from registry_core.store.transfers import Transfers

if TYPE_CHECKING:
    from registry_core.store.sweeps import Sweeps

PlaceState = Literal["ready", "empty", "missing", "file", "foreign"]


class Store(Queries, Requests, Transfers):
    """A registry. Opens nothing until a method is called.

    Args:
        place: its folder, which need not exist and stores no absolute path; or its parts.
        busy_seconds: how long to wait for another process's lock.
        receivers: who is told of what happens to aliases.
    """

    def __init__(
        self,
        place: Path | Parts,
        busy_seconds: float = 30.0,
        receivers: Sequence[Receiver] = (),
    ) -> None:
        self.parts = parts_of(place, busy_seconds)
        access = Transactions(self.parts, busy_seconds, receivers)
        Queries.__init__(self, access)
        Requests.__init__(self, access)
        Transfers.__init__(self, access)
        self.folder = self.parts.folder
        self.busy_seconds = busy_seconds
        self.removals = Removals(access)
        self.rules = Rules(access)
        self.outbox = Outbox(access)
        self.signatures = Signatures(access)

    @cached_property
    def sweeps(self) -> Sweeps:
        """The sweeps that are kept on this machine; few commands need them."""
        from registry_core.store.sweeps import Sweeps

        return Sweeps(self._access)

    @property
    def place(self) -> str:
        """The registry, for messages."""
        return self.parts.place

    def state(self) -> PlaceState:
        """What is in the registry's place; of a team's registry, of the index."""
        if self.parts.in_folder:
            from registry_core.store.local.state import state_of

            return state_of(self.folder)
        with self._access.translate_storage_errors("looking for the registry"):
            return "missing" if self.parts.index.state() == "missing" else "ready"
