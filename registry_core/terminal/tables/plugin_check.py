"""The outcomes of a plugin's check: a line for each rule, and what to do below one that failed."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from registry_core.formatting import counted
from registry_core.terminal.output import stdout
from registry_core.terminal.text import safe_text

if TYPE_CHECKING:
    from registry_core.conformance.outcome import CheckReport, Outcome

# status -> the word in the first column, and its colour
_WORDS = {
    "passed": ("passed", "green"),
    "failed": ("failed", "red bold"),
    "skipped": ("skipped", "dim"),
    "expected failure": ("expected", "yellow"),
}
_INDENT = 10
_TITLE_WIDTH = 60
# Where there is no terminal, lines are as long as their text.
_WIDEST = 100


def show_outcome(outcome: Outcome) -> None:
    """Show one rule's outcome; without a terminal each paragraph is one line."""
    console = stdout()
    word, style = _WORDS[outcome.status]
    if outcome.status == "failed" and outcome.rule.tier == "recommended":
        style = "yellow"
    line = safe_text(f"{word:{_INDENT}}", style)
    line.append_text(safe_text(f"{outcome.rule.title:{_TITLE_WIDTH}}", "default"))
    if outcome.status != "skipped":
        line.append_text(safe_text(f"{outcome.seconds:7.1f} s", "dim"))
    line.rstrip()
    console.print(line, soft_wrap=True)
    for text in _details(outcome):
        lines = [text]
        if console.is_terminal:
            width = max(min(console.width, _WIDEST) - _INDENT, 20)
            lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
        for each in lines:
            console.print(safe_text(" " * _INDENT + each), soft_wrap=True)


def show_summary(report: CheckReport) -> None:
    """Show how many rules passed, failed and were skipped."""
    counts = {status: number for status, number in report.counts.items() if number}
    failed = [each for each in report.outcomes if each.status == "failed"]
    required = sum(each.fails_check for each in failed)
    if failed:
        counts["failed"] = len(failed)
    parts = [
        f"{number} {status}" + (f" ({required} required)" if status == "failed" else "")
        for status, number in counts.items()
    ]
    console = stdout()
    console.print()
    console.print(
        safe_text(f"{counted(len(report.outcomes), 'rule')}: {', '.join(parts)}.", "bold"),
        soft_wrap=True,
    )


def _details(outcome: Outcome) -> list[str]:
    rule = outcome.rule
    if outcome.status == "skipped":
        return [outcome.found]
    if outcome.status == "expected failure":
        return [f"{rule.id}: {outcome.found}", f"Expected: {outcome.reason}"]
    if outcome.status == "failed":
        return [f"{rule.id} ({rule.tier}): {outcome.found}", *filter(None, [outcome.remedy])]
    return []
