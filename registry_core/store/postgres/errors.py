"""What psycopg raises, as errors that say what is wrong with the index and what would work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from registry_core.errors import DamagedIndexError, UsageError
from registry_core.store.postgres.grants import NotGrantedError, denied
from registry_core.store.storage_errors import Fault, IndexFault
from registry_core.store.storage_errors import damaged_index as damaged

# By SQLSTATE, or by the class of SQLSTATEs: the kind of error, and what would work.
_FAULTS = {
    "53100": (Fault.FULL, ""),
    "53300": (Fault.FAILING, "Try again, or let the server accept more connections."),
    "55P03": (Fault.BUSY, ""),
    "57014": (Fault.BUSY, "Try again, or raise the server's statement_timeout."),
    "40001": (Fault.BUSY, "Try again."),
    "40P01": (Fault.BUSY, "Try again."),
    "25006": (Fault.FAILING, "The server only reads: use the address of the one that also writes."),
    "25P03": (Fault.FAILING, "The server ended the transaction, as it did nothing for too long."),
    "57P": (Fault.FAILING, "The server was stopped. Try again once it runs."),
    "08": (Fault.FAILING, "Try again once the server can be reached."),
    "23": (Fault.REFUSED, ""),
    "P0001": (Fault.REFUSED, ""),
}
# A connection that was refused has no SQLSTATE; what the server or the library says, in English.
_REFUSALS = {
    "password authentication failed": "Set PGPASSWORD, or add the password to ~/.pgpass.",
    "no password supplied": "Set PGPASSWORD, or add the password to ~/.pgpass.",
    "does not exist": "Check the user's and the database's name in the address.",
    "Connection refused": "Start the server, or check the host and the port in the address.",
    "could not translate host name": "Check the host in the address.",
    "failed to resolve host": "Check the host in the address.",
    "pg_hba.conf": "The server's pg_hba.conf must let this machine in.",
    "too many clients": "Try again, or let the server accept more connections.",
    "starting up": "Try again in a moment.",
}
_DENIED = "42501"
_DAMAGED = ("42P01", "42703", "XX001", "XX002")


def damaged_index(place: str, how: str) -> DamagedIndexError:
    """The index at a place, a URL without a password, cannot be trusted."""
    return damaged(place, "its object store", how)


@contextmanager
def translate_postgres_errors(place: str, user: str) -> Iterator[None]:
    """Turn what psycopg raises inside into errors of ours.

    Args:
        place: the database's URL, as it may be shown.
        user: the role that the connection has.

    Raises:
        IndexFault: the index is locked, the server does not answer, or refuses.
        DamagedIndexError: the index is damaged.
        UsageError: the URL is malformed, or a text has a NUL character.
    """
    try:
        yield
    except NotGrantedError as error:
        raise _not_granted(error, place) from error
    except psycopg.Error as error:
        raise _translated(error, place, user) from error


def _translated(error: psycopg.Error, place: str, user: str) -> Exception:
    state = error.sqlstate
    message = _message(error)
    if state is None:
        return _without_state(error, message, place)
    if state in ("22P05", "22021"):
        return _has_nul()
    if state == _DENIED:
        return _not_granted(denied(user, ""), place)
    if state in _DAMAGED:
        return damaged_index(place, f"is damaged ({message})")
    fault, remedy = _FAULTS.get(state) or next(
        (found for part, found in _FAULTS.items() if state.startswith(part)), (Fault.FAILING, "")
    )
    return IndexFault(fault, message, place, remedy=remedy)


def _not_granted(error: NotGrantedError, place: str) -> IndexFault:
    why = f"{error.why} in {place}"
    return IndexFault(Fault.DENIED, why, place, remedy=error.remedy, command=error.command)


def _without_state(error: psycopg.Error, message: str, place: str) -> Exception:
    if isinstance(error, psycopg.DataError):
        return _has_nul()
    if isinstance(error, psycopg.ProgrammingError):
        return UsageError(
            f"{place} cannot be the address of a PostgreSQL database: {message}.",
            "It looks like postgresql://user@host/database.",
            "mlreg env",
        )
    remedy = next((remedy for text, remedy in _REFUSALS.items() if text in message), "")
    return IndexFault(Fault.FAILING, message, place, remedy=remedy)


def _has_nul() -> UsageError:
    return UsageError(
        "A text has the character U+0000, which PostgreSQL cannot store.",
        "Nothing was changed. Leave the character out.",
    )


def _message(error: psycopg.Error) -> str:
    """The first line that the server or the library says, without its prefix."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # of several addresses that were tried, the last one
    said = next((line for line in reversed(lines) if "FATAL:" in line), lines[0])
    return said.rpartition("FATAL:")[2].strip().rstrip(".")
