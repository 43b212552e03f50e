"""What the verbs of a registry return, where no lower room has a value for it.

Every value is frozen. `to_json()` is the object that `--json` prints, which docs/json.md describes.
A value's module loads when it is first used, so that a command pays for its own values alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry_core.results.cards import BillOfMaterials as BillOfMaterials
    from registry_core.results.cards import ModelCard as ModelCard
    from registry_core.results.changes import CollectedFiles as CollectedFiles
    from registry_core.results.changes import DiscardedRuns as DiscardedRuns
    from registry_core.results.changes import DiscardedSweeps as DiscardedSweeps
    from registry_core.results.changes import ReleasedAlias as ReleasedAlias
    from registry_core.results.changes import RemovedVersion as RemovedVersion
    from registry_core.results.changes import RestoredVersion as RestoredVersion
    from registry_core.results.changes import TaggedVersion as TaggedVersion
    from registry_core.results.files import ExportedFiles as ExportedFiles
    from registry_core.results.files import Verification as Verification
    from registry_core.results.ledger import AliasHolders as AliasHolders
    from registry_core.results.ledger import History as History
    from registry_core.results.ledger import HolderAt as HolderAt
    from registry_core.results.plugins import DataFolder as DataFolder
    from registry_core.results.plugins import FetchedData as FetchedData
    from registry_core.results.plugins import PluginList as PluginList
    from registry_core.results.plugins import VerifiedData as VerifiedData
    from registry_core.results.runs import ExaminedFile as ExaminedFile
    from registry_core.results.runs import RegisteredGroup as RegisteredGroup
    from registry_core.results.runs import RegisteredVersion as RegisteredVersion
    from registry_core.results.runs import RunPlan as RunPlan
    from registry_core.results.setup import RegistryGrants as RegistryGrants
    from registry_core.results.setup import RegistrySetup as RegistrySetup
    from registry_core.results.signatures import SignedVersion as SignedVersion
    from registry_core.results.signatures import VerifiedVersion as VerifiedVersion
    from registry_core.results.sweeps import SweepList as SweepList
    from registry_core.results.transfers import TransferredVersions as TransferredVersions
    from registry_core.results.versions import ModelList as ModelList
    from registry_core.results.versions import RemovedVersions as RemovedVersions
    from registry_core.results.versions import VersionDetails as VersionDetails
    from registry_core.results.versions import VersionList as VersionList

# value -> the module that defines it
_MODULES = {
    "AliasHolders": "ledger",
    "BillOfMaterials": "cards",
    "CollectedFiles": "changes",
    "DataFolder": "plugins",
    "DiscardedRuns": "changes",
    "DiscardedSweeps": "changes",
    "ExaminedFile": "runs",
    "ExportedFiles": "files",
    "FetchedData": "plugins",
    "History": "ledger",
    "HolderAt": "ledger",
    "ModelCard": "cards",
    "ModelList": "versions",
    "PluginList": "plugins",
    "RegisteredGroup": "runs",
    "RegisteredVersion": "runs",
    "RegistryGrants": "setup",
    "RegistrySetup": "setup",
    "ReleasedAlias": "changes",
    "RemovedVersion": "changes",
    "RemovedVersions": "versions",
    "RestoredVersion": "changes",
    "RunPlan": "runs",
    "SignedVersion": "signatures",
    "SweepList": "sweeps",
    "TaggedVersion": "changes",
    "TransferredVersions": "transfers",
    "Verification": "files",
    "VerifiedData": "plugins",
    "VerifiedVersion": "signatures",
    "VersionDetails": "versions",
    "VersionList": "versions",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'registry_core.results' has no attribute {name!r}")
        return getattr(import_module(f"registry_core.results.{_MODULES[name]}"), name)
