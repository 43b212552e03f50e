"""Ends the process in time and with the status of the command, whatever plugins left running.

Python waits without limit for non-daemon threads and exit handlers, and aborts if a daemon thread
is writing to a stream at that moment. By then the command is done and its result is written.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

from registry_core.process import guard as plugin_guard

# Time that threads and exit handlers of plugins may take.
GRACE_SECONDS = 5.0

_WATCH = "mlreg's end"

# None until the command has ended
_status: int | None = None


def prepare_end() -> None:
    """Register the last exit handler: before plugins are imported, because they run in reverse."""
    atexit.register(_skip_teardown)


def end_process(status: int) -> NoReturn:
    """Exit with this status; threads and exit handlers of plugins have GRACE_SECONDS to end."""
    global _status
    _status = status
    if plugin_guard.used():
        threading.Thread(target=_end_by_force, name=_WATCH, daemon=True).start()
    sys.exit(status)


def _end_by_force() -> None:
    from registry_core.terminal.output import print_warning  # while modules can still be imported

    status = _status or 0
    time.sleep(GRACE_SECONDS)
    names = [f"the thread '{thread.name}'" for thread in _left() if not thread.daemon]
    running = " and ".join(names) or "an exit handler"
    print_warning(
        f"A plugin left {running} running; mlreg waited {GRACE_SECONDS:.0f} seconds for it."
    )
    os._exit(status)


def _skip_teardown() -> None:
    """Skip the teardown of Python, which takes a quarter of a short command's time.

    It is left to close what a plugin has open, so that what that wrote arrives. Threads that still
    run would use what it removes, and TensorFlow's own are not in Python's list: one that reads
    ahead through Python code would wait for the interpreter, and the teardown for it, without end.
    """
    is_needed = plugin_guard.used() and not _left() and "tensorflow" not in sys.modules
    if _status is None or is_needed:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(_status)


def _left() -> list[threading.Thread]:
    """Threads that plugins or their libraries left running."""
    ours = (threading.main_thread(), threading.current_thread())
    return [each for each in threading.enumerate() if each not in ours and each.name != _WATCH]
