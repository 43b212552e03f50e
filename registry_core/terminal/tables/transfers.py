"""What became of versions that were pushed, pulled, packed or unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry_core.formatting import counted, size
from registry_core.terminal.output import print_hint, print_text, stdout
from registry_core.terminal.tables.table import Column, key_column, new_table
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.results import TransferredVersions
    from registry_core.transfer.copying import Copied


def show_transfer(found: TransferredVersions) -> None:
    """Show a line for each version, and how many were copied."""
    if not found.versions:
        print_hint(f"{found.source} has no such versions.")
        return
    copies = any(each.version for each in found.versions)
    table = new_table(
        key_column("version"),
        *([Column("copy", hideable=False)] if copies else []),
        Column("what", "between words", hideable=False),
        Column("size"),
    )
    for each in found.versions:
        copy = safe_text(each.version.ref if each.version else "")
        table.add_row(
            safe_text(each.source, "bold"),
            *([copy] if copies else []),
            safe_text(_what(each, found.dry_run)),
            safe_text(size(each.size) if each.size else ""),
        )
    stdout().print(table)
    print_text(_total(found))
    for each in found.versions:
        if each.state == "removed" and each.version is not None:
            print_hint(f"To have it back, there: mlreg restore {each.version.ref}")
            break


def _total(found: TransferredVersions) -> str:
    """`3 versions (450 MB) copied to …; 2 were there already, and 1 file of them was put again`."""
    copied = [each for each in found.versions if each.state == "copied"]
    total = size(sum(each.size for each in copied))
    verb = "would be copied" if found.dry_run else "copied"
    done = f"{counted(len(copied), 'version')} ({total}) {verb}" if copied else f"Nothing {verb}"
    before = found.count("there", "mended")
    there = f"; {before} {_were(before)} there already" if before else ""
    if files := sum(len(each.mended) for each in found.versions):
        there += f", and {counted(files, 'file')} of {'it' if before == 1 else 'them'}"
        there += f" {_were(files)} put again"
    return f"{done} to {found.target}{there}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _what(copied: Copied, dry_run: bool) -> str:
    match copied.state:
        case "copied":
            return "would be copied" if dry_run else "copied"
        case "there":
            return "is there already"
        case "mended":
            return f"was there; put again: {', '.join(copied.mended)}"
        case "removed":
            return "was removed there"
    return "refused"
