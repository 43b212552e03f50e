"""Reports as HTML: one file with everything in it, or sections for a page of a server.

Texts are escaped by Jinja2; control characters, and those that turn the direction of what follows,
are shown as their codes. There is no script, and no attribute that a strict policy refuses.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import registry_core
from registry_core.reports.report import Report
from registry_core.sections import Section

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

_HERE = Path(__file__).parent

# Control characters but tab and line feed; line and paragraph separators; changes of direction.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

# what the file's name may end in
ENDINGS = (".html", ".htm")

# what the file may load: its own style, and pictures that are inside it
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def render_page(report: Report) -> str:
    """A report as one HTML file that loads nothing from elsewhere."""
    template = _environment().get_template("page.html")
    return template.render(
        report=report,
        sections=named(report.sections),
        policy=POLICY,
        theme=_theme(),
        mlreg=registry_core.__version__,
    )


def render_sections(sections: Sequence[Section]) -> Markup:
    """Sections as HTML with headings of level 2, for a page that has the theme's style."""
    from markupsafe import Markup

    text = _environment().get_template("sections.html").render(sections=named(sections))
    return Markup(text)  # noqa: S704 - the template escaped what it shows


def named(sections: Sequence[Section]) -> list[tuple[str, Section]]:
    """Each section with the id of its heading, which no other section has."""
    found: list[tuple[str, Section]] = []
    taken: set[str] = set()
    for section in sections:
        plain = re.sub(r"[^a-z0-9]+", "-", section.title.lower())[:60].strip("-")
        name = plain = f"section-{plain}" if plain else "section"
        number = 2
        while name in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name)
        found.append((name, section))
    return found


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = _base64
    environment.filters["paragraphs"] = _paragraphs
    environment.filters["parts"] = _parts
    environment.filters["number"] = _number
    environment.globals["draw"] = _draw
    environment.tests["number"] = _is_number
    return environment


def _theme() -> Markup:
    from markupsafe import Markup

    return Markup((_HERE / "theme.css").read_text("utf-8"))  # noqa: S704 - the package's own file


def _draw(block: Any) -> Markup:
    from registry_core.reports.charts import draw

    return draw(block)


def _visible(value: Any) -> Any:
    """Text in which nothing is hidden; anything else, and what is HTML already, as it is.

    No line ends between a number and its percent sign.
    """
    if type(value) is not str:
        return value
    shown = _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
    return re.sub(r"(?<=\d) (?=%)", "\u00a0", shown)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _paragraphs(text: str) -> list[str]:
    return [part for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]


def _parts(text: str) -> list[str]:
    """Text, and between each pair of backticks code, in turn."""
    parts = text.split("`")
    return parts if len(parts) % 2 else [text]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float) -> str:
    """An integer with separators, anything else with six significant digits or all whole ones."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1e5 <= abs(value) < 1e15 else f"{value:,.6g}"
