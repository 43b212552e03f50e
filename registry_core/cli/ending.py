"""How the process ends: soon, and with its own status, whatever plugins have left running.

Python waits for every thread that is no daemon, and for all that was to be called at exit; a daemon
that is just writing makes it abort. What was asked for is done and told by then.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

from registry_core import plugin_guard

# How long what a plugin left running may take to end.
GRACE_SECONDS = 5.0

_WATCH = "mlreg's end"

_status = 0


def prepare_end() -> None:
    """Before any plugin is imported: what is registered first is called last at exit."""
    atexit.register(_leave_daemons)


def end_process(status: int) -> NoReturn:
    """End with this exit status; what plugins left running has a few seconds to end."""
    global _status
    _status = status
    if plugin_guard.used():
        threading.Thread(target=_end_by_force, name=_WATCH, daemon=True).start()
    sys.exit(status)


def _end_by_force() -> None:
    from registry_core.ui.output import print_warning  # while modules can still be imported

    time.sleep(GRACE_SECONDS)
    names = [f"the thread '{thread.name}'" for thread in _left() if not thread.daemon]
    running = " and ".join(names) or "something that is called at exit"
    print_warning(
        f"A plugin left {running} running; mlreg waited {GRACE_SECONDS:.0f} seconds for it."
    )
    os._exit(_status)


def _leave_daemons() -> None:
    """End here if there are any; Python would take streams and modules away from under them."""
    if not _left():
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(_status)


def _left() -> list[threading.Thread]:
    """The threads that plugins, or libraries of theirs, have left running."""
    ours = (threading.main_thread(), threading.current_thread())
    return [each for each in threading.enumerate() if each not in ours and each.name != _WATCH]
