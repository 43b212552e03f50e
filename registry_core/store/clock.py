"""What time it is, for people. Nothing is ordered by it: clocks jump."""

from __future__ import annotations

import time


def utc_now() -> str:
    """UTC, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def days_before_now(days: float) -> str:
    """The same, so many days ago; 1970 at the earliest."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(0.0, time.time() - days * 86_400)))
