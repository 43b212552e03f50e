"""The registry: blobs, index, ledger. Knows no pluggy and no Keras."""

from registry_core.store.faults import translated
from registry_core.store.runs import RunFolder
from registry_core.store.staging import check_files
from registry_core.store.store import Store

__all__ = ["RunFolder", "Store", "check_files", "translated"]
