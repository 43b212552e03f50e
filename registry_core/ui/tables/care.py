"""What was collected, read and rebuilt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_core.records import GarbageCollection
from registry_core.ui.output import print_text, print_warning, stdout
from registry_core.ui.tables.cells import some, when
from registry_core.ui.text import shown, size

if TYPE_CHECKING:
    from registry_core.store.audit import Audit
    from registry_core.store.rebuild import Rebuilt


def collection_line(collection: GarbageCollection, verb: str) -> str:
    """`2 versions, 3 files and 1.5 MB went`."""
    versions, files = len(collection.removals), collection.blobs
    return (
        f"{versions} version{'' if versions == 1 else 's'}, {files} file"
        f"{'' if files == 1 else 's'} and {size(collection.size)} {verb}"
    )


def show_collection(collection: GarbageCollection, dry_run: bool) -> None:
    """What went, or would go; and what looks like it and stays."""
    console = stdout()
    if collection.blobs or collection.removals:
        console.print(shown(f"{collection_line(collection, 'would go' if dry_run else 'went')}."))
    else:
        console.print("Nothing is to be collected.")
    for removal in collection.removals:
        console.print(shown(f"  {removal.version.ref}, removed {when(removal.at)}"))
    for digest in collection.unregistered:
        print_warning(
            f"{digest} is the manifest of a version that the index does not know; it and its "
            "files stay. `mlreg verify` says more."
        )


def show_audit(audit: Audit) -> None:
    """How much was read, the ledger's head, and whether all is well."""
    print_text(f"{audit.versions} versions, {audit.files} files, {audit.size:,} bytes read")
    if audit.orphans:
        print_text(f"{audit.orphans} files that nothing needs; `mlreg gc` removes them")
    print_text(f"{audit.rows} ledger rows, head {audit.head or 'none'}")
    if not audit.problems:
        print_text("OK: nothing is damaged.")


def show_rebuilt(rebuilt: Rebuilt, dry_run: bool) -> None:
    """What the new index has, and where the old one is."""
    verb = "would have" if dry_run else "has"
    print_text(
        f"The new index {verb} {rebuilt.versions} versions, from {rebuilt.rows} ledger rows."
    )
    if rebuilt.found:
        print_text(f"No row told of {len(rebuilt.found)} of them: {some(rebuilt.found)}")
    if rebuilt.old_index:
        print_text(f"The old index is {rebuilt.old_index}; remove it once all is well.")
    if rebuilt.old_ledger:
        print_text(f"The old ledger.jsonl is {rebuilt.old_ledger}.")
