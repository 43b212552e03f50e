"""The registry: blobs, index, ledger. Knows no pluggy and no Keras."""

from registry_core.store.local.workspaces import RunFolder
from registry_core.store.staging import check_files
from registry_core.store.storage_errors import translate_storage_errors
from registry_core.store.store import Store

__all__ = ["RunFolder", "Store", "check_files", "translate_storage_errors"]
