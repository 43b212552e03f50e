"""A bare Debian in a folder, with a user who may use sudo: what the documentation types is typed.

It shares this machine's network, and nothing else. Root makes it, with debootstrap, from the
packages that apt finds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

USER = "user"
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# what pip and apt need of this machine to reach their servers
_PASSED_ON = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "http_proxy", "https_proxy", "no_proxy")

# The devices and mounts that each Debian has; they end with the processes.
_MACHINE = """
mount -t proc proc /proc
mount -t tmpfs dev /dev
for device in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0'; do
  set -- $device; mknod -m 666 /dev/$1 c $2 $3
done
ln -s /proc/self/fd /dev/fd
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts; ln -s pts/ptmx /dev/ptmx
mount -t tmpfs -o mode=1777 shm /dev/shm
"""
_FIRST = f"""
# servers may be started
printf '#!/bin/sh\\nexit 0\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
apt-get update -q && apt-get install -q --yes sudo
useradd --create-home --shell /bin/bash {USER}
echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{USER}
"""


@dataclass(frozen=True)
class Typed:
    """A command line, how it ended, and what it wrote."""

    line: str
    status: int
    output: str


class BareDebian:
    """One, without anything installed.

    Args:
        release: its name: `bookworm`.
    """

    def __init__(self, release: str) -> None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            pytest.skip("NOT TESTED: a bare Debian is made by root, with apt-get")
        if shutil.which("debootstrap") is None:
            _done("apt-get", "update", "-q")
            _done("apt-get", "install", "-q", "--yes", "debootstrap")
        self.root = Path(tempfile.mkdtemp(prefix=f"mlreg-{release}-"))
        self.root.chmod(0o755)
        packages = "--include=ca-certificates"
        _done("debootstrap", "--variant=minbase", packages, release, str(self.root))
        for file in ("etc/resolv.conf", "etc/hosts", _CERTIFICATES):
            if Path("/", file).exists():
                shutil.copyfile(Path("/", file), self.root / file)
        self._script("first", _FIRST)
        self._run("bash -eux /tmp/first")

    @property
    def home(self) -> Path:
        return self.root / "home" / USER

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def type(self, lines: list[str], folder: str) -> list[Typed]:
        """Type lines into a shell of the user's, one after the other, whatever their status.

        Args:
            lines: what is typed.
            folder: where, below the user's home.
        """
        text = "".join(f"{line}\nstatus=$?; echo; echo @@ $status\n" for line in lines)
        self._script("typed", f"cd ~/{folder}\n{text}")
        out = self._run(f"exec su --login {USER} --command 'bash /tmp/typed 2>&1 < /dev/null'")
        written = out.split("\n@@ ")
        statuses = [int(part.partition("\n")[0]) for part in written[1:]]
        outputs = [written[0], *(part.partition("\n")[2] for part in written[1:])]
        found = zip(lines, statuses, outputs, strict=False)
        return [Typed(line, status, output) for line, status, output in found]

    def _script(self, name: str, text: str) -> None:
        passed_on = [
            f"export {name}='{os.environ[name]}'" for name in _PASSED_ON if name in os.environ
        ]
        passed_on += [f"export PIP_CERT=/{_CERTIFICATES}"]
        (self.root / "tmp" / name).write_text("\n".join([*passed_on, text]))

    def _run(self, command: str) -> str:
        """Run a shell as root in it; what it started ends with it."""
        return _done(
            *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
            *("chroot", str(self.root), "env", "-i", "HOME=/root", "LANG=C.UTF-8"),
            *("DEBIAN_FRONTEND=noninteractive", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"),
            *("bash", "-c", f"{_MACHINE}\n{command}"),
        )


def _done(*command: str) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, f"{' '.join(command[:8])}\n{done.stdout[-8000:]}"
    return done.stdout
