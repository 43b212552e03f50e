"""The registry: blobs, index, ledger. Knows no pluggy and no Keras."""

from registry_core.store.staging import check_files
from registry_core.store.storage_errors import translated
from registry_core.store.store import Store
from registry_core.store.workspaces import RunFolder

__all__ = ["RunFolder", "Store", "check_files", "translated"]
