"""Writes docs/plugin_rules.md from the rules: `python docs/plugin_rules.py`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from registry_core.conformance.rule import Rule
from registry_core.conformance.rules import RULES

PAGE = Path(__file__).with_suffix(".md")

_INTRODUCTION = """\
# The rules of `mlreg plugins check`

This page is generated from the rules: `python docs/plugin_rules.py` writes it.

A plugin that breaks a *required* rule fails the check with status 3; a *recommended* rule is
advice, unless `--strict` is given. Ids are stable: `--expect RULE=REASON`, `expected_failures`
and `--json` use them. Rules for extensions are marked; an extension is checked on a tiny dataset
of mlreg's own.

`--quick` checks the rules about the import and the data, without TensorFlow. A plugin that reads
its data with TensorFlow needs the whole check for the rules about data. Rules about models and
runs work with up to 64 training examples and two epochs, whatever the preset says.

The rules are checked in processes of their own, with empty folders as HOME, TMPDIR and working
directory. mlreg's cache, Keras's and XDG_CACHE_HOME are yours, so that nothing is downloaded
again.
"""

_HEADINGS = {
    "import": "Import, hooks and presets",
    "data": "Data",
    "model": "Schedule, augmentation and model",
    "fit": "Runs",
    "watched": "Side effects",
}


def page() -> str:
    """The page as it should be."""
    parts = [_INTRODUCTION]
    for cost, rules in groupby(RULES, lambda rule: rule.cost if rule.check else "watched"):
        rows = [f"| {' | '.join(_row(rule))} |" for rule in rules]
        head = ["| rule | what holds, and how it is checked | if it fails |", "|---|---|---|"]
        parts.append("\n".join([f"## {_HEADINGS[cost]}", "", *head, *rows, ""]))
    return "\n".join(parts)


def _row(rule: Rule) -> tuple[str, str, str]:
    marks = [rule.tier, *(["extensions too"] if "extension" in rule.kinds else [])]
    return (
        f"`{rule.id}`<br>{', '.join(marks)}, since {rule.since}",
        f"{rule.title}. {rule.about}",
        rule.remedy,
    )


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
