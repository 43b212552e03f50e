"""Where a run happened: interpreter, machine, and the state of the code around it."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import registry_core


def surroundings(folder: Path) -> dict[str, Any]:
    """What a version's record keeps beside the libraries.

    Args:
        folder: where the project is; its git commit is recorded, if it has one.
    """
    return {
        "mlreg": registry_core.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "git": git_state(folder),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that is checked out, and whether files differ from it; None outside git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
