"""What a run keeps for its report, from real plugins and a fake backend."""

from functools import partial

import pytest
from fakes import TABLE_PLUGIN, FakeBackend
from lifecycle_helpers import Project, extension, hook

from registry_core.errors import DataError, PluginError
from registry_core.evaluation.recorded import read_per_example_results
from registry_core.evaluation.shown_examples import read_plugin_sections, read_shown_examples
from registry_core.evaluation.task_summary import calibration
from registry_core.sections import Bar, BarChart, Section, Text

pytestmark = pytest.mark.drawn

SECTIONS = "mlreg_report_sections"


def written(body: str) -> str:
    """An extension whose sections are what `body` returns."""
    return "from registry_core import Bar, BarChart, Section, Text\n" + extension(
        SECTIONS, body, "result"
    )


def test_a_run_keeps_its_worst_examples(tmp_path):
    """The fake model is wrong at each fifth of twelve; the inputs are two numbers."""
    project = Project(tmp_path)
    version = project.run()
    shown = read_shown_examples(project.store, version)
    assert [each.index for each in shown] == [4, 9]
    assert (shown[1].truth, shown[1].beliefs[0][0]) == ("setosa", "versicolor")
    assert [name for name, _ in shown[0].row] == ["input[0]", "input[1]"]
    assert shown[0].picture is shown[0].text is None
    results = read_per_example_results(project.store, version)
    assert sum(each.examples for each in calibration(results)) == 12
    assert project.observer.warnings == []


def test_the_report_is_a_file_of_the_version(tmp_path):
    """One page that names model, preset and run; it cannot know the number."""
    project = Project(tmp_path)
    version = project.run(model="petals")
    page = project.store.read(version, "report.html").decode()
    for text in ("petals", "baseline", version.run, "virginica", "</html>"):
        assert text in page
    assert len(page) < 100_000


@pytest.mark.exhaustive
@pytest.mark.gate
def test_an_imported_model_has_a_report_too(tmp_path):
    """It was measured as any other."""
    project = Project(tmp_path)
    version = project.import_model()
    assert {"report.html", "report/examples.json"} <= {file.path for file in version.files}
    assert project.observer.warnings == []


def test_sections_of_all_plugins_are_kept(tmp_path):
    """Of the dataset's plugin first, then of the extensions."""
    body = (
        "chart = BarChart('loss', [Bar('median', result.evaluation.losses[0])])\n"
        "    return [Section('Losses', [Text(result.preset), chart])]"
    )
    own = TABLE_PLUGIN + hook(
        SECTIONS, "from registry_core import Section\n    return [Section('Own', [])]", "result"
    )
    project = Project(tmp_path, own, more=written(body))
    version = project.run()
    own, losses = read_plugin_sections(project.store, version)
    assert own == Section("Own", [])
    loss = losses.blocks[1].bars[0].value
    assert losses == Section("Losses", [Text("baseline"), BarChart("loss", [Bar("median", loss)])])
    assert type(loss) is float
    assert "Losses" in project.store.read(version, "report.html").decode()


@pytest.mark.gate
def test_without_sections_there_is_no_file_of_them(tmp_path):
    """As in versions of plugins that have none to add for a task."""
    project = Project(tmp_path, more=written("return []"))
    version = project.run()
    assert version.file("report/sections.json") is None
    assert project.observer.warnings == []


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('no ink')", "ValueError: no ink"),
        ("return [Section('', [])]", "title"),
        ("return [Section('s', [Text(b'bytes')])]", "must be a text"),
        ("return ['<b>']", "returned str"),
        ("return Section('s', [])", "returned Section"),
        ("return None", ""),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_sections_that_cannot_be_made_are_a_warning(tmp_path, body, says):
    """It names the plugin, and the version and its report are there without them."""
    project = Project(tmp_path, more=written(body))
    version = project.run()
    assert version.file("report/sections.json") is None
    assert version.file("report.html")
    warnings = project.observer.warnings
    assert len(warnings) == (1 if says else 0)
    for warning in warnings:
        assert warning.startswith("The report lacks the sections of plugins: ")
        assert warning.endswith("The version is registered all the same.")
        assert says in warning
        assert "'more'" in warning or "of more returned" in warning


@pytest.mark.gate
def test_more_sections_than_a_report_may_have_are_left_out(tmp_path):
    """The first are kept, and each of the others is named."""
    body = (
        "return [Section('large', [Text('x' * 20_000)] * 30)] + "
        "[Section(f'small {n}', []) for n in range(21)]"
    )
    project = Project(tmp_path, more=written(body))
    version = project.run()
    kept = [section.title for section in read_plugin_sections(project.store, version)]
    assert kept == [f"small {number}" for number in range(20)]
    large, last = project.observer.warnings
    assert "'large'" in large
    assert "'small 20'" in last
    assert version.file("report/sections.json").size < 500_000


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (DataError("The test split fails at example 5: KeyError"), "fails at example 5"),
        (PluginError("A file is missing."), "A file is missing."),
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_inputs_that_cannot_be_read_again_cost_the_pictures_alone(tmp_path, error, says):
    """The examples are shown without them."""
    project = Project(tmp_path)
    version = project.run(backend=partial(FakeBackend, raises={"inputs_at": error}))
    shown = read_shown_examples(project.store, version)
    assert [(each.index, each.row) for each in shown] == [(4, None), (9, None)]
    (warning,) = project.observer.warnings
    assert warning.startswith("The report does not show the inputs of the worst examples: ")
    assert says in warning


def test_inputs_of_data_that_must_not_be_copied_are_not_kept(tmp_path):
    """The dataset says so; which examples are wrong is in the results anyway."""
    private = TABLE_PLUGIN.replace('source="drawn"', 'source="drawn", show_inputs=False')
    project = Project(tmp_path, private)
    version = project.run()
    shown = read_shown_examples(project.store, version)
    assert [(each.index, each.row) for each in shown] == [(4, None), (9, None)]
    assert "inputs_at" not in project.backend.calls


class Near(FakeBackend):
    """Reads only the first examples again, as of a long stream."""

    def inputs_at(self, split, places):
        return super().inputs_at(split, [place for place in places if place < 6])


def test_inputs_that_are_left_out_are_counted(tmp_path):
    """A line of the run says so; it is no warning."""
    project = Project(tmp_path)
    version = project.run(backend=Near)
    assert [each.row is None for each in read_shown_examples(project.store, version)] == [
        False,
        True,
    ]
    assert any("1 of the 2 worst examples without" in line for line in project.observer.said)
    assert project.observer.warnings == []


@pytest.mark.gate
def test_a_link_in_the_place_of_a_report_is_not_followed(tmp_path):
    """A clumsy plugin cannot make a run write elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    body = f"(out_dir.parent / 'report').symlink_to({str(elsewhere)!r})\n    return []"
    project = Project(tmp_path, TABLE_PLUGIN + hook("mlreg_report", body, "out_dir"))
    version = project.run()
    assert list(elsewhere.iterdir()) == []
    assert version.file("report/examples.json") is None
    assert any("is a link" in warning for warning in project.observer.warnings)


def test_a_report_that_cannot_be_drawn_is_a_warning(tmp_path, monkeypatch):
    """Hours of training are not lost over a page."""
    import registry_core.reports as reports

    def failing(*arguments):
        raise RuntimeError("no ink")

    monkeypatch.setattr(reports, "render_run_report", failing)
    project = Project(tmp_path)
    version = project.run()
    assert version.file("report.html") is None
    assert version.file("report/examples.json")
    (warning,) = project.observer.warnings
    assert warning == (
        "The report is missing: RuntimeError: no ink. The version is registered all the same."
    )
