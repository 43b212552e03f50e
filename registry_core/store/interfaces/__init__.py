"""What the store needs from a backend: an index, objects by their content, workspaces of runs.

SQLite and a folder implement them; another database or an object store can take their place.
tests/store/test_contract.py has what each implementation must hold to.
"""

from registry_core.store.interfaces.index import (
    AliasKey,
    Index,
    IndexEntry,
    IndexState,
    ReadTransaction,
    RequestKey,
    VersionKey,
    WriteTransaction,
)
from registry_core.store.interfaces.objects import ObjectInfo, Objects
from registry_core.store.interfaces.workspaces import (
    Intents,
    Leftover,
    RunKey,
    Workspace,
    Workspaces,
)

__all__ = [
    "AliasKey",
    "Index",
    "IndexEntry",
    "IndexState",
    "Intents",
    "Leftover",
    "ObjectInfo",
    "Objects",
    "ReadTransaction",
    "RequestKey",
    "RunKey",
    "VersionKey",
    "Workspace",
    "Workspaces",
    "WriteTransaction",
]
