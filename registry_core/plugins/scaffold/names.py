"""Which names a new plugin can have: its package, its entry point and its models bear the name."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterator, Sequence

from registry_core.errors import UsageError, safe_repr
from registry_core.plugins.manager import KnownPlugins
from registry_core.process.requirements import OPTIONAL

# models are named after their plugin, and have at most as many characters
_LONGEST = 64
_NAME = re.compile(r"[a-z][a-z0-9_]*")

# what the project has beside the package, and what pytest and setuptools take for their own
_RESERVED = ("tests", "conftest", "setup", "build", "dist")


class UnusableNameError(UsageError):
    """A name that no plugin can have.

    Args:
        name: the name as it was typed.
        why: what is wrong with it, as the end of a sentence.
        meant: a name that works.
    """

    def __init__(self, name: str, why: str, meant: str) -> None:
        super().__init__(
            f"{safe_repr(name)} cannot name a plugin: {why}.",
            f"Nothing was written. '{meant}' would work.",
            f"mlreg plugins new {meant}",
        )
        self.typed = name
        self.meant = meant

    def corrected(self, words: Sequence[str]) -> str:
        """The command line with the name that works."""
        return shlex.join(["mlreg", *(self.meant if w == self.typed else w for w in words)])


def check_name(name: str, known: KnownPlugins) -> None:
    """Refuse a name that would break: the package's import, its entry point or its models' names.

    Args:
        name: the new plugin's name.
        known: the plugins that exist.

    Raises:
        UnusableNameError: it says why, and has a name that works.
    """
    if why := _why_not(name, known):
        meant = next(each for each in _alternatives(name) if not _why_not(each, known))
        raise UnusableNameError(name, why, meant)


def _why_not(name: str, known: KnownPlugins) -> str:
    """Why a name cannot be used, as the end of a sentence; empty if it can."""
    if not _NAME.fullmatch(name):
        return "a name is a letter from a to z, then such letters, digits and _"
    if len(name) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    if keyword.iskeyword(name):
        return "it is a keyword of Python"
    if name in ("mlreg", "registry_core"):
        return "it is a package of mlreg itself"
    if name in known.datasets or name in known.extensions:
        return f"there is a plugin of that name ({_origin(name, known)})"
    if name in sys.stdlib_module_names:
        return "Python's standard library has a module of that name"
    if name in OPTIONAL:
        return f"it is the module of {OPTIONAL[name]}"
    if name in _RESERVED:
        return "pytest or setuptools would take its folder for their own"
    if place := _installed(name):
        return f"Python has a module of that name ({place})"
    return ""


def _origin(name: str, known: KnownPlugins) -> str:
    return {**known.extensions, **known.datasets}[name].origin


def _installed(name: str) -> str:
    """Where an import of this name leads to; empty if nowhere."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return ""
    # every folder on sys.path is a package without a file; installed ones are known by their files
    if spec is None or (spec.origin is None and not _is_distributed(name)):
        return ""
    return spec.origin or "a package without a file"


def _is_distributed(package: str) -> bool:
    from registry_core.plugins.sources import distribution_of

    return distribution_of(package) is not None


def _alternatives(name: str) -> Iterator[str]:
    """Names near this one, the nearest first, without an end."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^a-z0-9]+", "_", ascii_only.lower()).strip("_")[: _LONGEST - 10].strip("_")
    if not plain[:1].isalpha():
        plain = f"my_{plain or 'data'}"
    yield plain
    yield f"{plain}_data"
    number = 2
    while True:
        yield f"{plain}_{number}"
        number += 1
