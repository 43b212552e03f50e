"""Breaks the rule report-sections-kept."""

from sound_plugin import *


@hookimpl
def mlreg_report_sections(result):
    return [{"title": "Losses", "text": f"{result.metrics}"}]
