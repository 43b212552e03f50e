"""The command line: parse, one call, show. Errors become words and exit statuses here alone."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from registry_core.cli.app import app, register_commands, session
from registry_core.errors import Interrupted, MlregError, StorageError, UsageError


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script `mlreg`; ends the process with the exit status."""
    # started with one of them closed (`mlreg list >&-`), Python has None in its place
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - it lives as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: the words after `mlreg`; None takes those of the process.

    Returns:
        The exit status of DESIGN's list.
    """
    register_commands(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app(args=arguments, prog_name="mlreg", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except MlregError as error:
        return _told(error)
    except Interrupted as interruption:
        print(f"\nStopped by {interruption}. {interruption.outcome}".rstrip(), file=sys.stderr)
        return interruption.exit_status
    except (KeyboardInterrupt, EOFError):
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _drop_output()  # whoever read it has seen enough
        return 0
    except SystemExit as ending:
        # Typer and Rich make exit status 1 of a closed pipe
        if not isinstance(ending.__context__, BrokenPipeError):
            raise
        _drop_output()
        return 0
    except Exception as error:
        return _told(_usage(error) or _full(error) or _bug(error), cause=error)


def _drop_output() -> None:
    """What is still buffered for stdout must not raise at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: MlregError, cause: BaseException | None = None) -> int:
    from registry_core.ui.output import print_error

    if session.traceback:
        import traceback

        traceback.print_exception(cause or error)
    print_error(error)
    return error.exit_status


def _usage(error: Exception) -> UsageError | None:
    """Typer's own errors in our words; they are private classes, known by what they can do."""
    if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "mlreg"
    return UsageError(error.format_message(), command=f"{path} --help")


def _full(error: Exception) -> StorageError | None:
    """A full disk that no store was writing to: behind stdout, or of a temporary folder."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    _drop_output()
    return StorageError(
        f"A disk is full: {error.strerror} ({error.filename or 'standard output'}).",
        "What was shown is cut short; what was asked for may be done. Make room, then look.",
        "mlreg history",
    )


def _bug(error: Exception) -> MlregError:
    return MlregError(
        f"A bug in mlreg: {type(error).__qualname__}: {error}",
        "Please report it with what the same command prints with --traceback.",
        "mlreg --traceback …",
    )
