"""What people look at: versions as one HTML page, drawn from what they recorded.

`sources` reads, `build` and `comparison` make sections of it, `html` draws them. Nothing here
imports NumPy, TensorFlow or matplotlib, and Jinja2 loads when a page is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from registry_core.records import FileRecord

if TYPE_CHECKING:
    from registry_core.evaluation.per_example_results import PerExampleResults
    from registry_core.evaluation.shown_examples import ShownExample
    from registry_core.sections import Section


def render_run_report(
    record: Mapping[str, Any],
    results: PerExampleResults | None = None,
    examples: Sequence[ShownExample] = (),
    sections: Sequence[Section] = (),
    pictures: Mapping[str, bytes] | None = None,
) -> str:
    """The report of a run that is about to be registered, as one HTML page.

    Args:
        record: what the manifest will say: with `model` and `run`, without a version's number.
        results: on the test split.
        examples: the worst mistakes.
        sections: of plugins.
        pictures: path -> PNG of the run's figures; those that the host draws are left out.
    """
    from registry_core.reports.build import build_report
    from registry_core.reports.html import render_page
    from registry_core.reports.sources import ReportSource, is_own_figure

    figures = {
        path: content
        for path, content in (pictures or {}).items()
        if is_own_figure(FileRecord(path, len(content), ""), record)
    }
    source = ReportSource(
        record,
        results=results,
        examples=examples,
        plugin_sections=sections,
        pictures=figures,
    )
    return render_page(build_report(source))
