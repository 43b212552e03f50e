"""The time, for people. Nothing is ordered by it: clocks jump."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

# Machines that share a registry have clocks that differ by this much.
SKEW_SECONDS = 60


def utc_now() -> str:
    """UTC, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def days_since(at: str) -> float:
    """The number of days since a time; negative if it lies in the future, 0 if it is malformed.

    Args:
        at: as `utc_now` returns it.
    """
    try:
        return (time.time() - datetime.fromisoformat(at).timestamp()) / 86_400
    except ValueError:
        return 0.0


def days_before_now(days: float) -> str:
    """The time a number of days ago, not before 1970, as `utc_now` returns it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(0.0, time.time() - days * 86_400)))


def later(at: str, seconds: float) -> str:
    """A time of the ledger moved by some seconds; the same text if it is malformed."""
    try:
        moved = datetime.fromisoformat(at) + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return at
    return moved.strftime("%Y-%m-%dT%H:%M:%SZ")


def clock_went_back(latest: str, at: str) -> bool:
    """Whether a time is before the latest so far by more than clocks differ."""
    return at < latest and at < later(latest, -SKEW_SECONDS)
