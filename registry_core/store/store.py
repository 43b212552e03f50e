"""Versions and aliases of trained models.

A version appears completely or not at all. Nothing here knows how a model was trained, so
`mlreg list` starts at once.
"""

from __future__ import annotations

from pathlib import Path

from registry_core.store.local.state import FolderState, state_of
from registry_core.store.publishing import Publishing
from registry_core.store.queries import Queries
from registry_core.store.removals import Removals
from registry_core.store.requests import Requests
from registry_core.store.rules import Rules
from registry_core.store.transactions import Transactions


class Store(Queries, Requests, Publishing):
    """The registry in a folder. Opens nothing until a method is called.

    Args:
        folder: the registry; need not exist. It stores no absolute path.
        busy_seconds: how long to wait for another process's lock.
    """

    def __init__(self, folder: Path, busy_seconds: float = 30.0) -> None:
        access = Transactions(folder, busy_seconds)
        Queries.__init__(self, access)
        Requests.__init__(self, access)
        Publishing.__init__(self, access)
        self.folder = folder
        self.busy_seconds = busy_seconds
        self.removals = Removals(access)
        self.rules = Rules(access)

    def state(self) -> FolderState:
        """What is in the registry's place."""
        return state_of(self.folder)
