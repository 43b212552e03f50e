"""What is in the place of a registry's folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from registry_core.store.local.ledger_file import LEDGER_FILE
from registry_core.store.local.objects import OBJECTS, RUNS, SWEEPS
from registry_core.store.storage_errors import DATABASE

if TYPE_CHECKING:
    from registry_core.store.store import PlaceState


def state_of(folder: Path) -> PlaceState:
    """Look at the names in a folder; `foreign` is a folder with other files.

    A registry that is damaged, or that may not be read, is `ready`: using it says what is wrong.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return "missing"
    except NotADirectoryError:
        return "file" if os.path.lexists(folder) else "missing"
    except OSError:
        return "ready"
    if not names:
        return "empty"
    return "ready" if {DATABASE, LEDGER_FILE, OBJECTS, RUNS, SWEEPS} & names else "foreign"
