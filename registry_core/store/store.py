"""Versions and aliases of trained models.

A version appears completely or not at all. Nothing here knows how a model was trained, so
`mlreg list` starts at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from registry_core.store.labels import Labels
from registry_core.store.local.ledger_file import LEDGER_FILE
from registry_core.store.local.objects import OBJECTS, RUNS
from registry_core.store.publishing import Publishing
from registry_core.store.queries import Queries
from registry_core.store.removals import Removals
from registry_core.store.rules import Rules
from registry_core.store.storage_errors import DATABASE
from registry_core.store.transactions import Transactions


class Store(Queries, Labels, Publishing):
    """The registry in a folder. Opens nothing until a method is called.

    Args:
        folder: the registry; need not exist. It stores no absolute path.
        busy_seconds: how long to wait for another process's lock.
    """

    def __init__(self, folder: Path, busy_seconds: float = 30.0) -> None:
        access = Transactions(folder, busy_seconds)
        Queries.__init__(self, access)
        Labels.__init__(self, access)
        Publishing.__init__(self, access)
        self.folder = folder
        self.busy_seconds = busy_seconds
        self.removals = Removals(access)
        self.rules = Rules(access)

    def state(self) -> Literal["ready", "empty", "missing", "file", "foreign"]:
        """What is in the registry's place; `foreign` is a folder with other files.

        A registry that is damaged, or that may not be read, is `ready`: using it says what is
        wrong.
        """
        try:
            names = {path.name for path in self.folder.iterdir()}
        except FileNotFoundError:
            return "missing"
        except NotADirectoryError:
            return "file" if os.path.lexists(self.folder) else "missing"
        except OSError:
            return "ready"
        if not names:
            return "empty"
        return "ready" if {DATABASE, LEDGER_FILE, OBJECTS, RUNS} & names else "foreign"
