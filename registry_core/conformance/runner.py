"""Checks a plugin: starts the processes in which the rules are checked, and gathers the outcomes.

One process checks what needs no TensorFlow, another the rest, so TensorFlow starts once. A rule in
which the plugin ends its process has failed, and the other rules go on in a new one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from registry_core.conformance.outcome import CheckReport, Outcome
from registry_core.conformance.rule import Rule
from registry_core.conformance.rules import BY_ID, check_known, rules_for
from registry_core.conformance.session import PROGRAM
from registry_core.conformance.side_effects import summary
from registry_core.errors import MlregError, PluginError, UsageError
from registry_core.plugins.sources import PluginSource
from registry_core.process.requirements import MissingLibraryError, require_keras
from registry_core.settings import Settings, cache_place

Messages = Iterator[Mapping[str, Any]]


@contextmanager
def new_process(task: Mapping[str, Any], folder: Path) -> Iterator[Messages]:
    """A session in a process of its own, which ends with the block, as does what it started.

    Args:
        task: what it is to do.
        folder: of its own; a file `stderr` in it receives what the process says there.

    Yields:
        What it answers, as it comes.
    """
    reading, writing = os.pipe()
    with (folder / "stderr").open("wb") as stderr, (folder / "task").open("w+") as stdin:
        json.dump({**task, "answer": f"/dev/fd/{writing}", "parent": os.getpid()}, stdin)
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                # the order of a set is to differ from process to process
                env={**os.environ, "PYTHONHASHSEED": "random"},
                pass_fds=[writing],
                start_new_session=True,  # Ctrl-C is the parent's, which ends the whole group
            )
        finally:
            os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8") as stream:
            yield messages(stream)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass
class PluginCheck:
    """One check of a plugin.

    Args:
        source: the plugin.
        settings: the content of plugins.toml.
        preset: the preset's name; None takes the first.
        overrides: key -> value, as `-p` gives them.
        data_dir: a file or folder that holds the data, for the plugin.
        quick: leave out the rules that need TensorFlow.
        expected_failures: rule -> the reason why it fails.
        say: receives what the plugin says while it loads data.
        session: does a task in another process, in a folder that it is given.

    Raises:
        UsageError: an expected failure is not a rule, or the data folder does not exist.
    """

    source: PluginSource
    settings: Settings
    preset: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    data_dir: Path | None = None
    quick: bool = False
    expected_failures: Mapping[str, str] = field(default_factory=dict)
    say: Callable[[str], None] = lambda text: None
    session: Callable[[Mapping[str, Any], Path], AbstractContextManager[Messages]] = new_process

    def __post_init__(self) -> None:
        check_known(self.expected_failures)
        if self.data_dir is not None and not self.data_dir.exists():
            raise UsageError(
                f"--data-dir {self.data_dir} does not exist.", "Name a file or a folder."
            )
        if self.source.kind == "extension" and self.preset is not None:
            raise UsageError(
                f"'{self.source.name}' is an extension, which has no presets.",
                "Leave --preset out.",
                f"mlreg plugins check {self.source.name}",
            )
        self.rules = rules_for(self.source.kind, self.quick)
        # split -> what the process without TensorFlow found; None if it could not read the data
        self._fingerprints: Mapping[str, str] | None = None

    def report(self, outcomes: Sequence[Outcome]) -> CheckReport:
        """The report with these outcomes."""
        source = self.source
        return CheckReport(
            source.name, source.kind, source.module, self.preset or "", self.quick, outcomes
        )

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Check one rule after another.

        Raises:
            UsageError: the plugin has no such preset, setting or value.
        """
        for outcome in self._outcomes():
            reason = self.expected_failures.get(outcome.rule.id)
            yield outcome if reason is None else outcome.expected(reason)

    def _outcomes(self) -> Iterator[Outcome]:
        seen: dict[str, list[str]] = {}
        blocked: set[str] = set()
        watching = [rule for rule in self.rules if rule.check is None]
        active = [rule for rule in self.rules if rule.check is not None]
        light = [rule for rule in active if not rule.needs_tensorflow]
        late: list[Rule] = []  # rules about data that is read with TensorFlow
        with _temporary_folder() as folder:
            yield from self._sessions(light, folder / "light", blocked, seen, late)
            heavy = [*late, *(rule for rule in active if rule.needs_tensorflow)]
            if why := self._no_tensorflow():
                yield from (Outcome(rule, "skipped", why, blocks=True) for rule in heavy)
            else:
                self.say("Starting TensorFlow")
                blocked -= {rule.id for rule in late}
                yield from self._sessions(heavy, folder / "keras", blocked, seen, None)
        for rule in watching:
            found = seen.get(rule.id)
            yield (
                Outcome(rule, "failed", summary(found), rule.remedy)
                if found
                else Outcome(rule, "passed")
            )

    def _no_tensorflow(self) -> str:
        """Why rules that need TensorFlow are skipped; empty if they are not."""
        if self.quick:
            return "Its data is read with TensorFlow: leave out --quick."
        try:
            require_keras()
        except MissingLibraryError as error:
            return f"{error.what} {error.remedy}"
        return ""

    def _sessions(
        self,
        rules: Sequence[Rule],
        folder: Path,
        blocked: set[str],
        seen: dict[str, list[str]],
        late: list[Rule] | None,
    ) -> Iterator[Outcome]:
        """Check rules in a process, and in another one each time that the plugin ends it.

        Args:
            rules: to be checked, in this order.
            folder: for the processes; it does not exist yet.
            blocked: the ids of rules that did not hold; grows.
            seen: watching rule -> what was found; grows.
            late: receives the rules that need TensorFlow; None lets them import it.
        """
        left, number = list(rules), 0
        while left:
            number += 1
            place = folder / str(number)
            place.mkdir(parents=True)
            began: Rule | None = None
            with self.session(self._task(left, place, blocked, late is None), place) as answers:
                for message in answers:
                    if "began" in message:
                        began = BY_ID[message["began"]]
                    elif "said" in message:
                        self.say(message["said"])
                    elif "refused" in message:
                        raise UsageError(*message["refused"])
                    elif "needs_tensorflow" in message and late is not None:
                        late.append(_taken(left, message["needs_tensorflow"]))
                        blocked.add(message["needs_tensorflow"])
                    elif "outcome" in message:
                        outcome = _read(_taken(left, message["outcome"]), message)
                        if outcome.blocks:
                            blocked.add(outcome.rule.id)
                        if late is not None and _waits(outcome, late):
                            late.append(outcome.rule)
                        else:
                            yield outcome
                    elif "fingerprints" in message and late is not None:
                        self._fingerprints = message["fingerprints"]
                    elif "seen" in message:
                        for rule, sentences in message["seen"].items():
                            seen.setdefault(rule, []).extend(sentences)
            if left:  # it ended before it was done
                if began is None or began not in left:
                    raise _broken(place)
                left.remove(began)
                blocked.add(began.id)
                yield Outcome(
                    began,
                    "failed",
                    "The plugin ended the process, or crashed it, while this was checked.",
                    f"Its last words: {_last_line(place)}" if _last_line(place) else "",
                    blocks=True,
                )

    def _task(
        self, rules: Sequence[Rule], folder: Path, blocked: set[str], with_keras: bool
    ) -> dict[str, Any]:
        """What a session is asked to do, as JSON."""
        source, project = self.source, self.settings.folder
        path = [each or str(Path.cwd()) for each in sys.path]
        return {
            "source": {
                "name": source.name,
                "module": source.module,
                "kind": source.kind,
                "origin": source.origin,
                "rival": source.rival,
                "folder": str(source.folder) if source.folder else None,
            },
            "project": str(project) if self.settings.file else None,
            "path": [*path, *([str(project)] if str(project) not in path else [])],
            "environment": _environment(),
            "folder": str(folder),
            "caller": str(Path.cwd()),
            "preset": self.preset,
            "overrides": dict(self.overrides),
            "data_dir": str(self.data_dir.absolute()) if self.data_dir else None,
            "rules": [rule.id for rule in rules],
            "blocked": sorted(blocked),
            "fingerprints": self._fingerprints,
            "with_keras": with_keras,
        }


def messages(stream: TextIO) -> Messages:
    """What a session answered, one message in each line."""
    for line in stream:
        with suppress(ValueError):  # the last line of a process that was killed
            yield json.loads(line)


def _read(rule: Rule, message: Mapping[str, Any]) -> Outcome:
    return Outcome(
        rule,
        message["status"],
        message["found"],
        message["remedy"],
        seconds=message["seconds"],
        blocks=message["blocks"],
    )


def _taken(left: list[Rule], rule: str) -> Rule:
    found = BY_ID[rule]
    left.remove(found)
    return found


def _waits(outcome: Outcome, late: Sequence[Rule]) -> bool:
    """Whether a rule was skipped because another one waits for TensorFlow."""
    waiting = {rule.id for rule in late}
    return outcome.status == "skipped" and bool(waiting.intersection(outcome.rule.needs))


def _environment() -> dict[str, str]:
    """The caches of the user, for a process whose home is empty."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return {
        "MLREG_CACHE": str(cache_place()[0]),
        "KERAS_HOME": os.environ.get("KERAS_HOME") or str(Path.home() / ".keras"),
        "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR") or str(Path(cache) / "matplotlib"),
        "XDG_CACHE_HOME": cache,
    }


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mlreg-check-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _last_line(folder: Path) -> str:
    lines = (folder / "stderr").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _broken(folder: Path) -> MlregError:
    """The error for a process that ended between two rules."""
    return PluginError(
        "The process that checks the plugin ended.", f"Its last words: {_last_line(folder)}"
    )
