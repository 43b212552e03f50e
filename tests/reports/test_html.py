"""Reports as HTML: one file, nothing from elsewhere, and texts that stay texts."""

from __future__ import annotations

import json
import re

import pytest
from cli_helpers import python
from report_helpers import (
    CLASSES,
    PNG,
    Page,
    described,
    example,
    publish_hostile,
    publish_zoo,
)

from registry_core.registry import Registry
from registry_core.reports import MAX_PAGE_BYTES, render_run_report
from registry_core.reports.html import render_page, render_sections
from registry_core.reports.report import Report
from registry_core.sections import Code, Section, Text
from registry_core.settings import Settings
from registry_core.tasks import Classification


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "registry", Settings())


@pytest.fixture
def hostile(registry):
    publish_hostile(registry)
    return registry


def parsed(html: str) -> Page:
    """A page, after checking what holds of every page of ours."""
    page = Page(html)
    assert len(page.named("h1")) == 1
    identities = [each["id"] for _, each in page.elements if "id" in each]
    assert len(set(identities)) == len(identities)
    targets = {each["href"] for each in page.named("a")}
    assert targets <= {f"#{name}" for name in identities}
    assert not page.named("script", "iframe", "object", "embed", "form", "base")
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
    for each in page.named("img"):
        assert each["src"].startswith("data:image/png;base64,")
        assert each["alt"]
    return page


def test_every_text_is_escaped(hostile):
    """Class names, tags, reasons, file names, settings, what a plugin wrote, what an input says."""
    one = parsed(render_page(hostile.report("zoo@1")))
    two = parsed(render_page(hostile.report("zoo@1", "zoo@2")))
    for page, least in ((one, 25), (two, 8)):
        assert page.text.count("<script>alert(1)</script>") >= least
    assert "figures/<b>'\"&.png" in one.text
    assert "kept/<i>&.txt" in one.text


def test_a_page_loads_nothing_and_says_so_to_the_browser(registry):
    """No address of elsewhere in any attribute or style; the policy refuses the rest."""
    html = render_page(registry.report(publish_zoo(registry.store)))
    page = parsed(html)
    (policy,) = [each for each in page.named("meta") if "http-equiv" in each]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
    )
    allowed = {"http://www.w3.org/2000/svg"}  # a name, which nothing loads
    assert set(re.findall(r"https?://[^\"'\s<>)]*", html)) <= allowed
    assert "@import" not in html
    assert page.named("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named(
        "meta"
    )


def test_headings_and_contents_name_each_section_once(registry):
    """The headings descend one level at a time."""
    report = registry.report(publish_zoo(registry.store))
    page = parsed(render_page(report))
    headings = [tag for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings == ["h1", *["h2"] * len(report.sections)]
    assert len(page.named("main")) == 1
    links = [each["href"] for each in page.named("a")]
    assert links[1:] == [f"#{each['id']}" for each in page.named("section")]


def test_sections_of_the_same_title_have_names_of_their_own():
    """Also those whose title has no letter that an id may have."""
    sections = [Section(title, [Text("x")]) for title in ("A b", "a-B", "!", "?", "A b")]
    html = render_page(Report("a", "b", sections))
    assert [each["id"] for each in Page(html).named("section")] == [
        "section-a-b", "section-a-b-2", "section", "section-2", "section-a-b-3"
    ]  # fmt: skip
    assert 'href="#section-a-b-3"' in html


def test_what_would_hide_or_turn_text_is_shown_as_its_code():
    """A reason cannot look like another one."""
    page = Page(render_sections([Section("\u202eevil", [Text("a\x1b[31mb\u2066c")])]))
    assert "\\u202eevil" in page.text
    assert "a\\u001b[31mb\\u2066c" in page.text
    assert not {"\u202e", "\x1b", "\u2066"} & set(page.text)


def test_texts_in_any_script_are_shown_as_they_are():
    """Emoji of several characters, Arabic, tabs and lines of code."""
    text = "👩‍🚀 سلام نمی‌خواهم é"
    page = Page(render_sections([Section(text, [Code("if x:\n\tpass")])]))
    assert text in page.text
    assert "if x:\n\tpass" in page.text


def test_a_percent_sign_stays_beside_its_number():
    """However narrow the column."""
    page = str(render_sections([Section("Mistakes", [Text("bee (75.0 %), cow")])]))
    assert "75.0\u00a0%" in page


def test_what_is_between_backticks_is_code():
    """One that is alone is a character like any other."""
    html = render_sections([Section("x", [Text("Run `mlreg <verify>` now.\n\na ` b")])])
    assert "<p>Run <code>mlreg &lt;verify&gt;</code> now.</p>" in html
    assert "<p>a ` b</p>" in html


def test_a_run_has_a_report_before_it_has_a_number(registry):
    """It names the run."""
    version = publish_zoo(registry.store)
    manifest = registry.store.manifest(version)
    record = {key: value for key, value in manifest.items() if key not in ("version", "files")}
    page = parsed(render_run_report(record, registry.per_example_results(version)))
    assert version.run in page.text
    assert "zoo@1" not in page.text
    assert "Mistakes by class" in page.text


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    ("section_bytes", "picture_bytes", "pictures", "said"),
    [
        (0, 0, 4, ["1 more figure of plugins"]),
        (980_000, 0, 2, ["3 more figures of plugins"]),
        (980_000, 300_000, 2, ["3 more figures", "too large with them"]),
        (0, 900_000, 0, ["3 more figures", "too large with their pictures"]),
    ],
)
def test_a_page_is_bounded_and_says_what_it_leaves_out(
    registry, tmp_path, section_bytes, picture_bytes, pictures, said
):
    """Figures of plugins first, then their sections, then the pictures of examples."""
    figures = {}
    for name in ("a", "b", "c"):
        figures[f"figures/{name}.png"] = tmp_path / f"{name}.png"
        figures[f"figures/{name}.png"].write_bytes(PNG + bytes(195_000))
    record = registry.store.manifest(publish_zoo(registry.store))
    examples = [example(2, picture=PNG + bytes(picture_bytes))] * 2
    own = [Code("x" * 20_000)] * (section_bytes // 20_000)
    sections = [Section("Own", own)] if own else []
    page = render_run_report(record, None, examples, sections, figures)
    assert len(page.encode()) <= MAX_PAGE_BYTES
    for words in said:
        assert words in page
    assert page.count("too large") == len(said)
    assert page.count("data:image/png") == pictures


def test_the_json_of_a_report_is_its_sections(registry):
    """`Section.from_json` reads them."""
    report = registry.report(publish_zoo(registry.store))
    record = json.loads(json.dumps(report.to_json()))
    assert record["title"] == "zoo@1"
    assert [Section.from_json(each).to_json() for each in record["sections"]] == record["sections"]
    assert record["versions"] == ["zoo@1"]


@pytest.mark.processes
def test_a_report_imports_nothing_heavy(registry, tmp_path):
    """Neither NumPy nor what draws figures; `Registry` alone imports no template engine."""
    publish_zoo(registry.store, data=described(Classification(CLASSES)))
    code = """
import sys
import mlreg
registry = mlreg.open_registry(sys.argv[1])
registry.version("zoo@1")
before = "jinja2" in sys.modules
report = registry.report("zoo@1")
from registry_core.reports.html import render_page
render_page(report)
heavy = ("numpy", "tensorflow", "keras", "matplotlib", "rich", "starlette")
print(before, [name for name in heavy if name in sys.modules])
"""
    done = python("-c", code, str(registry.folder))
    assert (done.stdout, done.stderr) == ("False []\n", "")
