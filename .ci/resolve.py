"""Check that pip and uv would install the same versions of what decides a result.

Usage: python .ci/resolve.py [--installed FILE] [EXTRA …], in an environment with pip and uv. It
installs nothing. FILE has what pip did install with the extra, as `pip list --format json` tells.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DECIDING = ("h5py", "keras", "ml-dtypes", "numpy", "tensorflow", "tensorflow-cpu")


def by_pip(extra: str) -> dict[str, str]:
    """Package -> version, as pip resolves mlreg with this extra."""
    command = ["pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run(
        [sys.executable, "-m", *command, f"{ROOT}[{extra}]"],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    found = [each["metadata"] for each in json.loads(done.stdout)["install"]]
    return {_normal(each["name"]): each["version"] for each in found}


def by_uv(extra: str) -> dict[str, str] | None:
    """The same as uv resolves it; None where uv reaches no index, as pip has its own settings."""
    command = ["uv", "pip", "compile", "--quiet", "--python", sys.executable, "--extra", extra]
    # the machine's certificates, which pip is told of too; the second name is that of older uvs
    trusting = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    done = subprocess.run(
        [*command, "pyproject.toml"], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=trusting
    )
    if done.returncode:
        return None
    found = re.findall(r"^(\S+)==(\S+)", done.stdout, re.MULTILINE)
    return {_normal(name): version for name, version in found}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def by_list(file: Path) -> dict[str, str]:
    """The same as pip installed it."""
    return {_normal(each["name"]): each["version"] for each in json.loads(file.read_text())}


def main(extras: list[str], installed: Path | None = None) -> int:
    """Compare, tell, and return an exit status."""
    differ = 0
    for extra in extras:
        pip, uv = by_list(installed) if installed else by_pip(extra), by_uv(extra)
        if uv is None:
            print(f"[{extra}] uv COULD NOT RESOLVE IT: what it would install is NOT COMPARED here")
            continue
        for name in DECIDING:
            ours, theirs = pip.get(name), uv.get(name)
            if ours or theirs:
                print(f"[{extra}] {name}: pip takes {ours}, uv {theirs}")
            differ |= ours != theirs
    return differ


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--installed", type=Path, metavar="FILE")
    parser.add_argument("extras", nargs="*", default=["tensorflow"], metavar="EXTRA")
    given = parser.parse_args()
    raise SystemExit(main(given.extras, given.installed))
