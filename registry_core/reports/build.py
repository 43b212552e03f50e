"""The report of one version: its sections, in their order, from what was recorded.

Several versions side by side are in `comparison`.
"""

from __future__ import annotations

from registry_core.reports import decisions, learning, mistakes, overview
from registry_core.reports.report import Report
from registry_core.reports.sources import ReportSource
from registry_core.reports.sweep_evidence import sweep_section
from registry_core.reports.wording import damaged, shown
from registry_core.sections import Block, Picture, Section, Text


def build_report(source: ReportSource) -> Report:
    """The report of a version, or of a run that is about to be registered.

    What was not recorded, or cannot be read, is said in its section.
    """
    sections = [
        *shown("Summary", overview.summary, source),
        *shown("Learning curves", learning.learning_curves, source),
        *shown("Mistakes", mistakes.mistakes, source),
        *shown("Worst mistakes", mistakes.worst, source),
        *shown("Group", overview.group, source),
        *shown("Sweep", sweep_section, source),
        *shown("Sections of plugins", _of_plugins, source),
        *shown("Data", overview.data, source),
        *shown("Configuration", overview.configuration, source),
        *shown("Environment", overview.environment, source),
        *shown("Promotion", decisions.gates, source),
        *shown("History", decisions.events, source),
        *shown("Files", overview.files, source),
        *shown("How to load it", overview.loading, source),
    ]
    versions = [source.version.ref] if source.version else []
    problems = list(dict.fromkeys(source.problems.values()))
    return Report(source.name, overview.subtitle(source), sections, versions, problems)


def _of_plugins(source: ReportSource) -> list[Section]:
    """The sections that plugins made, and the figures that they drew."""
    found: list[Section] = []
    if problem := source.problems.get("sections"):
        found.append(Section("Sections of plugins", [damaged("What plugins wrote", problem)]))
    if said := source.omitted.get("sections"):
        found.append(Section("Sections of plugins", [Text(said)]))
    found += source.plugin_sections
    blocks: list[Block] = []
    if problem := source.problems.get("figures"):
        blocks.append(damaged("A figure", problem))
    for path, content in source.pictures.items():
        name = path.rpartition("/")[2].removesuffix(".png")
        blocks.append(Picture(content, f"Figure of a plugin: {name}", path))
    if said := source.omitted.get("figures"):
        blocks.append(Text(said))
    if blocks:
        found.append(Section("Figures", blocks))
    return found
