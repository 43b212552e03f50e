"""Where a run happens: interpreter, machine, variables, and the git state of the project."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import registry_core
from registry_core.errors import escape_surrogates
from registry_core.process.machine import processor, vector_instructions

# Libraries choose kernels, precision, devices and threads by these. TF_CPP_… only changes logs, and
# TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE whether kernels are kept in memory.
_INFLUENCES_RESULTS = re.compile(
    r"(?!TF_CPP_|TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE$)(TF|XLA|OMP|MKL|KMP|ONEDNN|DNNL|OPENBLAS|CUDNN|CUBLAS)_\w+"
    r"|CUDA_VISIBLE_DEVICES|NVIDIA_TF32_OVERRIDE|KERAS_BACKEND|PYTHONHASHSEED",
    re.ASCII,
)


def describe_environment(folder: Path) -> dict[str, Any]:
    """What a version's record says of the machine and the project.

    Args:
        folder: the project's; its git commit is recorded, if it has one.
    """
    return {
        "mlreg": registry_core.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "vector_instructions": vector_instructions(),
        "cpus": os.cpu_count(),
        "usable_cpus": _usable_cpus(),
        "variables": result_variables(),
        "git": git_state(folder),
    }


def result_variables() -> dict[str, str]:
    """The environment variables that may change a result and are set, by name."""
    return {
        name: escape_surrogates(value)
        for name, value in sorted(os.environ.items())
        if _INFLUENCES_RESULTS.fullmatch(name)
    }


def _usable_cpus() -> int | None:
    """How many processors this process may use; a container or taskset may limit them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that is checked out, and whether files differ from it; None without git."""
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
