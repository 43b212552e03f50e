"""The error for a bug in mlreg: the command to repeat, and where to report it."""

from __future__ import annotations

import importlib.metadata
import shlex
from collections.abc import Sequence

from registry_core.errors import MlregError, one_line

# labels of a project's addresses, as https://packaging.python.org names the well-known ones
_LABELS = ("issues", "bugs", "issue", "bug", "tracker", "issuetracker", "bugtracker")


def bug(error: BaseException, words: Sequence[str]) -> MlregError:
    """The error for an unexpected exception.

    Args:
        error: the exception.
        words: what was typed after `mlreg`.
    """
    traced = "--traceback" in words
    return MlregError(
        f"A bug in mlreg: {type(error).__qualname__}: {one_line(error)}",
        f"Please report it {_where()}, with {'the output above' if traced else 'what this prints'}"
        " and the output of `mlreg env`.",
        "mlreg env" if traced else with_traceback(words),
    )


def with_traceback(words: Sequence[str]) -> str:
    """The command that was typed, with --traceback."""
    return shlex.join(["mlreg", "--traceback", *words])


def _where() -> str:
    """Where to report, from the metadata of the installed package."""
    try:
        urls = importlib.metadata.metadata("mlreg").get_all("Project-URL") or []
    except Exception:  # not installed, or damaged
        urls = []
    for url in urls:
        label, _, address = url.partition(",")
        if "".join(filter(str.isalnum, label.lower())) in _LABELS:
            return f"at {address.strip()}"
    return "to the maintainers of mlreg"
