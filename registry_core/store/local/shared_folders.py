"""A registry in a folder that other machines may have too: tried, warned of, or refused.

Asked before the first write of a process. Reading goes on anywhere. What was found is kept on this
machine, so that locks are tried, and a person is warned, once for each folder and mount.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from registry_core.errors import MlregError, StorageError
from registry_core.store.clock import utc_now
from registry_core.store.local.disk import sha256_hex
from registry_core.store.local.mounts import Mount, mount_of

_TEAM = "For several machines there is a team registry: docs/team.md"

_WARNINGS = {
    "shared": "{folder} is on a network ({mount}). Two processes of this machine respect each "
    "other's locks there; whether other machines see them depends on the server.",
    "host": "{folder} belongs to the host of this machine ({mount}). Other machines that have it "
    "do not see the locks of this one.",
    "unknown": "{folder} may be on a network ({mount}). Two processes of this machine respect each "
    "other's locks there; whether other machines see them is not known.",
}

# folders that this process has found to be good
_checked: set[Path] = set()


def check_shared(folder: Path) -> None:
    """Refuse to write to a registry whose locks cannot be trusted; warn if they may not reach all.

    Args:
        folder: the registry; need not exist.

    Raises:
        StorageError: other machines do not see the locks, or two processes get the same one.
    """
    if folder in _checked:
        return
    mount = mount_of(folder)
    if mount is not None and mount.locks != "local":
        _check(folder, mount)
    _checked.add(folder)


def _check(folder: Path, mount: Mount) -> None:
    from registry_core.process.guard import warn
    from registry_core.store.local.lock_trial import lock_trial  # starts processes

    if mount.locks == "unshared":
        raise _refused(folder, f"{folder} is on {mount}: other machines do not see its locks.")
    known = _place_of(folder, mount)
    if known is not None and known.is_file():
        return
    place = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    try:
        wrong = lock_trial(place)
    except OSError:
        return  # it cannot be written, which the caller finds out too
    if wrong:
        raise _refused(folder, f"{folder} is on {mount}, and its locks do not work: {wrong}.")
    warn(f"{_WARNINGS[mount.locks].format(folder=folder, mount=mount)} {_TEAM}")
    if known is not None:
        with suppress(OSError):
            known.parent.mkdir(parents=True, exist_ok=True)
            found = {"folder": str(folder), "mount": str(mount), "tried": utc_now()}
            known.write_text(json.dumps(found))


def _place_of(folder: Path, mount: Mount) -> Path | None:
    """The file that says that locks were tried here; None if this machine has no cache."""
    from registry_core.settings import cache_place

    key = [os.uname().nodename, str(folder.absolute()), str(mount), sorted(mount.options)]
    with suppress(MlregError):
        return cache_place()[0] / "mounts" / f"{sha256_hex(json.dumps(key).encode())[:32]}.json"
    return None


def _refused(folder: Path, what: str) -> StorageError:
    return StorageError(
        what,
        "Nothing was changed, as two writers could destroy the registry; reading works. Use a "
        "folder of this machine, or a team registry (docs/team.md).",
        "mlreg registry --help",
    )
