"""Check a plugin in forks of processes that have imported the host, or TensorFlow, before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli_helpers import forked_python, keras_python

from registry_core.conformance.outcome import Outcome
from registry_core.conformance.runner import Messages, PluginCheck, messages
from registry_core.conformance.session import PROGRAM
from registry_core.plugins.sources import PluginSource
from registry_core.settings import Settings

HERE = Path(__file__).parent / "conformance"


@contextmanager
def in_a_fork(task: Mapping[str, Any], folder: Path) -> Iterator[Messages]:
    """A session in a fork, which needs no time to import what it needs."""
    answers = folder / "answers"
    given = json.dumps({**task, "answer": str(answers), "parent": 0})
    python = keras_python if task["with_keras"] else forked_python
    done = python("-c", PROGRAM, cwd=folder, given=given)
    (folder / "stderr").write_text(done.stderr)
    with answers.open() as stream:
        yield messages(stream)


def outcomes(module: str, kind: str = "dataset", **options: Any) -> dict[str, Outcome]:
    """Rule -> outcome of a module of tests/conformance."""
    source = PluginSource(module.rpartition(".")[2].replace("_", "-"), module, kind, "a test")
    check = PluginCheck(source, Settings(), session=in_a_fork, **options)
    return {outcome.rule.id: outcome for outcome in check.outcomes()}


def failures(found: Mapping[str, Outcome]) -> dict[str, str]:
    """Rule -> what was found, of the rules that failed."""
    return {rule: each.found for rule, each in found.items() if each.status == "failed"}
