"""Everything that a version consists of, as it was registered, with its signatures beside it.

`version/` has the files and the manifest, and `signatures/` a file for each signature, named after
the key. That is what the command line of the OpenSSF library takes to verify one.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from registry_core.errors import IntegrityError
from registry_core.records import Version
from registry_core.signing.openssf import LIMIT_BYTES
from registry_core.signing.versions import MANIFEST_FILE
from registry_core.store import Store

VERSION_FOLDER = "version"
SIGNATURES_FOLDER = "signatures"


def write_files(store: Store, version: Version, draft: Path) -> None:
    """Write a version's files, its manifest and its signatures into a new folder.

    Raises:
        IntegrityError: one of them is damaged.
        OSError: they cannot be written.
    """
    store.manifest(version)  # the index may lack files that the manifest has
    folder = draft / VERSION_FOLDER
    folder.mkdir(parents=True)
    for file in version.files:
        copy_inside(store, version, file.path, PurePosixPath(file.path), folder)
    content = store.manifest_content(version)
    with (folder / MANIFEST_FILE).open("xb") as stream:  # "x": a version may have such a file
        stream.write(content)
    signatures = store.signatures.of(version)
    (draft / SIGNATURES_FOLDER).mkdir()
    for signature in reversed(signatures):  # the newest of a key is kept
        found, _ = store.signatures.contents(version, signature, LIMIT_BYTES)
        (draft / SIGNATURES_FOLDER / f"{signature.key[:16]}.sig").write_bytes(found)


def copy_inside(
    store: Store, version: Version, path: str, inside: PurePosixPath, folder: Path
) -> None:
    """Copy a file of a version to a path inside a folder, which it must not leave.

    Raises:
        IntegrityError: the path leads out of it, or the file is damaged.
    """
    if ".." in inside.parts or inside.is_absolute():
        raise IntegrityError(
            f"A file of {version.ref} has a path that leads out of it: {path!r:.80}.",
            "Nothing was written.",
            "mlreg verify",
        )
    place = folder.joinpath(*inside.parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    store.copy_out(version, path, place)
