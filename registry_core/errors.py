"""Every way mlreg can say no, and the exit status each one ends with.

An error carries three lines: what happened, what would work, what to type next.
Nothing here knows how they are shown.
"""

from __future__ import annotations

import signal as signals
from typing import Any

# Characters of an exception's message that are shown; the exception itself keeps all.
_LONGEST = 500
_LONGEST_LINE = 10_000


class MlregError(Exception):
    """A bug of ours, unless a subclass says otherwise.

    Args:
        what: what happened, as a sentence.
        remedy: what would work instead, as a sentence.
        command: the next command to type, without a prompt.
    """

    exit_status = 1
    # defaults for a plugin's subclass that does not call __init__
    what = ""
    remedy = ""
    command = ""

    def __init__(self, what: str, remedy: str = "", command: str = "") -> None:
        super().__init__(what)
        self.what = truncate(escape_surrogates(what), _LONGEST_LINE)
        self.remedy = truncate(escape_surrogates(remedy), _LONGEST_LINE)
        self.command = escape_surrogates(command)

    def __str__(self) -> str:
        lines = [self.what, self.remedy, f"Try: {self.command}" if self.command else ""]
        return "\n".join(line for line in lines if line)

    def to_json(self) -> dict[str, Any]:
        """The three lines, and the exit status."""
        return {
            "what": escape_surrogates(self.what),
            "remedy": escape_surrogates(self.remedy),
            "command": escape_surrogates(self.command),
            "exit_status": self.exit_status,
        }


class UsageError(MlregError):
    """Something was asked for that cannot be: a name, an option, a line of plugins.toml."""

    exit_status = 2


class CancelledError(UsageError):
    """A person was asked, and answered no; what was asked for is not done, so not status 0."""


class PluginError(MlregError):
    """A plugin is at fault: it is missing, raises, or returns what a hook must not."""

    exit_status = 3


class DataError(MlregError):
    """The data cannot be had, or is not what it should be."""

    exit_status = 4


class TrainingError(MlregError):
    """Training diverged, or does not fit this machine."""

    exit_status = 5


class IntegrityError(MlregError):
    """Something in the registry is not what its digest, or its schema, says."""

    exit_status = 6


class DamagedIndexError(IntegrityError):
    """The index is not what it was; it can be rebuilt from what lies beside it."""


class NewerSchemaError(IntegrityError):
    """A newer mlreg made it, so this one must leave it as it is."""


class BusyError(MlregError):
    """Another process holds what is needed, and did not let go in time."""

    exit_status = 7


class AliasMovedError(BusyError):
    """Another process moved the alias while this one was deciding."""


class RuleChangedError(BusyError):
    """Another process changed the alias's rule while this one was deciding."""


class StorageError(MlregError):
    """The disk refuses: full, read-only, or failing."""

    exit_status = 8


class RefusedError(MlregError):
    """A gate says no, and says why."""

    exit_status = 9


class Interrupted(BaseException):
    """A signal asked the run to stop.

    Not an `Exception`, so that a plugin's own `except Exception` cannot swallow it.

    Args:
        signum: the signal's number.
        outcome: what state remains, as a sentence.
    """

    def __init__(self, signum: int, outcome: str = "") -> None:
        super().__init__(signals.Signals(signum).name)
        self.signum = signum
        self.outcome = outcome
        self.exit_status = 128 + signum

    def to_json(self) -> dict[str, Any]:
        """As an error's: what happened, what state remains, and the exit status."""
        return {
            "what": f"Stopped by {self}.",
            "remedy": self.outcome,
            "command": "",
            "exit_status": self.exit_status,
        }


def escape_surrogates(text: object) -> str:
    """The text with each lone surrogate as an escape, so that UTF-8 can encode it."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can encode the text: it has no lone surrogates."""
    return text == escape_surrogates(text)


def safe_str(error: BaseException) -> str:
    """`str(error)`, or a substitute if `__str__` raises."""
    try:
        return str(error)
    except (Interrupted, KeyboardInterrupt):
        raise
    except BaseException as failure:
        return f"(__str__ raised {type(failure).__qualname__})"


def one_line(error: BaseException) -> str:
    """An exception's message on one line, truncated."""
    return truncate(" ".join(safe_str(error).split()))


def truncate(text: str, longest: int = _LONGEST) -> str:
    """The text, cut after this many characters."""
    return text if len(text) <= longest else f"{text[:longest]} …"


def safe_repr(value: object, longest: int = 80) -> str:
    """`repr(value)`, truncated, or a substitute if `__repr__` raises."""
    try:
        return truncate(repr(value), longest)
    except (Interrupted, KeyboardInterrupt):
        raise
    except BaseException as failure:
        return f"__repr__ raised {type(failure).__qualname__}"
