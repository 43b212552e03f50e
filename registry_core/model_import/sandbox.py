"""How a process restricts itself before it opens a file that may be hostile.

Linux supports all restrictions; on other systems, functions return what is missing as a sentence.
Knows nothing of models.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# linux/prctl.h, linux/seccomp.h, linux/sched.h
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_THREAD = 0x10000000, 0x40000000, 0x00010000
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38

# machine -> (AUDIT_ARCH_…, system call -> its number). Sockets of every family are refused, because
# a local socket can reach the network too. No new processes, so none needs limits.
_CALLS = {
    "x86_64": (
        0xC000003E,
        {
            "socket": 41, "connect": 42, "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
            "kill": 62, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
            "io_uring_setup": 425, "clone": 56, "clone3": 435,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "socket": 198, "connect": 203, "execve": 221, "execveat": 281,
            "kill": 129, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271,
            "io_uring_setup": 425, "clone": 220, "clone3": 435,
        },
    ),
}  # fmt: skip


def die_with(parent: int) -> None:
    """Kill this process when its parent ends, for whatever reason."""
    with suppress(AttributeError, OSError):
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent ended before that took effect
        os._exit(1)


def isolate() -> str:
    """Remove this process's access to the network and, on Linux, to other processes.

    Returns:
        What could not be restricted, as a sentence; empty if everything was.
    """
    try:
        _filter_calls()
    except (AttributeError, KeyError, OSError):
        try:
            _leave_network()
        except (AttributeError, OSError):
            return "The process that opened the file still had access to the network."
    return ""


def limit_files(file_bytes: int, open_files: int) -> None:
    """Limit the files that this process writes and opens; it leaves no core dump."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, file_bytes)
    _lower(resource.RLIMIT_NOFILE, open_files)
    with suppress(OSError):  # if memory runs out anyway, the kernel should kill this process
        Path("/proc/self/oom_score_adj").write_text("1000")


def limit_use(memory_bytes: int, seconds: float, final: bool) -> str:
    """Limit private memory and processor time, counted from what this process has used so far.

    RLIMIT_DATA counts private writable memory. RLIMIT_AS would also count what TensorFlow maps and
    never uses, which is three times as much and grows with the number of cores.

    Args:
        memory_bytes: additional private memory.
        seconds: additional time of each processor.
        final: whether to make it impossible to raise the limits again.

    Returns:
        What could not be limited, as a sentence; empty if both were.
    """
    if (used := _private_bytes()) is not None:
        _lower(resource.RLIMIT_DATA, used + memory_bytes, final)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    allowed = max(1, round(spent.ru_utime + spent.ru_stime + seconds * processors))
    # the soft limit sends SIGXCPU, which can be recognised; the hard limit only kills
    _lower(resource.RLIMIT_CPU, allowed + 5, final)
    _lower(resource.RLIMIT_CPU, allowed, final=False)
    return "" if used is not None else "The process that opened the file had no memory limit."


def lift_use() -> None:
    """Undo `limit_use`, unless that was final."""
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CPU):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (hard, hard))


@contextmanager
def bounded_memory(memory_bytes: int) -> Iterator[None]:
    """Limit the private memory that this process may add within the block."""
    used = _private_bytes()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    # a GPU driver maps as much memory as the GPU has
    if used is None or any(Path(each).exists() for each in ("/dev/nvidiactl", "/dev/kfd")):
        yield
        return
    _lower(resource.RLIMIT_DATA, used + memory_bytes, final=False)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _lower(kind: int, value: int, final: bool = True) -> None:
    """Set a limit unless a lower one is set already."""
    soft, hard = resource.getrlimit(kind)
    if soft != resource.RLIM_INFINITY and kind not in (resource.RLIMIT_CPU, resource.RLIMIT_DATA):
        value = min(value, soft)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value if final else hard))


def _private_bytes() -> int | None:
    """The memory of this process that RLIMIT_DATA counts; None if the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("VmData:")), None)
    return None if found is None else int(found) * 1024


def _leave_network() -> None:
    if _libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def _filter_calls() -> None:
    """Have the kernel refuse the system calls that reach the network or other processes."""
    architecture, numbers = _CALLS[platform.machine()]
    rules = b"".join(_rules(architecture, numbers))
    program = ctypes.create_string_buffer(rules)
    # struct sock_fprog: the number of instructions, and their address
    header = struct.pack("HxxxxxxP", len(rules) // 8, ctypes.addressof(program))
    libc = _libc()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


def _rules(architecture: int, numbers: dict[str, int]) -> Iterator[bytes]:
    """Instructions of classic BPF; `skip` is the number of instructions to jump over."""
    load, equal, at_least, any_bit, end = 0x20, 0x15, 0x35, 0x45, 0x06

    def instruction(code: int, value: int, skip_if: int = 0, skip_else: int = 0) -> bytes:
        return struct.pack("HBBI", code, skip_if, skip_else, value)

    # struct seccomp_data: number at 0, architecture at 4, the first argument at 16
    yield instruction(load, 4)
    yield instruction(equal, architecture, 1)
    yield instruction(end, _FAIL | _EPERM)
    yield instruction(load, 0)
    yield instruction(at_least, 0x40000000, 0, 1)  # x32 numbers for the same calls on x86-64
    yield instruction(end, _FAIL | _EPERM)
    for name, number in numbers.items():
        if name in ("clone", "clone3"):
            continue
        yield instruction(equal, number, 0, 1)
        yield instruction(end, _FAIL | _EPERM)
    # a filter cannot read the flags of clone3; on ENOSYS the C library falls back to clone
    yield instruction(equal, numbers["clone3"], 0, 1)
    yield instruction(end, _FAIL | _ENOSYS)
    yield instruction(equal, numbers["clone"], 0, 3)
    yield instruction(load, 16)
    yield instruction(any_bit, _CLONE_THREAD, 1, 0)
    yield instruction(end, _FAIL | _EPERM)
    yield instruction(end, _ALLOW)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
