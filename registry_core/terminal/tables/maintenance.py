"""What `mlreg gc`, `verify` and `verify --rebuild` did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_core.formatting import counted, size, when
from registry_core.terminal.output import print_text, print_warning, stdout
from registry_core.terminal.tables.ledger import show_history
from registry_core.terminal.tables.table import first_few
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.records import GarbageCollection
    from registry_core.store.audit import Audit
    from registry_core.store.rebuild import Rebuilt


def collection_line(collection: GarbageCollection, verb: str) -> str:
    """`2 versions, 3 files and 1.5 MB deleted`."""
    versions = counted(len(collection.removals), "version")
    return f"{versions}, {counted(collection.blobs, 'file')} and {size(collection.size)} {verb}"


def show_collection(collection: GarbageCollection, dry_run: bool) -> None:
    """Show what was or would be deleted, and unregistered manifests, which are kept."""
    console = stdout()
    if collection.blobs or collection.removals:
        console.print(
            safe_text(
                f"{collection_line(collection, 'would be deleted' if dry_run else 'deleted')}."
            )
        )
    else:
        console.print("Nothing to delete.")
    for removal in collection.removals:
        console.print(safe_text(f"  {removal.version.ref}, removed {when(removal.at)}"))
    if collection.spared:
        console.print(
            f"{counted(collection.spared, 'unneeded file')} kept: being published, or less than "
            "an hour old."
        )
    for digest in collection.unregistered:
        print_warning(
            f"{digest} is the manifest of a version that the index does not know; it and its "
            "files are kept. Details: mlreg verify"
        )


def show_audit(audit: Audit) -> None:
    """Show how much was read, the ledger's head, and whether anything is damaged."""
    read = counted(audit.versions, "version"), counted(audit.files, "file")
    print_text(f"{read[0]}, {read[1]}, {counted(audit.size, 'byte')} read")
    if audit.orphans:
        print_text(f"{counted(audit.orphans, 'unused file')}; `mlreg gc` deletes them")
    print_text(f"{counted(audit.rows, 'ledger row')}, head {audit.head or 'none'}")
    if not audit.problems:
        print_text("OK: nothing is damaged.")


def show_rebuilt(rebuilt: Rebuilt, dry_run: bool) -> None:
    """Show what the new index has, and where the old one is."""
    verb = "would have" if dry_run else "has"
    versions, rows = counted(rebuilt.versions, "version"), counted(rebuilt.rows, "ledger row")
    print_text(f"The new index {verb} {versions}, from {rows}.")
    if rebuilt.added:
        print_text("Rows that the old index did not have:")
        show_history(rebuilt.added[::-1])
    if rebuilt.found:
        print_text(f"Without a ledger row: {first_few(rebuilt.found)}")
    if rebuilt.old_index:
        print_text(f"The old index is {rebuilt.old_index}; delete it when you no longer need it.")
    if rebuilt.old_ledger:
        print_text(f"The old ledger.jsonl is {rebuilt.old_ledger}.")
