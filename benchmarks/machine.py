"""What a record says of the machine, the libraries and the commit that were measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry_core.process.machine import (
    graphics_cards,
    library_versions,
    machine_processor,
    usable_cores,
    usable_memory,
)

ROOT = Path(__file__).parents[1]

# processor flag -> the name of its vector instructions; the widest last
_VECTORS = {
    "sse4_2": "SSE4.2",
    "asimd": "NEON",
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "amx_tile": "AMX",
}

# what recording itself changes
_NOT_CODE = (":!benchmarks/results", ":!docs/*.md", ":!docs/*.svg", ":!README.md")

# `benchmarks all` asks TensorFlow once, and tells its benchmarks the answer
ONEDNN = "MLREG_BENCHMARKS_ONEDNN"

_ASK_TENSORFLOW = """
import sys
if sys.argv[1:]:
    import registry_core.training
from tensorflow.python.util import _pywrap_util_port
print(_pywrap_util_port.IsMklEnabled())
"""


def processor() -> dict[str, Any]:
    """The processor, and how much of it this process may use."""
    facts = machine_processor()
    vectors = [name for flag, name in _VECTORS.items() if flag in facts["vectors"]]
    cores = usable_cores()
    memory = usable_memory()
    return {
        "processor": facts["processor"],
        "family": facts["family"] or "",
        "model": facts["model"] or "",
        "vectors": vectors[-1] if vectors else "",
        "instructions": facts["vectors"],
        "cores": int(cores) if cores.is_integer() else cores,
        "cores_of_machine": os.cpu_count(),
        "hypervisor": _hypervisor(),
        "memory_gb": memory and round(memory / 1e9, 1),
        "gpus": graphics_cards(),
    }


def libraries() -> dict[str, Any]:
    """The versions of Python and of what trains, and whether TensorFlow uses oneDNN."""
    return {"python": platform.python_version(), **library_versions(), "onednn": onednn()}


def onednn() -> dict[str, bool | None]:
    """Whether TensorFlow says that it uses oneDNN: in runs of mlreg, and left to itself.

    None where TensorFlow cannot be asked.
    """
    if known := os.environ.get(ONEDNN):
        answer: dict[str, bool | None] = json.loads(known)
        return answer
    return {"mlreg": _ask_tensorflow("mlreg"), "tensorflow": _ask_tensorflow()}


def _ask_tensorflow(*words: str) -> bool | None:
    done = subprocess.run(
        [sys.executable, "-c", _ASK_TENSORFLOW, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {"True": True, "False": False}.get(done.stdout.strip())


def commit() -> dict[str, Any]:
    """The commit that was measured, and whether the code differed from it; empty without git."""
    name = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *_NOT_CODE)
    return {} if name is None else {"commit": name, "dirty": bool(changes)}


def describe(facts: Mapping[str, Any]) -> str:
    """A machine in words: `2 cores of an AMD EPYC (family 25, model 17, AVX-512)`."""
    known = [
        f"{name} {facts[name]}" if name != "vectors" else str(facts[name])
        for name in ("family", "model", "vectors")
        if facts.get(name)
    ]
    cores = f"{facts['cores']} cores"
    if facts.get("cores_of_machine", facts["cores"]) != facts["cores"]:
        cores += f" (of {facts['cores_of_machine']})"
    if facts.get("hypervisor"):
        cores += f" of a virtual machine ({facts['hypervisor']})"
    name = f"{facts['processor']} ({', '.join(known) or 'its model was not recorded'})"
    cards = "".join(f", {card['name']}" for card in facts.get("gpus", ()))
    return f"{cores} {'on' if facts.get('hypervisor') else 'of'} an {name}{cards}"


def _hypervisor() -> str:
    """Who gives this machine its cores, such as KVM; empty if it is no virtual machine."""
    try:
        done = subprocess.run(
            ["lscpu", "--json"], capture_output=True, text=True, check=True, timeout=10
        )
        rows = json.loads(done.stdout)["lscpu"]
    except (OSError, ValueError, LookupError, subprocess.SubprocessError):
        return ""
    return next((str(row["data"]) for row in _flat(rows) if "Hypervisor" in row["field"]), "")


def _flat(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for row in rows for each in (row, *_flat(row.get("children", [])))]


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
