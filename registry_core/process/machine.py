"""The machine and the libraries, as far as they are known without loading a library.

Everything here is read from small files of the system or from packages' metadata, so it is fast and
says nothing of what TensorFlow itself would find. What cannot be read is None.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

# distributions of which one provides the library; TensorFlow has a build without GPUs
_LIBRARIES = {
    "keras": ("keras",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "numpy": ("numpy",),
    "h5py": ("h5py",),
    "matplotlib": ("matplotlib",),
}

# what decides which kernels TensorFlow and NumPy choose, from the oldest to the newest
_VECTORS = (
    "sse4_2", "avx", "fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "bf16", "i8mm", "sve", "sve2",
)  # fmt: skip

# every flag that names instructions for vectors or matrices, on x86 and on ARM
_VECTOR_FLAG = re.compile(
    r"ssse3|sse4_[12]|f16c|fma4?|avx\w*|amx_\w+|neon|asimd\w*|sve\w*|sme\w*|fphp|bf16|i8mm",
    re.ASCII,
)

# nvidia-smi takes long where a driver is at fault
_SECONDS = 5

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_NVIDIA = Path("/proc/driver/nvidia")


def library_versions() -> dict[str, str | None]:
    """Library -> version, from the metadata of what is installed; None where it is not."""
    found: dict[str, str | None] = {}
    for library, distributions in _LIBRARIES.items():
        versions = {name: _version(name) for name in distributions}
        installed = [(name, version) for name, version in versions.items() if version]
        named = [
            version if name == library else f"{version} ({name})" for name, version in installed
        ]
        found[library] = named[0] if named else None
    return found


def keras_settings(variable: str | None) -> dict[str, Any]:
    """Which backend Keras is told to use, and by what; mlreg trains with TensorFlow whatever it is.

    Args:
        variable: KERAS_BACKEND as the user has it.
    """
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")  # noqa: PTH111 - never raises
    file, backend = Path(home, "keras.json"), None
    with suppress(OSError, ValueError, AttributeError):
        backend = json.loads(file.read_text("utf-8")).get("backend")
    return {
        "used": "tensorflow",
        "variable": variable,
        "file": str(file) if os.path.isfile(file) else None,  # noqa: PTH113 - never raises
        "file_backend": backend,
    }


def machine() -> dict[str, Any]:
    """Processor, cores and memory of this process, and the graphics cards."""
    return {
        "platform": platform.platform(),
        **machine_processor(),
        "cores": usable_cores(),
        "cores_of_machine": os.cpu_count(),
        "memory_bytes": usable_memory(),
        "gpus": graphics_cards(),
    }


def processor() -> str:
    """The processor in a line: `AMD EPYC, family 25, model 17, avx512_bf16`."""
    facts = machine_processor()
    parts = [f"{name} {facts[name]}" for name in ("family", "model") if facts[name]]
    return ", ".join([facts["processor"], *parts, *facts["vectors"][-1:]])


def machine_processor() -> dict[str, Any]:
    """Name, family, model and vector instructions of the processor."""
    facts, flags = _processor(), _flags()
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "family": facts.get("cpu family"),
        "model": facts.get("model"),
        "vectors": [name for name in _VECTORS if name in flags],
    }


def vector_instructions() -> list[str]:
    """The processor's flags for vector and matrix instructions; none where they are not known."""
    return sorted(flag for flag in _flags() if _VECTOR_FLAG.fullmatch(flag))


def usable_cores() -> float:
    """How many cores this process may use: its affinity, and the quota of its control groups."""
    allowed = getattr(os, "sched_getaffinity", None)
    cores = [float(len(allowed(0)) if allowed else os.cpu_count() or 1)]
    for folder in _control_groups("cpu"):
        quota, period = [*(_read(folder / "cpu.max") or "").split(), "", ""][:2]
        if not quota:  # control groups of version 1
            quota = _read(folder / "cpu.cfs_quota_us") or ""
            period = _read(folder / "cpu.cfs_period_us") or ""
        if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
            cores.append(int(quota) / int(period))
    return min(cores)


def usable_memory() -> int | None:
    """Bytes that this process may use: the machine's, or what its control groups allow."""
    limits = []
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith("MemTotal:"):
            limits.append(int(line.split()[1]) * 1024)
    for folder in _control_groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(ValueError):
                limits.append(int(_read(folder / name) or "max"))
    return min(limits, default=None)


def available_memory() -> int | None:
    """Bytes that this process can still take: of the machine's memory, and of its control groups'.

    What a control group holds of files is given back when it is needed, so it counts as free.
    """
    free = []
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    for folder in _control_groups("memory"):
        limit, used = _read(folder / "memory.max") or "", _read(folder / "memory.current") or ""
        if limit.isdecimal() and used.isdecimal():
            facts = (_read(folder / "memory.stat") or "").split()
            files = dict(zip(facts[::2], facts[1::2], strict=False)).get("file", "0")
            free.append(max(0, int(limit) - int(used) + int(files)))
    return min(free, default=None)


def graphics_cards() -> list[dict[str, Any]]:
    """NVIDIA's cards as the driver tells them; TensorFlow is not asked whether it can use them."""
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    if shutil.which(asked[0]):
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                asked,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=True,
            )
            rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines()]
            return [dict(zip(("name", "memory", "driver"), row, strict=False)) for row in rows]
    cards = []
    with suppress(OSError):
        for file in sorted((_NVIDIA / "gpus").glob("*/information")):
            facts = _facts(_read(file) or "")
            cards.append({"name": facts.get("Model", "NVIDIA"), "memory": None, "driver": None})
    return cards


def _processor() -> dict[str, str]:
    """What /proc/cpuinfo says of the first processor."""
    return _facts((_read(Path("/proc/cpuinfo")) or "").partition("\n\n")[0])


def _flags() -> set[str]:
    facts = _processor()
    return set((facts.get("flags") or facts.get("Features") or "").split())


def _facts(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _control_groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, each with the ones above it."""
    for line in (_read(_OWN_CGROUPS) or "0::/").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        folder = root / path.lstrip("/")
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root))


def _read(file: Path) -> str | None:
    try:
        return file.read_text("utf-8", errors="replace").strip()
    except (OSError, ValueError):
        return None


def _version(distribution: str) -> str | None:
    import importlib.metadata  # 30 ms

    try:
        return importlib.metadata.version(distribution)
    except Exception:  # not installed, or damaged
        return None


def interpreter() -> Mapping[str, str]:
    """Python, and the SQLite that it was built with."""
    import sqlite3

    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "sqlite": sqlite3.sqlite_version,
    }
