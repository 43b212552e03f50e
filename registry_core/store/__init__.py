"""The registry: blobs, index, ledger. Knows no pluggy and no Keras."""

from registry_core.store.confirm import CheckedVersion
from registry_core.store.interfaces import Workspace
from registry_core.store.staging import check_files, stage
from registry_core.store.storage_errors import translate_storage_errors
from registry_core.store.store import Store

__all__ = [
    "CheckedVersion",
    "Store",
    "Workspace",
    "check_files",
    "stage",
    "translate_storage_errors",
]
