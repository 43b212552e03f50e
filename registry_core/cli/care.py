"""`mlreg verify`: read the whole registry and say what is wrong with it."""

from __future__ import annotations

import sys

from registry_core.cli.app import app, session
from registry_core.cli.options import JsonOption
from registry_core.errors import IntegrityError, UsageError
from registry_core.store.audit import audit
from registry_core.ui import output


@app.command()
def verify(as_json: JsonOption = False) -> None:
    """Read every file, row and reference, and say what is not as it was written."""
    registry = session.open()
    if not registry.folder.is_dir():
        raise UsageError(
            f"There is no registry in {registry.folder}.",
            "Name another with --registry, or make one by running something.",
            "mlreg run cifar10 --preset quick",
        )
    found = audit(registry.store)
    if as_json:
        output.print_json(
            {
                "versions": found.versions,
                "files": found.files,
                "bytes": found.size,
                "ledger": {"rows": found.rows, "head": found.head},
                "problems": [problem.what for problem in found.problems],
            }
        )
    else:
        print(f"{found.versions} versions, {found.files} files, {found.size:,} bytes read")
        print(f"{found.rows} ledger rows, head {found.head or 'none'}")
        print("All is as it was written." if not found.problems else "")
    for problem in found.problems:
        output.print_error(problem)
    if found.problems:
        sys.stdout.flush()
        raise IntegrityError(
            f"{len(found.problems)} things are not as they were written.",
            "What is damaged is never used; what is named above can be put back from a copy.",
        )
