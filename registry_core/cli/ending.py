"""How the process ends: soon, whatever plugins have left running."""

from __future__ import annotations

import sys
from typing import NoReturn


def end_process(status: int) -> NoReturn:
    """End with this exit status."""
    sys.exit(status)
