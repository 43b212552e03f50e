"""The child process in which rules are checked: what it is asked, and what it answers.

The task is JSON on stdin. The answers are JSON, one object on each line of a file or pipe: a rule
began, the plugin said something, a rule's outcome, and in the end what was seen meanwhile.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from registry_core.conformance.rule import NotApplicable, Rule, RuleFailure
from registry_core.conformance.rules import BY_ID
from registry_core.conformance.side_effects import Watcher
from registry_core.conformance.subject import Subject, TensorFlowWatch
from registry_core.errors import Interrupted, MlregError, UsageError
from registry_core.model_import.sandbox import die_with
from registry_core.plugins.attribution import describe_error
from registry_core.plugins.sources import PluginSource
from registry_core.process import keras_environment
from registry_core.process.variables import prepared_environment

# what a child process runs
PROGRAM = "from registry_core.conformance.session import main; main()"

Answer = Callable[[dict[str, Any]], None]


def main() -> None:
    """Do the task on stdin, and end at once, whatever the plugin left running."""
    task = json.load(sys.stdin)
    with open(task["answer"], "w", buffering=1) as stream:  # noqa: PTH123 - may be /dev/fd/N

        def answer(message: dict[str, Any]) -> None:
            stream.write(json.dumps(message) + "\n")

        if task["parent"]:
            die_with(task["parent"])
        _check(task, answer)
    os._exit(0)


def _check(task: Mapping[str, Any], answer: Answer) -> None:
    folder = Path(task["folder"])
    folders = _enter(folder, task)
    if task["project"] is not None:
        folders["the folder of plugins.toml"] = Path(task["project"])
    watch = TensorFlowWatch()
    sys.meta_path.insert(0, watch)
    source = dict(task["source"])
    source["folder"] = Path(source["folder"]) if source["folder"] else None
    subject = Subject(
        PluginSource(**source),
        Path(task["project"] or Path.cwd()),
        folder / "runs",
        task["preset"],
        _absolute(task["overrides"], Path(task["caller"])),
        Path(task["data_dir"]) if task["data_dir"] else None,
        watch,
        lambda text: answer({"said": text}),
    )
    subject.fingerprints_elsewhere = task["fingerprints"]
    allowed = [folder, *folders.values(), *map(Path, task["environment"].values())]
    if task["data_dir"]:
        allowed.append(Path(task["data_dir"]))
    watcher = Watcher(folder / "stdout", folders, allowed)
    blocked: set[str] = set(task["blocked"])
    with prepared_environment():
        keras_environment.prepare()
        if task["with_keras"]:  # now, so that no rule is charged for it
            import registry_core.training  # noqa: F401
        for each in task["rules"]:
            rule = BY_ID[each]
            watch.is_barred = not task["with_keras"] and rule.cost == "data"
            answer({"began": rule.id})
            began = time.perf_counter()
            with watcher.during(rule.id):
                outcome = _outcome(rule, subject, blocked)
            if watch.was_refused:
                answer({"needs_tensorflow": rule.id})
                watch.was_refused = False
                blocked.add(rule.id)
                continue
            if outcome["blocks"]:
                blocked.add(rule.id)
            answer({"outcome": rule.id, **outcome, "seconds": time.perf_counter() - began})
            if outcome["status"] == "passed" and rule.id == "presets-valid":
                _check_request(subject, answer)
            if outcome["status"] == "passed" and rule.id == "data-repeats":
                answer({"fingerprints": dict(subject.fingerprints)})
    answer({"seen": watcher.found()})


def _outcome(rule: Rule, subject: Subject, blocked: set[str]) -> dict[str, Any]:
    for need in rule.needs:
        if need in blocked:
            return _told("skipped", f"It needs {need}.", blocks=True)
    try:
        if rule.check is not None:
            rule.check(subject)
    except NotApplicable as why:
        return _told("skipped", str(why))
    except RuleFailure as failure:
        return _told("failed", failure.found, failure.remedy or rule.remedy, blocks=True)
    except MlregError as error:
        return _told("failed", error.what, error.remedy or rule.remedy, blocks=True)
    except (Exception, Interrupted) as error:
        traceback.print_exc()
        return _told("failed", f"Checking it failed: {describe_error(error)}", blocks=True)
    return _told("passed", "")


def _told(status: str, found: str, remedy: str = "", blocks: bool = False) -> dict[str, Any]:
    return {"status": status, "found": found, "remedy": remedy, "blocks": blocks}


def _check_request(subject: Subject, answer: Answer) -> None:
    """Answer with the user's mistake, if the preset or a setting is none of the plugin's."""
    try:
        subject.find_spec()
    except UsageError as error:
        answer({"refused": [error.what, error.remedy, error.command]})
        os._exit(0)
    except MlregError:
        pass  # another rule says what is wrong with the plugin


def _enter(folder: Path, task: Mapping[str, Any]) -> dict[str, Path]:
    """Give this process folders of its own, and its stdout a file; returns the watched folders."""
    names = {"HOME": "home", "TMPDIR": "tmp", "the working directory": "cwd"}
    folders = {name: folder / place for name, place in names.items()}
    for place in folders.values():
        place.mkdir(exist_ok=True)
    os.environ.update(task["environment"])
    os.environ.update({name: str(folders[name]) for name in ("HOME", "TMPDIR")})
    os.environ["MLREG_HOME"] = str(folder / "registry")
    tempfile.tempdir = None  # Python remembers the folder that it found first
    os.chdir(folders["the working directory"])
    sys.path[:] = task["path"]
    sys.dont_write_bytecode = True
    printed = os.open(folder / "stdout", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(printed, 1)
    os.close(printed)
    (folder / "runs").mkdir(exist_ok=True)
    return folders


def _absolute(overrides: Mapping[str, Any], caller: Path) -> dict[str, Any]:
    """The overrides, with the paths of files that are where the user is made absolute."""
    return {key: _where_it_is(value, caller) for key, value in overrides.items()}


def _where_it_is(value: Any, caller: Path) -> Any:
    with suppress(OSError, ValueError):  # too long for a path, or with a null character
        if value and isinstance(value, str) and (caller / value).exists():
            return str(caller / value)
    return value
