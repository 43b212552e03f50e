"""`mlreg report`: what it writes, where, and how a person gets to see it."""

from __future__ import annotations

import getpass

import pytest
from cli_helpers import assert_error, damage, fill, in_turn
from report_helpers import Page
from store_helpers import blob

pytestmark = pytest.mark.processes


@pytest.fixture
def store(tmp_path):
    return fill(tmp_path / "registry", 0.5, 0.75, 0.8)


@pytest.fixture
def ask(store, tmp_path):
    """Run `mlreg report` with several sets of words, in one process."""

    def run(*lines: str, **environment: str):
        words = [["report", *line.split()] for line in lines]
        return in_turn(words, tmp_path, MLREG_HOME=str(store.folder), **environment)

    return run


def test_a_report_is_written_beside_the_user(ask, tmp_path):
    """Named after the versions; nothing is replaced unless it is asked for."""
    first, second, again, replaced, named = ask(
        "flowers@1", "flowers 2 flowers 1", "flowers@1", "flowers@1 --overwrite -q",
        "flowers -o é.html",
    )  # fmt: skip
    assert (first.stdout, first.stderr) == (
        "Wrote the report of flowers@1 to flowers-1.html\n", ""
    )  # fmt: skip
    assert second.stdout == (
        "Wrote the report of flowers@1 against flowers@2 to flowers-2-vs-1.html\n"
    )
    assert_error(again, 2, "already exists", "--overwrite", "mlreg report flowers@1 -o flowers-1-2")
    assert replaced.stdout == "flowers-1.html\n"
    assert named.status == 0
    page = Page((tmp_path / "é.html").read_text("utf-8"))
    assert page.named("h1")
    assert "flowers@3" in page.text
    assert {each.name for each in tmp_path.glob("*.html")} == {
        "flowers-1.html", "flowers-2-vs-1.html", "é.html"
    }  # fmt: skip


def test_a_name_that_says_another_kind_of_file_is_refused(ask, tmp_path):
    """A report is HTML, a card Markdown: a program would open `report.pdf` in vain."""
    (tmp_path / "r.html").touch()
    pdf, plain = ask("flowers@1 -o r.pdf", "flowers@1 -o r")
    assert_error(pdf, 2, "'r.pdf' would hold another kind of file", "report flowers@1 -o r-2.html")
    assert plain.status == 0
    card, bom = in_turn(
        [["card", "flowers@1", "-o", "c.html"], ["bom", "flowers@1", "-o", "b.xml"]],
        tmp_path,
        MLREG_HOME=str(tmp_path / "registry"),
    )
    assert_error(card, 2, "Name a file that ends in .md", "mlreg card flowers@1 -o c.md")
    assert_error(bom, 2, "Name a file that ends in .json", "mlreg bom flowers@1 -o b.json")
    assert {each.name for each in tmp_path.iterdir()} == {"r", "r.html", "registry"}


def test_json_is_the_content_and_writes_nothing_that_was_not_asked_for(ask, tmp_path):
    """With -o it is written too."""
    shown, written = ask("flowers@1 --json", "flowers@1 flowers@2 --json -o both.html")
    assert shown.json["path"] is None
    assert shown.json["sections"][0]["title"] == "Summary"
    assert written.json["path"] == "both.html"
    assert written.json["versions"] == ["flowers@1", "flowers@2"]
    assert [each.name for each in tmp_path.glob("*.html")] == ["both.html"]


def test_a_damaged_version_has_a_report(ask, store, tmp_path):
    """A script learns of the damage by the status, unless the report does not show that file."""
    damage(store, store.versions("flowers")[0])
    record = blob(store, store.versions("flowers")[1].digest)
    record.chmod(0o600)
    record.write_bytes(b"{}")
    whole, torn, both = ask("flowers@3", "flowers@2", "flowers@3 flowers@2 --json")
    assert (whole.status, whole.stderr) == (0, "")
    assert_error(
        torn,
        6,
        "The report of flowers@2 is not complete",
        "Try: mlreg verify",
        shown="Wrote the report of flowers@2 to flowers-2.html",
    )
    assert "cannot be read" in Page((tmp_path / "flowers-2.html").read_text("utf-8")).text
    assert both.status == 6
    assert len(both.json["problems"]) == 1


def test_without_a_display_open_says_where_the_file_is_and_how_to_get_it(ask, tmp_path):
    """To someone who has logged in by ssh."""
    (here,) = ask("flowers@1 --open", DISPLAY="", WAYLAND_DISPLAY="")
    assert here.status == 0
    assert f"no display to open a browser on. The file is {tmp_path}/flowers-1.html" in here.stderr
    assert "scp" not in here.stderr
    (there,) = ask("flowers@2 --open", DISPLAY="", SSH_CONNECTION="10.0.0.9 50000 10.0.0.7 2222")
    line = f"scp -P 2222 {getpass.getuser()}@10.0.0.7:{tmp_path}/flowers-2.html ."
    assert f"On your own machine: {line}" in there.stderr


def test_a_file_with_a_display_is_opened(tmp_path, monkeypatch):
    """By the program that the system has for it."""
    from registry_core.cli import opening

    opened = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(opening.typer, "launch", opened.append)
    opening.open_file(tmp_path / "a.html")
    assert opened == [str(tmp_path / "a.html")]


@pytest.mark.parametrize(
    ("versions", "stem"),
    [
        (["a@1"], "a-1"),
        (["a@3", "a@2"], "a-3-vs-2"),
        (["a@3", "b@2"], "a-3-vs-b-2"),
        ([f"a@{number}" for number in range(1, 8)], "a-1-vs-2-vs-3-vs-4-and-3-more"),
    ],
)
def test_a_file_is_named_after_its_versions(versions, stem):
    """The first four of them."""
    from registry_core.cli.reports import file_stem

    assert file_stem(versions) == stem
