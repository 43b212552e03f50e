"""The errors that mlreg raises, and the exit status of each.

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
    """The base of mlreg's errors. Raised itself, it is a bug of mlreg.

    Args:
        what: what happened, as a sentence.
        remedy: what would work instead, as a sentence; empty if nothing is known.
        command: the next command to type, without a prompt; empty if there is none.
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
    """The request is wrong: a name, an option, a line of plugins.toml."""

    exit_status = 2


class CancelledError(UsageError):
    """The user answered no to a question, so the command did nothing."""


class PluginError(MlregError):
    """A plugin is missing, raised an exception, or returned the wrong type from a hook."""

    exit_status = 3


class DataError(MlregError):
    """The data is not available, or is not what it should be."""

    exit_status = 4


class TrainingError(MlregError):
    """Training diverged, or ran out of memory."""

    exit_status = 5


class IntegrityError(MlregError):
    """A file of the registry does not match its digest or its schema."""

    exit_status = 6


class DamagedIndexError(IntegrityError):
    """The index is damaged; it can be rebuilt from the objects."""


class NewerSchemaError(IntegrityError):
    """A newer mlreg wrote the registry, so this one refuses to change it."""


class BusyError(MlregError):
    """Another process holds a lock, and did not release it in time."""

    exit_status = 7


class AliasMovedError(BusyError):
    """Another process moved the alias while this one was deciding."""


class RuleChangedError(BusyError):
    """Another process changed the alias's rule while this one was deciding."""


class StorageError(MlregError):
    """The disk is full, read-only, or failing."""

    exit_status = 8


class RefusedError(MlregError):
    """A gate, such as a promotion check, refused the request; the message says why."""

    exit_status = 9


class MissingRoleError(RefusedError):
    """The database user lacks the role for it; the message names the role that may."""


class Interrupted(BaseException):
    """A signal asked the run to stop.

    Not an `Exception`, so that a plugin's own `except Exception` cannot swallow it.

    Args:
        signum: the signal's number.
        outcome: the state that the stop left, as a sentence.
    """

    def __init__(self, signum: int, outcome: str = "") -> None:
        super().__init__(signals.Signals(signum).name)
        self.signum = signum
        self.outcome = outcome
        self.exit_status = 128 + signum

    def to_json(self) -> dict[str, Any]:
        """As an error has it: what happened, the state that remains, and the exit status."""
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
