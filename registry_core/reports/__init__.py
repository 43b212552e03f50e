"""What people look at: versions as one HTML page, drawn from what they recorded.

`sources` reads, `build` and `comparison` make sections of it, `html` draws them. Nothing here
imports NumPy, TensorFlow or matplotlib, and Jinja2 loads when a page is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry_core.evaluation.per_example_results import PerExampleResults
    from registry_core.evaluation.shown_examples import ShownExample
    from registry_core.reports.sources import ReportSource
    from registry_core.sections import Section

# A version's own page; the figures of plugins on it, together.
MAX_PAGE_BYTES = 1_500_000
MAX_FIGURE_BYTES = 400_000


def render_run_report(
    record: Mapping[str, Any],
    results: PerExampleResults | None = None,
    examples: Sequence[ShownExample] = (),
    sections: Sequence[Section] = (),
    figures: Mapping[str, Path] | None = None,
) -> str:
    """The report of a run that is about to be registered, as one HTML page.

    A page of more than `MAX_PAGE_BYTES` is drawn without the figures of plugins, then without
    their sections, then without the pictures of examples; it says so.

    Args:
        record: what the manifest will say: with `model` and `run`, without a version's number.
        results: on the test split.
        examples: the worst mistakes.
        sections: of plugins.
        figures: path in the version -> the figure; those that the host draws are left out.

    Raises:
        OSError: a figure cannot be read.
    """
    from registry_core.reports.build import build_report
    from registry_core.reports.html import render_page
    from registry_core.reports.sources import ReportSource, figures_omitted, shown_figures

    figures = figures or {}
    sizes = {path: file.stat().st_size for path, file in figures.items()}
    shown, others = shown_figures(sizes, record, MAX_FIGURE_BYTES)
    source = ReportSource(
        record,
        results=results,
        examples=examples,
        plugin_sections=sections,
        pictures={path: figures[path].read_bytes() for path in shown},
        omitted={"figures": figures_omitted(others)},
    )
    page = render_page(build_report(source))
    for lighter in _lighter(source, others):
        if len(page.encode()) <= MAX_PAGE_BYTES:
            break
        page = render_page(build_report(lighter))
    return page


def _lighter(source: ReportSource, others: int) -> Iterator[ReportSource]:
    """The source with less and less to show, and sentences about it.

    Args:
        source: of the whole page.
        others: how many figures of plugins it leaves out already.
    """
    from registry_core.reports.sources import figures_omitted

    if source.pictures:
        said = figures_omitted(others + len(source.pictures))
        source = replace(source, pictures={}, omitted={**source.omitted, "figures": said})
        yield source
    if source.plugin_sections:
        said = "This page would be too large with them; `mlreg report` shows them."
        source = replace(source, plugin_sections=(), omitted={**source.omitted, "sections": said})
        yield source
    if any(example.picture for example in source.examples):
        said = "This page would be too large with their pictures; `mlreg report` shows them."
        examples = [replace(example, picture=None) for example in source.examples]
        yield replace(source, examples=examples, omitted={**source.omitted, "examples": said})
