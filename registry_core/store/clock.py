"""What time it is, for people. Nothing is ordered by it: clocks jump."""

from __future__ import annotations

import time
from datetime import datetime


def utc_now() -> str:
    """UTC, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def days_since(at: str) -> float:
    """How many days ago that was, below 0 where it is yet to come; 0 where it is no time.

    Args:
        at: as `utc_now` gives it.
    """
    try:
        return (time.time() - datetime.fromisoformat(at).timestamp()) / 86_400
    except ValueError:
        return 0.0


def days_before_now(days: float) -> str:
    """The same, so many days ago; 1970 at the earliest."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(0.0, time.time() - days * 86_400)))
