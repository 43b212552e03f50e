"""What the store needs from a backend: index, objects, a copy of the ledger, workspaces.

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
from registry_core.store.interfaces.ledger_copy import LedgerCopy, RowKey
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
    "LedgerCopy",
    "Leftover",
    "ObjectInfo",
    "Objects",
    "ReadTransaction",
    "RequestKey",
    "RowKey",
    "RunKey",
    "VersionKey",
    "Workspace",
    "Workspaces",
    "WriteTransaction",
]
