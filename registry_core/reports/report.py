"""A report: a title and its sections, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from registry_core.dataclass import dataclass
from registry_core.errors import IntegrityError
from registry_core.formatting import counted
from registry_core.reports.wording import VERIFY
from registry_core.sections import Section


@dataclass(frozen=True)
class Report:
    """What is shown of one version, or of several side by side.

    Args:
        title: such as `flowers@3`.
        subtitle: a line below it.
        sections: from top to bottom.
        versions: the references of the versions; empty for a run that is not registered yet.
        problems: what could not be read, as sentences; empty if the report is complete.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    versions: Sequence[str] = ()
    problems: Sequence[str] = ()

    @property
    def error(self) -> IntegrityError | None:
        """The error that sums up what could not be read; None if the report is complete."""
        if not self.problems:
            return None
        more = len(self.problems) - 1
        return IntegrityError(
            f"The report of {self.title} is not complete: {self.problems[0]}"
            + (f" (and {counted(more, 'more problem')})" if more else ""),
            "It says what is missing, and has the rest.",
            VERIFY,
        )

    def to_html(self) -> str:
        """The report as one HTML file that loads nothing from elsewhere."""
        from registry_core.reports.html import render_page

        return render_page(self)

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "subtitle": self.subtitle,
            "versions": list(self.versions),
            "sections": [section.to_json() for section in self.sections],
            "problems": list(self.problems),
        }
