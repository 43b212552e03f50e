"""Rules that watch while the other rules are checked: what is printed, written and left changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from registry_core.conformance.rule import ANY_KIND, Cost, Rule, Tier
from registry_core.process.guard import warnings_to

# A project with more files than this is watched no further.
_MOST_FILES = 20_000
# TensorFlow's, Python's and CUDA's own, deleted at the end or made anew at any time
_OTHERS = ("__autograph_generated_file", "__pycache__", ".nv", ".git", ".venv")


def _watching(name: str, title: str, about: str, remedy: str, tier: Tier, cost: Cost) -> Rule:
    return Rule(name, "0.1.0", tier, cost, title, about, remedy, ANY_KIND, (), None)


PRINTS_NOTHING = _watching(
    "prints-nothing",
    "It prints nothing to stdout",
    "Look at descriptor 1 while the other rules are checked. mlreg sends it to stderr in a run.",
    "Say progress with progress.say(…), and log with the module logging.",
    "recommended",
    "import",
)
RESTORES_STATE = _watching(
    "restores-state",
    "It leaves the process as it was",
    "Compare the working directory, umask, signal handlers, locale, standard streams and the "
    "environment variables of folders before and after each hook. mlreg restores them in a run.",
    "Restore what a hook changes before it returns, in a finally: block.",
    "required",
    "import",
)
WRITES_NOTHING_ELSEWHERE = _watching(
    "writes-nothing-elsewhere",
    "It writes only where it may",
    "Watch which files are made, and compare the home folder, the working directory, the folder of "
    "temporary files and that of plugins.toml before and after. A hook may write into "
    "cache_folder(…), data_dir, run_dir and out_dir.",
    "Write downloads into mlreg.cache_folder(NAME), and use tempfile.TemporaryDirectory in a with.",
    "required",
    "import",
)
RULES = (PRINTS_NOTHING, RESTORES_STATE, WRITES_NOTHING_ELSEWHERE)


class Watcher:
    """Watches this process while rules are checked.

    Args:
        printed: the file that descriptor 1 leads to.
        folders: name -> a folder in which nothing may be written.
        allowed: folders in which files may be made, beside those.
    """

    def __init__(
        self, printed: Path, folders: Mapping[str, Path], allowed: Sequence[Path] = ()
    ) -> None:
        self._printed = printed
        self._folders = folders
        self._before = dict(self._files())
        self._found: dict[str, list[str]] = {rule.id: [] for rule in RULES}
        self._allowed = tuple(f"{os.path.realpath(each)}{os.sep}" for each in allowed)
        self._made: dict[str, None] = {}
        sys.addaudithook(self._hear)

    @contextmanager
    def during(self, rule: str) -> Iterator[None]:
        """A context in which this rule is checked."""
        sys.stdout.flush()
        start = self._printed.stat().st_size
        with warnings_to(self._found[RESTORES_STATE.id].append):
            yield
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        with self._printed.open("rb") as file:
            file.seek(start)
            lines = file.read(10_000).decode(errors="replace").strip().splitlines()
        if lines:
            self._found[PRINTS_NOTHING.id].append(f"It printed {lines[0]!r} during {rule}.")

    def found(self) -> dict[str, list[str]]:
        """Rule -> what was found so far, as sentences."""
        written = [name for name, state in self._files() if self._before.get(name) != state]
        written += [file for file in self._made if Path(file).exists()]
        names = ", ".join(written[:3]) + (", …" if len(written) > 3 else "")
        found = {rule: list(sentences) for rule, sentences in self._found.items()}
        if written:
            found[WRITES_NOTHING_ELSEWHERE.id].append(f"It wrote {names}.")
        return found

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note a file that is made somewhere else; Python calls it for everything that it does."""
        if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        with suppress(OSError, ValueError):
            if isinstance(flags := arguments[2], int) and flags & os.O_CREAT:
                file = os.path.realpath(os.fsdecode(arguments[0]))
                if not file.startswith((*self._allowed, "/dev/", "/proc/")):
                    self._made[file] = None

    def _files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Each file as `HOME/name`, with its size and time of change."""
        for name, folder in self._folders.items():
            for number, path in enumerate(_below(folder)):
                if number >= _MOST_FILES:
                    break
                with suppress(OSError):
                    status = path.lstat()
                    yield f"{name}/{path.relative_to(folder)}", (status.st_size, status.st_mtime_ns)


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not _is_others(each))
        yield from (Path(place, each) for each in sorted(files) if not _is_others(each))


def _is_others(name: str) -> bool:
    return name.startswith(_OTHERS)


def summary(sentences: Sequence[str]) -> str:
    """The first sentence, and how many more there are."""
    more = len(sentences) - 1
    return sentences[0] + (f" (and {more} more)" if more else "")
