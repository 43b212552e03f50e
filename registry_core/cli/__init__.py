"""The command line: parse, call once, show. Errors become messages and exit statuses here."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import typer

from registry_core.cli.app import app, register_commands, session
from registry_core.errors import (
    CancelledError,
    Interrupted,
    MlregError,
    PluginError,
    StorageError,
    UsageError,
)
from registry_core.process import guard as plugin_guard
from registry_core.process import streams
from registry_core.process.garbage import collect_seldom
from registry_core.process.variables import prepared_environment

# Refused by the system: missing permission, a limit, a failing disk.
_REFUSALS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ELOOP,
    errno.ENAMETOOLONG, errno.ESTALE,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `mlreg`; ends the process with the exit status."""
    from registry_core.cli.ending import end_process, prepare_end

    collect_seldom()
    prepare_end()
    streams.reopen_standard()
    if shell := os.environ.pop("_MLREG_COMPLETE", ""):
        _complete(shell)
        end_process(0)
    end_process(_run(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, in a program that continues afterwards.

    Args:
        arguments: the words after `mlreg`; None takes those of the process.

    Returns:
        The exit status, as docs/commands.md lists them.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    finally:
        streams.release()


def _complete(shell: str) -> None:
    """Answer the completion script of a shell; an error completes nothing."""
    from registry_core.cli.completion import respond

    with suppress(Exception):
        typer.echo(respond(shell))


def _run(words: Sequence[str]) -> int:
    streams.escape_unencodable()
    session.begin(words)
    try:
        register_commands(words)
        with plugin_guard.warnings_to(_warn), prepared_environment():
            command = app.click_command()
            status = command(args=words, prog_name="mlreg", standalone_mode=False)
        if status == 128 + signal.SIGINT:  # Typer's status for Ctrl-C before the command began
            raise Interrupted(signal.SIGINT)
        _finish()
        return status if isinstance(status, int) else 0
    except CancelledError as error:
        with suppress(OSError):  # stderr is closed
            print(error.what, file=streams.err())
        return _failed(error)
    except MlregError as error:
        return _report(_traceable(_corrected(error, words), words))
    except Interrupted as interruption:
        return _interrupted(interruption)
    except KeyboardInterrupt:
        return _interrupted(Interrupted(signal.SIGINT))
    except BrokenPipeError:
        streams.drop_output()  # the reader needs no more
        return 0
    except SystemExit as ending:
        # Typer makes exit status 1 of a closed pipe
        if isinstance(ending.__context__, BrokenPipeError):
            streams.drop_output()
            return 0
        return _report(_bug(ending, words), cause=ending)
    except Exception as error:
        known = _usage(error) or _full(error) or _closed(error) or _refused(error)
        return _report(known or _bug(error, words), cause=error)


def _finish(error: Mapping[str, Any] | None = None) -> None:
    """Write the `--json` object, now that it is complete, and flush stdout."""
    if session.as_json:
        from registry_core.terminal.output import write_json

        write_json(error)
    streams.out().flush()


def _warn(text: str) -> None:
    from registry_core.terminal.output import print_warning

    print_warning(text)


def _report(error: MlregError, cause: BaseException | None = None) -> int:
    from registry_core.terminal.output import print_error

    if session.traceback:
        import traceback

        traceback.print_exception(cause or error, file=streams.err())
    print_error(error)
    return _failed(error)


def _interrupted(interruption: Interrupted) -> int:
    text = f"\nStopped by {interruption}. {interruption.outcome}".rstrip()
    with suppress(OSError):  # stderr is closed
        print(text, file=streams.err())
    return _failed(interruption)


def _failed(error: MlregError | Interrupted) -> int:
    try:
        _finish(error.to_json())
    except OSError:  # stdout is closed or its disk full; stderr has the error in words
        streams.drop_output()
    return error.exit_status


def _usage(error: Exception) -> UsageError | None:
    """Errors of Typer in our words; their classes are private, so attributes identify them."""
    if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
        return None
    from registry_core.cli.mistakes import explain

    return explain(error, session.words)


def _full(error: Exception) -> StorageError | None:
    """A full disk that no registry is on: that of stdout, or of a temporary folder."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    streams.drop_output()
    return StorageError(
        f"A disk is full: {error.strerror} ({error.filename or 'standard output'}).",
        "The output is cut short, but the command may be done. Make room, then look.",
        "mlreg history",
    )


def _closed(error: Exception) -> PluginError | None:
    """A file descriptor that a plugin closed while mlreg used it."""
    if not isinstance(error, OSError) or error.errno != errno.EBADF or not plugin_guard.used():
        return None
    return plugin_guard.closed_files()


def _refused(error: Exception) -> StorageError | None:
    """A refusal of the system, outside the registry."""
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENOENT and "temporary directory" in str(error):  # tempfile's words
        return StorageError(
            "No folder for temporary files: the usual ones cannot be written.",
            "Set TMPDIR to a folder that can be written.",
            'export TMPDIR="$PWD"',
        )
    if error.errno not in _REFUSALS:
        return None
    return StorageError(
        f"{error.filename or 'A file'} cannot be used: {error.strerror}.",
        "Check that it exists, and that you may read and write it.",
        "mlreg env",
    )


def _corrected(error: MlregError, words: Sequence[str]) -> MlregError:
    """An error that knows what a word should be suggests the command line with that word."""
    if corrected := getattr(error, "corrected", None):
        error.command = corrected(words)
    return error


def _traceable(error: MlregError, words: Sequence[str]) -> MlregError:
    """A plugin's error without a next command suggests --traceback."""
    cause = error.__cause__
    if not isinstance(error, PluginError) or error.command or session.traceback:
        return error
    if cause is not None and not isinstance(cause, ModuleNotFoundError):
        from registry_core.cli.bug import with_traceback

        error.command = with_traceback(words)
    return error


def _bug(error: BaseException, words: Sequence[str]) -> MlregError:
    from registry_core.cli.bug import bug

    return bug(error, words)
