"""Whether a folder is on a network, and what locks are worth there.

A registry in a folder rests on locks: SQLite's, and those of runs. On a network file system they
may reach all machines, only this one, or nobody. The kind of the file system and its options say
which may be true, and `lock_trial` tries what can be tried from one machine.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from registry_core.dataclass import dataclass

MOUNTINFO = Path("/proc/self/mountinfo")
FDINFO = Path("/proc/self/fdinfo")

# Other machines may have the folder too, and see the locks if the server is set up for it.
_SHARED = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "ceph", "glusterfs", "ocfs2"),
    *("gfs2", "panfs", "wekafs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs"),
    *("fuse.mfs", "fuse.mfsmount", "fuse.lizardfs"),
}

# A folder of a virtual machine's host: only this machine sees the locks, and mostly uses it alone.
_OF_HOST = {"9p", "virtiofs", "vboxsf", "prl_fs", "fuse.vmhgfs-fuse", "fuse.grpcfuse"}

# Only this machine sees the locks, and the folder is there to be used by others.
_LOCKS_STAY_HERE = {
    *("afs", "beegfs", "orangefs", "pvfs2", "ncpfs", "davfs", "fuse.davfs", "fuse.davfs2"),
    *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.goofys", "fuse.geesefs", "fuse.gcsfuse"),
    *("fuse.mountpoint-s3", "fuse.blobfuse", "fuse.blobfuse2", "fuse.fuse-nfs", "fuse.curlftpfs"),
    *("fuse.gvfsd-fuse", "fuse.seaweedfs", "fuse.hdfs", "fuse.fuse_dfs", "fuse.onedriver"),
    *("fuse.google-drive-ocamlfuse", "fuse.smbnetfs", "fuse.afp", "fuse.xtreemfs"),
}

# Options that keep locks on this machine, of any kind of file system.
_LOCAL_LOCKS = {
    *("nolock", "local_lock=all", "local_lock=flock", "local_lock=posix", "nobrl", "localflock"),
}

# File systems in user space that nobody else has; of others this is not known.
_LOCAL_FUSE = {
    *(
        "fuseblk",
        "fuse.bindfs",
        "fuse.mergerfs",
        "fuse.fuse-overlayfs",
        "fuse.portal",
        "fuse.lxcfs",
    ),
    *("fuse.gocryptfs", "fuse.encfs", "fuse.cryfs", "fuse.securefs", "fuse.ntfs-3g", "fuse.exfat"),
    *(
        "fuse.zfs",
        "fuse.unionfs",
        "fuse.squashfuse",
        "fuse.snapfuse",
        "fuse.ext2fs",
        "fuse.fuse2fs",
    ),
}

Locks = Literal["local", "shared", "host", "unknown", "unshared"]


@dataclass(frozen=True)
class Mount:
    """The file system that a folder is on.

    Args:
        kind: its type, as in `nfs4` or `fuse.sshfs`.
        source: what is mounted, as in `server:/export`.
        options: of the mount and of the file system.
    """

    kind: str
    source: str
    options: frozenset[str] = frozenset()

    @property
    def locks(self) -> Locks:
        """Who sees the locks of this machine.

        Returns:
            `local`: nobody else can have the folder. `shared`: other machines, if the server is set
            up for it. `host`: this machine, in a folder of its host. `unshared`: this machine,
            although others can have the folder. `unknown`: it is a file system in user space.
        """
        if self.kind in _LOCKS_STAY_HERE:
            return "unshared"
        if self.kind == "lustre" and "flock" not in self.options:
            return "unshared"
        if self.kind in _SHARED:
            return "unshared" if self.options & _LOCAL_LOCKS else "shared"
        if self.kind in _OF_HOST:
            return "host"
        user_space = self.kind.partition(".")[0] == "fuse" and self.kind not in _LOCAL_FUSE
        return "unknown" if user_space else "local"

    def __str__(self) -> str:
        return f"{self.kind}, {self.source}"


def mount_of(folder: Path) -> Mount | None:
    """The file system of a folder, or of the nearest one above that exists; None if unknown."""
    try:
        number = _mount_number(folder)
        for line in MOUNTINFO.read_text("utf-8", "surrogateescape").splitlines():
            if line.startswith(f"{number} "):
                return parse(line)
    except (OSError, ValueError):
        pass
    return None


def parse(line: str) -> Mount:
    """A line of /proc/self/mountinfo.

    Raises:
        ValueError: it is none.
    """
    before, separator, after = line.partition(" - ")
    fields, (kind, source, *rest) = before.split(" "), after.split(" ")
    if not separator or len(fields) < 6:
        raise ValueError(line)
    options = frozenset(fields[5].split(",") + (rest[0].split(",") if rest else []))
    return Mount(kind, _unescaped(source), options)


def _mount_number(folder: Path) -> str:
    """The number of the mount that a folder is on: exact, where paths and devices are not."""
    folder = folder.absolute()
    while True:
        try:
            descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            break
        except (FileNotFoundError, NotADirectoryError):
            if folder == folder.parent:
                raise
            folder = folder.parent
    try:
        found = re.search(r"^mnt_id:\s*(\d+)$", (FDINFO / str(descriptor)).read_text(), re.M)
    finally:
        os.close(descriptor)
    if not found:
        raise ValueError("this kernel does not say")
    return found[1]


def _unescaped(text: str) -> str:
    r"""`\040` is a space there."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
